"""How much senders may add to what readers get.

Readers have a limit on what may wait for them. A program that sends as fast as it can would drive out even
those who read well, if all that it has sent were passed on at once. So senders wait: a turn of the event loop
adds so much and no more, and a reader that is behind is given a little at a time until it has caught up.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chatroom.hub.client import Client
from chatroom.hub.ports import Timing

if TYPE_CHECKING:
    from chatroom.hub.room import Room

TURN = 256 * 1024
"""Bytes that all senders together may add in one turn of the event loop."""
BEHIND = 64 * 1024
"""Bytes that they may add in one `PERIOD` to what a reader gets that is behind."""
PERIOD = 0.1
"""Seconds."""
SMALL = 4 * 1024
"""Bytes that each sender may add all the same, once there is no room: who says little is never held."""

Readers = Client | None
"""Those who get a message: one client, or (None) a room. What is added to rooms is counted together."""


class Later(Exception):
    """A request cannot be done in this turn; it is to be done again when its session goes on.

    `rest`: of a request that stands for many, those that are not done.
    """

    def __init__(self, rest: Sequence[Any] = ()) -> None:
        super().__init__()
        self.rest = rest


class Flow:
    """What may still be added, and the senders that wait for it.

    Adding costs a subtraction and a comparison: whoever adds takes from `left`, and calls `ask()` when that is
    less than nothing. While a reader is behind, nothing is left, so that all ask.
    """

    def __init__(self, timing: Timing) -> None:
        self.left = TURN
        """Bytes that may be added without asking."""
        self.is_calm = True
        """Nobody is behind, and nobody waits: a new turn only makes `left` whole."""
        self._timing = timing
        self._turn_left = TURN  # the same while somebody is behind, when all must ask
        self._behind: dict[Client, None] = {}
        self._added: dict[Readers, int] = {}  # in this period, to those who are behind
        self._given: dict[Client, int] = {}  # what senders that had to ask have added, in this turn or period
        self._for_turn: list[Client] = []
        self._for_readers: dict[Readers, list[Client]] = {}
        self._released: Client | None = None
        self._ticket: int | None = None  # its number, until it has got something done
        self._tickets: dict[Client, int] = {}  # of those who wait, in the order in which they began to
        self._next_ticket = itertools.count()
        self._is_timed = False

    # What the hub calls

    def ask(self, sender: Client, to: "Client | Room | None", size: int) -> None:
        """Add what was taken from `left` though it was not there, or raise `Later` and hold the sender.

        `to`: one client, none if it is not here, or a room.
        """
        self.left += size
        receiver = to if isinstance(to, Client) else None
        is_behind = self._is_behind(to, sender)
        self.is_calm = False
        if not self._behind:
            self._turn_left = self.left
        given = self._given.get(sender, 0)
        queue = self._queue(sender, receiver, size, is_behind=is_behind)
        if queue is not None and given + size > SMALL:
            sender.is_held = True
            queue.append(sender)
            ticket = self._ticket if sender is self._released else None
            self._tickets[sender] = next(self._next_ticket) if ticket is None else ticket
            raise Later
        self._given[sender] = given + size
        if sender is self._released:
            self._ticket = None
        self._turn_left -= size
        if is_behind:
            self._added[receiver] = self._added.get(receiver, 0) + size
        if not self._behind:
            self.left = max(0, self._turn_left)

    def fell_behind(self, reader: Client) -> None:
        """A reader has not taken what it was given: it is given less until it has."""
        if not self._behind:
            self._turn_left, self.left = self.left, 0
        self.is_calm = False
        self._behind[reader] = None
        self._expect_period()

    def caught_up(self, reader: Client) -> None:
        """It has taken all, or has gone: senders that wait for it go on."""
        if self._behind.pop(reader, reader) is reader:
            return
        self._added.pop(reader, None)
        if not self._behind:
            self.left = max(0, self._turn_left)
            self._added.clear()
        if self._for_readers.get(reader) or (not self._behind and self._for_readers):
            self._timing.call_soon(self._release_all)

    def next_turn(self) -> None:
        """All that was added has been handed out."""
        self._turn_left = TURN
        if not self._behind:
            self.left = TURN
            self._given.clear()
        if self._for_turn:
            self._timing.call_soon(self._release_turn)
        self.is_calm = not (self._behind or self._for_turn)

    def _queue(self, sender: Client, receiver: Readers, size: int, *, is_behind: bool) -> list[Client] | None:
        """Return where the sender must wait before it may add so much, if it must."""
        if is_behind:
            queue = self._for_readers.setdefault(receiver, [])
            added = self._added.get(receiver, 0)
            if receiver is not None:
                added += self._added.get(None, 0)  # it hears the room too
            if (added and added + size > BEHIND) or (queue and sender is not self._released):
                return queue
        queue = self._for_turn
        if (self._turn_left < TURN and size > self._turn_left) or (queue and sender is not self._released):
            return queue
        return None

    def _is_behind(self, to: "Client | Room | None", sender: Client) -> bool:
        """Whether somebody is behind who would get this."""
        if to is None or isinstance(to, Client):
            return to in self._behind
        return any(client is not sender and to.hears(client) for client in self._behind)

    # Senders go on

    def _release_turn(self) -> None:
        waiting, self._for_turn = self._for_turn, []
        self._release(waiting)

    def _release_all(self) -> None:
        queues, self._for_readers = self._for_readers, {}
        self._release([sender for queue in queues.values() for sender in queue])

    def _release(self, waiting: list[Client]) -> None:
        """Let these go on: first whoever has waited longest. Some may have to wait again."""
        for sender in sorted(waiting, key=self._tickets.__getitem__):
            sender.is_held = False
            self._released, self._ticket = sender, self._tickets.pop(sender)
            sender.sink.go_on()
        self._released = None

    # While somebody is behind

    def _expect_period(self) -> None:
        if not self._is_timed:
            self._is_timed = True
            self._timing.call_later(PERIOD, self._next_period)

    def _next_period(self) -> None:
        self._is_timed = False
        self._added.clear()
        self._given.clear()
        self._release_all()
        if self._behind or self._for_readers:
            self._expect_period()
