"""The log of one node: what is appended is done at once."""

from chatroom.hub.deeds import DEEDS
from chatroom.hub.entries import Entry
from chatroom.hub.house import Asked, House
from chatroom.hub.ports import Clock


class OneNode:
    """Does each entry when it is appended; states the time once a turn (`Turned`)."""

    def __init__(self, house: House, clock: Clock) -> None:
        self._house = house
        self._clock = clock
        self._turn = -1

    def append(self, entry: Entry, asked: Asked | None) -> None:
        """Do the entry. A `Refusal` is raised by what cannot be done."""
        house = self._house
        delivery = house.delivery
        if self._turn != delivery.turn:
            self._turn = delivery.turn
            house.turned(self._clock())
            if not delivery.is_due:
                delivery.expect_flush()  # it ends the turn
        DEEDS[type(entry)](house, entry, asked)
