"""What must have happened by when.

Thousands of connections may each have to do something soon. One look around, twice a second, is cheaper
than a timer for each, and exact enough for limits that are told in seconds.
"""

import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from chatroom.hub.ports import Timing

log = logging.getLogger("chatroom")

INTERVAL = 0.5
"""Seconds between two looks: a deadline is noticed at most this much late."""

Key = TypeVar("Key", bound=Hashable)


class Deadlines(Generic[Key]):
    """Keys, each with the time by which it must be cleared again."""

    def __init__(self, timing: Timing, missed: Callable[[Key], None]) -> None:
        """`missed` is called once with each key whose time has come."""
        self._timing = timing
        self._missed = missed
        self._due: dict[Key, float] = {}
        self._stopped: dict[Key, float] = {}  # the seconds that are left
        self._is_running = False

    def __len__(self) -> int:
        return len(self._due) + len(self._stopped)

    def set(self, key: Key, seconds: float) -> None:
        """Expect the key to be cleared within this time from now."""
        self._stopped.pop(key, None)
        self._due[key] = self._timing.time() + seconds
        if not self._is_running:
            self._is_running = True
            self._timing.call_later(INTERVAL, self._look)

    def clear(self, key: Key) -> None:
        """It has happened, or is not expected any longer."""
        self._due.pop(key, None)
        self._stopped.pop(key, None)

    def stop(self, key: Key) -> None:
        """Let no time pass for the key, if it is waited for, until `go_on`."""
        due = self._due.pop(key, None)
        if due is not None:
            self._stopped[key] = due - self._timing.time()

    def go_on(self, key: Key) -> None:
        """Let the key have the time that was left."""
        left = self._stopped.pop(key, None)
        if left is not None:
            self.set(key, left)

    def _look(self) -> None:
        now = self._timing.time()
        for key in [key for key, due in self._due.items() if due <= now]:
            if self._due.pop(key, None) is not None:
                try:
                    self._missed(key)
                except Exception:  # one's trouble never reaches the next
                    log.exception("internal error in a deadline of %r", key)
        self._is_running = bool(self._due)
        if self._is_running:
            self._timing.call_later(INTERVAL, self._look)
