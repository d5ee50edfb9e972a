"""The thread that writes: all that waits goes into one transaction, one after the other.

SQLite's statements run without the interpreter's lock, and to get it back may take 5 ms while the event loop
is busy. So a statement inserts many rows at once.
"""

import logging
import queue
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import lru_cache, partial
from typing import NamedTuple

import msgspec

from chatroom.hub.entries import GONE, Said, Told
from chatroom.protocol import names
from chatroom.protocol.messages import Incoming, IncomingBroadcast
from chatroom.stores.sweeper import Sweeper

log = logging.getLogger("chatroom")

AT_A_TIME = 10_000
"""Writes in one transaction."""
ROWS = (256, 32, 4, 1)
"""How many rows a statement may insert."""
OWED = 100_000
"""Sessions, accounts and bans whose last change is tried again when a transaction has failed."""
AGAIN = 1.0
"""Seconds after which it is, if there is nothing else to be written."""
LOOKS_AT = 2000
"""Messages that are looked at in one step of erasing all that somebody wrote."""
IDLE = 60.0
"""Seconds without a write after which the sweeper looks whether there is something for it."""

_COLUMNS = 12
_INSERT = {
    rows: "INSERT OR REPLACE INTO messages VALUES " + ",".join(["(" + ",".join("?" * _COLUMNS) + ")"] * rows)
    for rows in ROWS
}
# In one statement: triggers cost each message 15 µs.
_LETTERS = """
    INSERT OR IGNORE INTO letters
    WITH told AS (
        SELECT number, session, receiver,
        EXISTS (SELECT 1 FROM accounts WHERE number = session AND hashed <> '') AS is_from_account,
        EXISTS (SELECT 1 FROM accounts WHERE number = receiver AND hashed <> '') AS is_to_account
        FROM json_each(?) CROSS JOIN messages INDEXED BY messages_direct
        ON number = json_each.value AND receiver IS NOT NULL)
    SELECT session, number FROM told WHERE is_from_account
    UNION ALL SELECT receiver, number FROM told WHERE is_to_account
    UNION ALL SELECT 0, number FROM told WHERE NOT is_from_account AND NOT is_to_account
"""
_line: msgspec.json.Decoder[Incoming | IncomingBroadcast] = msgspec.json.Decoder(Incoming | IncomingBroadcast)
_folded = lru_cache(10_000)(names.address)

Then = Callable[[bool], None]
Key = tuple[str, int | str]
"""What a change is about: of several, only the last counts."""
Row = tuple[int | str | bytes | None, ...]


class Keep(NamedTuple):
    """Store a message, or a burst."""

    post: Said | Told
    then: Then | None
    size: int
    """Bytes that it takes in memory, about."""
    device: int | None = None
    """The session that said it, if it is an account's."""


class Change(NamedTuple):
    """Run a statement."""

    statement: str
    values: tuple[int | float | str | bytes, ...]
    then: Then | None = None
    key: Key | None = None
    """What it is about; if it fails, it is tried again, as nobody else will."""
    erases: bool = False
    """What the statement overwrites must be nowhere in the files when it is done."""
    ends: int | None = None
    """This session or account is forgotten with it."""


class Erase(NamedTuple):
    """Overwrite the texts of all that an account or a session wrote, in small steps."""

    number: int
    then: Then


class Together(NamedTuple):
    """Do all of this in one transaction."""

    writes: "Sequence[Write]"


class Barrier(NamedTuple):
    """Do this when all that was asked for before is committed."""

    run: Callable[[], None]


class Stop(NamedTuple):
    """Store the mark, and end."""

    mark: int


Write = Keep | Change | Erase | Barrier | Stop
Report = Callable[[Sequence[Write], str | None, str | None], None]
"""What was written, why it was not, and why something was not erased."""


