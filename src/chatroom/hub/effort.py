"""Slow work of all connections together: odd objects, names that must be folded, replays and searches.

A turn bounds how much of each is done for one connection. Many connections could each claim that, and
everybody else would wait for all of them. So a turn of the event loop has an allowance for all; whoever finds
it used up waits for the next, in turn.
"""

from collections import deque
from collections.abc import Callable

from chatroom.hub.ports import Timing

A_TURN = 2000
"""Steps (see `StreamDecoder.effort`) in one turn of the event loop: some three milliseconds."""
FOLD = 100
"""Steps of folding a name that is not ASCII."""
CLAIM = 400
"""Steps of claiming one, or of checking such a password."""
HAND_OUT = 4
"""Steps of handing one reader what was said in a room, before the turn ends."""
REPLAY = 1000
"""Steps of sending what somebody missed."""
SEARCH = A_TURN
"""Steps of a search in memory: one a turn, which takes some milliseconds if messages are long."""


class Effort:
    """What is left in this turn, and who waits for the next."""

    def __init__(self, timing: Timing) -> None:
        self.left = A_TURN
        self._timing = timing
        self._waiting: deque[Callable[[], None]] = deque()

    def spend(self, steps: int) -> None:
        """Count work that was done."""
        if self.left == A_TURN:
            self._timing.call_soon(self._renew)
        self.left -= steps

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have this called when there is something left."""
        self._waiting.append(go_on)

    def _renew(self) -> None:
        self.left = A_TURN
        for _ in range(len(self._waiting)):
            if self.left <= 0:
                break  # to spend has made sure of another turn
            self._waiting.popleft()()
