"""The log of one node: what is appended is done at once."""

from functools import partial

from chatroom.hub.deeds import DEEDS
from chatroom.hub.entries import Entry
from chatroom.hub.house import Asked, House
from chatroom.hub.ports import AHEAD, Clock, Store


class OneNode:
    """Does each entry when it is appended; states the time once a turn, as `Turned` does.

    Times are whole microseconds, and numbers the same, or one more than the last. They grow after a crash too,
    with the clock set back: none is given out that is not below a mark in the store, which is raised ahead of
    them.
    """

    def __init__(self, house: House, clock: Clock, store: Store | None, mark: int) -> None:
        """`mark`: the number that numbers stay below, as it is stored."""
        self._house = house
        self._clock = clock
        self._store = store
        self._mark = mark
        self._enough = 2**63 if store is None else mark - AHEAD // 2
        self._is_raising = False
        self._turn = -1

    def append(self, entry: Entry, asked: Asked | None) -> None:
        """Do the entry. A `Refusal` is raised by what cannot be done."""
        house = self._house
        delivery = house.delivery
        if self._turn != delivery.turn:
            self._turn = delivery.turn
            now = int(self._clock() * 1_000_000)
            least = now if now > house.next else house.next  # noqa: FURB136 - as in `House.turned`
            house.turned(now / 1_000_000, least if least < self._enough else self._raise(least))
            if not delivery.is_due:
                delivery.expect_flush()  # it ends the turn
        DEEDS[type(entry)](house, entry, asked)

    def _raise(self, least: int) -> int:
        """See to it that the mark is raised; return what numbers may be meanwhile."""
        if self._store is not None and not self._is_raising:
            self._is_raising = True
            self._store.raise_mark(least + AHEAD, partial(self._raised, least + AHEAD))
        return min(least, self._enough)

    def _raised(self, mark: int, is_done: bool) -> None:  # noqa: FBT001 - called by the store
        self._is_raising = False
        if is_done:
            self._enough = mark - AHEAD // 2
