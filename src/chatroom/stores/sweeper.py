"""What is deleted as time goes by, a little at a time, so that nobody waits for it."""

import sqlite3
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from chatroom.hub.ports import Clock

STEP = 500
"""Messages that are deleted in one transaction."""
ROOM = 100_000
"""Messages that are kept of a room; and as many direct messages, of all guests."""
ACCOUNT = 10_000
"""Direct messages that are kept of each account."""
SLACK = 1000
"""Messages that a room or an account may have beyond that before somebody looks."""
PAUSE = 60.0
"""Seconds between two looks at direct messages whose ends have gone: each looks at all direct messages."""
INTERVAL = 3600.0
"""Seconds between two looks at what has become too old."""

_DELETE = "DELETE FROM messages WHERE number IN (SELECT number FROM messages WHERE "
_OLD = _DELETE + "number < ?1 AND time < ?1 ORDER BY number LIMIT ?2)"  # a number may be behind its time
_BEYOND = _DELETE + "room = ? AND number <= ? ORDER BY number LIMIT ?)"
_LETTERS = "SELECT number FROM letters WHERE account = ?1 AND number <= ?2 ORDER BY number LIMIT ?3"
_BEYOND_OF_GUESTS = f"DELETE FROM messages WHERE number IN ({_LETTERS})"
_RELEASE = f"""
    INSERT OR IGNORE INTO letters SELECT 0, number FROM messages AS one WHERE number IN ({_LETTERS})
    AND NOT EXISTS (
        SELECT 1 FROM letters WHERE account <> ?1 AND account IN (one.session, one.receiver)
        AND number = one.number)
"""
_BEYOND_OF_ACCOUNT = f"DELETE FROM letters WHERE account = ?1 AND number IN ({_LETTERS})"
_NOBODYS = """
    DELETE FROM messages WHERE number IN (
        SELECT letters.number FROM letters CROSS JOIN messages INDEXED BY messages_direct USING (number)
        WHERE receiver IS NOT NULL AND account = 0 AND letters.number > ?
        AND session NOT IN (SELECT number FROM sessions) AND receiver NOT IN (SELECT number FROM sessions)
        ORDER BY letters.number LIMIT ?)
"""


class Sweeper:
    """Deletes messages that are too old, too many of a room or account, or whose ends have both gone.

    A direct message that is too old for one end stays while the other has it.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Clock, days: float) -> None:
        """`days`: how long messages are kept."""
        self._connection = connection
        self._clock = clock
        self._seconds = days * 86_400
        self._looks_at = float("-inf")
        self._added: Counter[str | int] = Counter()
        """Messages since somebody looked: of each room, of each end of direct ones, and of all these (0)."""
        self._crowded: deque[str | int] = deque()
        self._ended: int | None = 0
        """The first session or account that has ended since somebody looked; 0: some may have before."""
        self._looked_at = float("-inf")  # at what was said between those that have ended

    def added(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Messages were stored."""
        places = {row[5] for row in rows}
        self._added.update(row[5] for row in rows)
        if None in places:
            del self._added[None]
            ends = [end for row in rows if row[5] is None for end in {0, row[2], row[6]}]
            self._added.update(ends)
            places.remove(None)
            places.update(ends)
        for place in places:
            if self._added[place] >= SLACK:
                del self._added[place]
                self._crowded.append(place)

    def ended(self, number: int) -> None:
        """A session or an account was forgotten: nobody wrote to it before it had this number."""
        self._ended = number if self._ended is None else min(number, self._ended)

    def is_due(self) -> bool:
        """Whether there is something to look at."""
        return bool(self._crowded) or self._clock() >= self._looks_at or self._is_nobodys_due()

    def step(self) -> None:
        """Delete a little, within a transaction."""
        if self._is_nobodys_due():
            if self._run(_NOBODYS, self._ended) < STEP:
                self._ended, self._looked_at = None, self._clock()
        elif self._crowded:
            if self._thin_out(self._crowded[0]) < STEP:
                self._crowded.popleft()
        elif self._run(_OLD, int((self._clock() - self._seconds) * 1_000_000)) < STEP:
            self._crowded.extend(self._added)  # however slowly they fill
            self._added.clear()
            self._looks_at = self._clock() + INTERVAL

    def _thin_out(self, place: str | int) -> int:
        """Delete some messages of a room, an account or all guests, if there are too many; return how many."""
        if isinstance(place, str):
            question, most = "SELECT number FROM messages WHERE room = ?", ROOM
        else:
            question, most = "SELECT number FROM letters WHERE account = ?", ACCOUNT if place else ROOM
        question += " ORDER BY number DESC LIMIT 1 OFFSET ?"
        beyond = self._connection.execute(question, (place, most)).fetchall()
        if not beyond:
            return 0
        if isinstance(place, str):
            return self._run(_BEYOND, place, *beyond[0])
        if not place:
            return self._run(_BEYOND_OF_GUESTS, 0, *beyond[0])
        self._run(_RELEASE, place, *beyond[0])
        self.ended(place)
        return self._run(_BEYOND_OF_ACCOUNT, place, *beyond[0])

    def _is_nobodys_due(self) -> bool:
        return self._ended is not None and not 0 <= self._clock() - self._looked_at < PAUSE

    def _run(self, statement: str, *values: int | str | None) -> int:
        return self._connection.execute(statement, (*values, STEP)).rowcount
