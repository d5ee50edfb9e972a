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
PAUSE = 60.0
"""Seconds between two looks at direct messages whose ends have gone: each looks at all direct messages."""
INTERVAL = 3600.0
"""Seconds between two looks at what has become too old."""

_DELETE = "DELETE FROM messages WHERE number IN (SELECT number FROM messages WHERE "
_OLD = _DELETE + "number < ?1 AND time < ?1 ORDER BY number LIMIT ?2)"  # a number may be behind its time
_BEYOND = _DELETE + "room IS ? AND number <= ? ORDER BY number LIMIT ?)"
_NOBODYS = """
    DELETE FROM messages WHERE number IN (
        SELECT number FROM messages INDEXED BY messages_direct
        WHERE receiver IS NOT NULL AND session NOT IN (SELECT number FROM sessions)
        AND receiver NOT IN (SELECT number FROM sessions) LIMIT ?)
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
        self._have_ended = True  # sessions: some, perhaps, in another process
        self._looked_at = float("-inf")  # what was said between sessions that have ended

    def added(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Messages were stored."""
        self._added.update(row[5] for row in rows)
        for room in {row[5] for row in rows}:
            if self._added[room] >= SLACK:
                del self._added[room]
                self._crowded.append(room)

    def ended(self) -> None:
        """A session was forgotten."""
        self._have_ended = True

    def is_due(self) -> bool:
        """Whether there is something to look at."""
        return bool(self._crowded) or self._clock() >= self._looks_at or self._is_nobodys_due()

    def step(self) -> None:
        """Delete a little, within a transaction."""
        if self._is_nobodys_due():
            if self._run(_NOBODYS) < STEP:
                self._have_ended, self._looked_at = False, self._clock()
        elif self._crowded:
            room = self._crowded[0]
            question = "SELECT number FROM messages WHERE room IS ? ORDER BY number DESC LIMIT 1 OFFSET ?"
            beyond = self._connection.execute(question, (room, ROOM)).fetchall()
            if not beyond or self._run(_BEYOND, room, *beyond[0]) < STEP:
                self._crowded.popleft()
        elif self._run(_OLD, int((self._clock() - self._seconds) * 1_000_000)) < STEP:
            self._looks_at = self._clock() + INTERVAL
            self._added.clear()

    def _is_nobodys_due(self) -> bool:
        return self._have_ended and not 0 <= self._clock() - self._looked_at < PAUSE

    def _run(self, statement: str, *values: int | str | None) -> int:
        return self._connection.execute(statement, (*values, STEP)).rowcount
