"""Sessions without a connection, until they come back or their time is up."""

from collections import deque
from collections.abc import Callable

from chatroom.hub.ports import Timing
from chatroom.hub.session import Session

PATIENCE = 60.0
"""Seconds that a session lives beyond its connection."""
MOST = 10_000
"""Sessions that may be waited for at a time; then the one that has waited longest ends."""


class Waiting:
    """The sessions that are waited for, in the order in which they lost their connections."""

    def __init__(self, timing: Timing, expire: Callable[[Session], None]) -> None:
        """`expire` is called with each whose time is up, wherever it is by then."""
        self._timing = timing
        self._expire = expire
        self._ends: deque[tuple[float, Session]] = deque()
        self._is_timed = False

    def begin(self, session: Session) -> None:
        """Wait for this session from now on."""
        session.dropped_at = self._timing.time()
        self._ends.append((session.dropped_at, session))
        while len(self._ends) > MOST:
            self._end(*self._ends.popleft())
        self._expect()

    def _look(self) -> None:
        self._is_timed = False
        now = self._timing.time()
        while self._ends and self._ends[0][0] + PATIENCE <= now:
            self._end(*self._ends.popleft())
        self._expect()

    def _end(self, dropped_at: float, session: Session) -> None:
        if session.dropped_at == dropped_at:  # it has not come back and gone again
            self._expire(session)

    def _expect(self) -> None:
        if self._ends and not self._is_timed:
            self._is_timed = True
            self._timing.call_later(self._ends[0][0] + PATIENCE - self._timing.time(), self._look)
