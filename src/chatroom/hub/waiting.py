"""Sessions without a connection, until they come back or their time is up."""

from collections.abc import Callable
from itertools import takewhile

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
        self._dropped_at: dict[Session, float] = {}  # each once; some may have come back since
        self._is_timed = False

    def begin(self, session: Session) -> None:
        """Wait for this session from now on."""
        self._dropped_at.pop(session, None)  # the longest come first
        self._dropped_at[session] = self._timing.time()
        if len(self._dropped_at) > MOST:
            self._end(next(iter(self._dropped_at)))
        self._expect()

    def _look(self) -> None:
        self._is_timed = False
        now = self._timing.time()
        for session, _ in list(takewhile(lambda one: one[1] + PATIENCE <= now, self._dropped_at.items())):
            self._end(session)
        self._expect()

    def _end(self, session: Session) -> None:
        del self._dropped_at[session]
        self._expire(session)

    def _expect(self) -> None:
        if self._dropped_at and not self._is_timed:
            self._is_timed = True
            dropped_at = next(iter(self._dropped_at.values()))
            self._timing.call_later(dropped_at + PATIENCE - self._timing.time(), self._look)
