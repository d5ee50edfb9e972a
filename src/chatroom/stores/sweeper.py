"""What is deleted as time goes by, a little at a time, so that nobody waits for it."""

import sqlite3
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from chatroom.hub.ports import Clock

STEP = 500
"""Messages that are deleted in one transaction."""
ROOM = 100_000
"""Messages that are kept of a room; and as many direct messages, of all."""
SLACK = 1000
"""Messages that a room may have beyond that before somebody looks."""
INTERVAL = 3600.0
"""Seconds between two looks at what has become too old."""

_DELETE = "DELETE FROM messages WHERE number IN (SELECT number FROM messages WHERE "
_OLD = _DELETE + "time < ? ORDER BY time LIMIT ?)"
_BEYOND = _DELETE + "room IS ? AND number <= ? ORDER BY number LIMIT ?)"
_NOBODYS = [
    _DELETE + "receiver IS NOT NULL AND session = ? AND receiver NOT IN (SELECT number FROM sessions) LIMIT ?)",
    _DELETE + "receiver = ? AND session NOT IN (SELECT number FROM sessions) LIMIT ?)",
]
_ORPHANS = """
    SELECT DISTINCT session FROM messages
    WHERE receiver IS NOT NULL AND session NOT IN (SELECT number FROM sessions)
"""


class Sweeper:
    """Deletes messages that are too old, too many of a room, or direct ones both of whose ends have gone."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, days: float) -> None:
        """`days`: how long messages are kept."""
        self._connection = connection
        self._clock = clock
        self._seconds = days * 86_400
        self._looks_at = float("-inf")
        self._added: Counter[str | None] = Counter()  # messages of each room since somebody looked
        self._crowded: deque[str | None] = deque()
        self._ended: deque[int] = deque()  # sessions

    def start(self) -> None:
        """Find what another process has left behind."""
        self._ended.extend(number for (number,) in self._connection.execute(_ORPHANS).fetchall())

    def added(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Messages were stored."""
        self._added.update(row[5] for row in rows)
        for room in {row[5] for row in rows}:
            if self._added[room] >= SLACK:
                del self._added[room]
                self._crowded.append(room)

    def ended(self, session: int) -> None:
        """A session was forgotten."""
        self._ended.append(session)

    def is_due(self) -> bool:
        """Whether there is something to look at."""
        return bool(self._ended or self._crowded) or self._clock() >= self._looks_at

    def step(self) -> None:
        """Delete a little, within a transaction."""
        if self._ended:
            if sum(self._run(statement, self._ended[0]) for statement in _NOBODYS) < STEP:
                self._ended.popleft()
        elif self._crowded:
            room = self._crowded[0]
            question = "SELECT number FROM messages WHERE room IS ? ORDER BY number DESC LIMIT 1 OFFSET ?"
            beyond = self._connection.execute(question, (room, ROOM)).fetchall()
            if not beyond or self._run(_BEYOND, room, *beyond[0]) < STEP:
                self._crowded.popleft()
        elif self._run(_OLD, int((self._clock() - self._seconds) * 1_000_000)) < STEP:
            self._looks_at = self._clock() + INTERVAL
            self._added.clear()

    def _run(self, statement: str, *values: int | str | None) -> int:
        return self._connection.execute(statement, (*values, STEP)).rowcount
