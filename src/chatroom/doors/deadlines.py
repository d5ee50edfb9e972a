"""What must have happened by when.

Thousands of connections may each have to do something soon. One look around, twice a second, is cheaper
than a timer for each, and exact enough for limits that are told in seconds.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from chatroom.hub.ports import Timing

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
        self._is_running = False

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: Key, seconds: float) -> None:
        """Expect the key to be cleared within this time from now."""
        self._due[key] = self._timing.time() + seconds
        if not self._is_running:
            self._is_running = True
            self._timing.call_later(INTERVAL, self._look)

    def clear(self, key: Key) -> None:
        """It has happened, or is not expected any longer."""
        self._due.pop(key, None)

    def _look(self) -> None:
        now = self._timing.time()
        for key in [key for key, due in self._due.items() if due <= now]:
            if self._due.pop(key, None) is not None:
                self._missed(key)
        self._is_running = bool(self._due)
        if self._is_running:
            self._timing.call_later(INTERVAL, self._look)