class Writer:
    """Commits writes in the order in which they come."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        sweeper: Sweeper,
        report: Report,
        alone: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """`report` is called in the writer's thread behind each transaction; within `alone()`, nobody reads."""
        self.queue: queue.SimpleQueue[Write | Together] = queue.SimpleQueue()
        self._connection = connection
        self.sweeper = sweeper
        self._report = report
        self._alone = alone
        self._owed: dict[Key, Change] = {}  # the last change of each, which has failed
        self._erasing: deque[_Erasing] = deque()

    def run(self) -> None:
        """Write until told to stop."""
        is_stopping = False
        while not is_stopping:
            batch = self._next()
            is_stopping = isinstance(batch[-1], Stop)
            if not all(isinstance(write, Barrier) for write in batch):
                self._write(batch)
            for write in batch:
                if isinstance(write, Barrier):
                    write.run()
                elif isinstance(write, Erase):
                    self._erasing.append(_Erasing(write))
        self._connection.close()

    def _write(self, batch: Sequence[Write]) -> None:
        """Commit all of this, and report."""
        error = self._attempt(partial(self._commit, batch))
        if error is None:
            self._owed.clear()
        else:
            self._owe(batch)
        erases = any(isinstance(write, Change) and write.erases for write in batch)
        self._report(batch, error, self._cut_off() if erases else None)

    def _owe(self, batch: Sequence[Write]) -> None:
        owed = self._owed
        for write in batch:
            if isinstance(write, Change) and write.key is not None:
                owed.pop(write.key, None)
                owed[write.key] = write
                if len(owed) > OWED:
                    del owed[next(iter(owed))]

    def _next(self) -> list[Write]:
        """Wait for something to be written; meanwhile, sweep. A little is erased in any case."""
        batch: list[Write] = []
        while not batch:
            self._erase_some()
            self._sweep()
            try:
                self._take(batch, self.queue.get(timeout=self._may_wait()))
            except queue.Empty:
                if self._owed:
                    self._write(())
        with suppress(queue.Empty):
            while len(batch) < AT_A_TIME and not isinstance(batch[-1], Stop):
                self._take(batch, self.queue.get_nowait())
        return batch

    def _may_wait(self) -> float:
        if self._erasing:
            return 0
        return AGAIN if self._owed else IDLE

    def _take(self, batch: list[Write], wanted: Write | Together) -> None:
        batch += wanted.writes if isinstance(wanted, Together) else (wanted,)

    def _sweep(self) -> None:
        """Sweep as long as there is nothing to write."""
        while self.queue.empty() and self.sweeper.is_due():
            error = self._attempt(self.sweeper.step)
            if error is not None:
                self._report((), error, None)
                return

    def _attempt(self, transaction: Callable[[], None]) -> str | None:
        """Do all of this or nothing; return why not, if so."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            transaction()
            connection.execute("COMMIT")
        except Exception as error:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                log.exception("a transaction that failed could not be rolled back")
            if not isinstance(error, sqlite3.Error):
                log.exception("a bug of ours keeps messages from being stored")
            return str(error)
        return None

    def _erase_some(self) -> None:
        """Overwrite a little of what somebody wrote; when all is, cut off the log, and report."""
        if not self._erasing:
            return
        one = self._erasing[0]
        error = self._attempt(partial(one.step, self._connection))
        if error is not None or one.is_done:
            self._erasing.popleft()
            done = Change("", (), one.then, erases=True)
            self._report([done], error, None if error else self._cut_off())

    def _cut_off(self) -> str | None:
        """Overwrite in the file too what was overwritten, and cut off its log; return why not, if so."""
        try:
            with self._alone():  # SQLite waits for a reader, but lets the next one begin
                [(is_busy, *_)] = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            return str(error)
        return "the file is being read" if is_busy else None

    def _commit(self, batch: Sequence[Write]) -> None:
        for change in self._owed.values():
            self._change(change)
        rows: list[Row] = []
        for write in batch:
            if isinstance(write, Keep):
                rows += _rows(write.post, write.device)
                continue
            self._insert(rows)
            rows.clear()
            if isinstance(write, Change):
                self._change(write)
            elif isinstance(write, Stop):
                self._connection.execute("UPDATE mark SET number = ?", (write.mark,))
        self._insert(rows)

    def _change(self, change: Change) -> None:
        self._connection.execute(change.statement, change.values)
        if change.ends is not None:
            self.sweeper.ended(change.ends)

    def _insert(self, rows: list[Row]) -> None:
        start = 0
        for size in ROWS:
            while len(rows) - start >= size:
                values = [value for row in rows[start : start + size] for value in row]
                self._connection.execute(_INSERT[size], values)
                start += size
        direct = [row[0] for row in rows if row[6] is not None]
        if direct:
            self._connection.execute(_LETTERS, (msgspec.json.encode(direct).decode(),))
        self.sweeper.added(rows)


class _Erasing:
    """All that somebody wrote, up to where it is overwritten."""

    def __init__(self, wanted: Erase) -> None:
        self._number = wanted.number
        self.then = wanted.then
        self.is_done = False
        self._after = wanted.number  # nobody writes before it has its number

    def step(self, connection: sqlite3.Connection) -> None:
        """Overwrite a little, within a transaction."""
        question = "SELECT number FROM messages WHERE number > ? ORDER BY number LIMIT 1 OFFSET ?"
        found = connection.execute(question, (self._after, LOOKS_AT)).fetchall()
        end = found[0][0] if found else 2**63 - 1
        statement = (
            "UPDATE messages SET content = NULL "
            "WHERE number > ? AND number <= ? AND session = ? AND content IS NOT NULL"
        )
        connection.execute(statement, (self._after, end, self._number))
        self._after, self.is_done = end, not found


def _rows(post: Said | Told, device: int | None) -> Iterator[Row]:
    """Return a row for each message; one that was taken back has no text, but its `ref` is known."""
    time, ref = round(post.time * 1_000_000), post.ref
    if device == post.session:
        device = None
    for number, line in enumerate(post.frames.splitlines(keepends=True), post.number):
        if line == GONE:
            place = (None, post.receiver) if isinstance(post, Told) else (post.room, None)
            yield number, time, post.session, "", None, *place, "", None, None, ref, device
            continue
        message = _line.decode(line)
        sender = message.from_
        if isinstance(post, Told):
            keys = _folded(sender), _folded(post.to)
            to: tuple[str | int | None, ...] = keys[0], None, post.receiver, post.to, keys[1]
        else:
            room = message.room if isinstance(message, IncomingBroadcast) else None
            to = None, post.room, None, room or "", None
        yield number, time, post.session, sender, *to, message.content, ref, device
