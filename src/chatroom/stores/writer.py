"""The thread that writes: all that waits goes into one transaction, one after the other.

SQLite's statements run without the interpreter's lock, and to get it back may take 5 ms while the event loop
is busy. So a statement inserts many rows at once.
"""

import logging
import queue
import sqlite3
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
"""Sessions whose last change is tried again when a transaction has failed."""
IDLE = 60.0
"""Seconds without a write after which the sweeper looks whether there is something for it."""

_COLUMNS = 11
_INSERT = {
    rows: "INSERT OR REPLACE INTO messages VALUES " + ",".join(["(" + ",".join("?" * _COLUMNS) + ")"] * rows)
    for rows in ROWS
}
_line: msgspec.json.Decoder[Incoming | IncomingBroadcast] = msgspec.json.Decoder(Incoming | IncomingBroadcast)
_folded = lru_cache(10_000)(names.address)

Then = Callable[[bool], None]
Row = tuple[int | str | bytes | None, ...]


class Keep(NamedTuple):
    """Store a message, or a burst."""

    post: Said | Told
    then: Then | None
    size: int
    """Bytes that it takes in memory, about."""


class Change(NamedTuple):
    """Run a statement."""

    statement: str
    values: tuple[int | str | bytes, ...]
    then: Then | None = None
    session: int | None = None
    """The session that it is about; if it fails, it is tried again, as nobody else will."""
    erases: bool = False
    """What the statement overwrites must be nowhere in the files when it is done."""
    ends: bool = False
    """A session is forgotten with it."""


class Barrier(NamedTuple):
    """Do this when all that was asked for before is committed."""

    run: Callable[[], None]


class Stop(NamedTuple):
    """Store the mark, and end."""

    mark: int


Write = Keep | Change | Barrier | Stop
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
        self.queue: queue.SimpleQueue[Write] = queue.SimpleQueue()
        self._connection = connection
        self.sweeper = sweeper
        self._report = report
        self._alone = alone
        self._owed: dict[int, Change] = {}  # by session, the last change of it, which has failed

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
        self._connection.close()

    def _write(self, batch: Sequence[Write]) -> None:
        """Commit all of this, and report."""
        error = self._attempt(partial(self._commit, batch))
        if error is None:
            self._owed.clear()
        else:
            self._owe(batch)
        self._report(batch, error, self._erase(batch))

    def _owe(self, batch: Sequence[Write]) -> None:
        owed = self._owed
        for write in batch:
            if isinstance(write, Change) and write.session is not None:
                owed.pop(write.session, None)
                owed[write.session] = write
                if len(owed) > OWED:
                    del owed[next(iter(owed))]

    def _next(self) -> list[Write]:
        """Wait for something to be written; meanwhile, sweep."""
        batch: list[Write] = []
        while not batch:
            self._sweep()
            with suppress(queue.Empty):
                batch.append(self.queue.get(timeout=IDLE))
        with suppress(queue.Empty):
            while len(batch) < AT_A_TIME and not isinstance(batch[-1], Stop):
                batch.append(self.queue.get_nowait())
        return batch

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

    def _erase(self, batch: Sequence[Write]) -> str | None:
        """If something was overwritten, do so in the file too, and cut off its log; return why not, if so."""
        if not any(isinstance(write, Change) and write.erases for write in batch):
            return None
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
                rows += _rows(write.post)
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
        if change.ends:
            self.sweeper.ended()

    def _insert(self, rows: list[Row]) -> None:
        start = 0
        for size in ROWS:
            while len(rows) - start >= size:
                values = [value for row in rows[start : start + size] for value in row]
                self._connection.execute(_INSERT[size], values)
                start += size
        self.sweeper.added(rows)


def _rows(post: Said | Told) -> Iterator[Row]:
    """Return a row for each message; one that was taken back has no text, but its `ref` is known."""
    time, ref = round(post.time * 1_000_000), post.ref
    for number, line in enumerate(post.frames.splitlines(keepends=True), post.number):
        if line == GONE:
            place = (None, post.receiver) if isinstance(post, Told) else (post.room, None)
            yield number, time, post.session, "", None, *place, "", None, None, ref
            continue
        message = _line.decode(line)
        sender = message.from_
        if isinstance(post, Told):
            keys = _folded(sender), _folded(post.to)
            to: tuple[str | int | None, ...] = keys[0], None, post.receiver, post.to, keys[1]
        else:
            room = message.room if isinstance(message, IncomingBroadcast) else None
            to = None, post.room, None, room or "", None
        yield number, time, post.session, sender, *to, message.content, ref
