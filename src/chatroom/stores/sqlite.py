"""Messages, sessions, accounts and bans in an SQLite file."""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from os import close
from pathlib import Path
from typing import Protocol

import msgspec

from chatroom.hub.entries import Said, Told
from chatroom.hub.past import POST
from chatroom.hub.ports import Clock, Known, KnownAccount, KnownBan, Order, Restored
from chatroom.hub.reading import Page, Query, Stored
from chatroom.stores.file import BUSY, PATIENCE, StoreError, connect, lock, opened
from chatroom.stores.orders import ANSWER, Lookout, renew
from chatroom.stores.reader import Reader
from chatroom.stores.restore import restore
from chatroom.stores.sweeper import Sweeper
from chatroom.stores.writer import Barrier, Change, Erase, Keep, Key, Stop, Then, Together, Write, Writer

log = logging.getLogger("chatroom")

WAITING = 64 * 1024 * 1024
"""Bytes of messages that may wait to be stored; what comes then is not."""
QUIET = 60.0
"""Seconds between two log lines that say that nothing can be stored."""

_SESSION = "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?)"
_BAN = "INSERT OR REPLACE INTO bans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ACCOUNT = f"""
    INSERT INTO accounts VALUES ({", ".join("?" * len(KnownAccount._fields))}) ON CONFLICT DO UPDATE SET
    {", ".join(f"{field} = excluded.{field}" for field in KnownAccount._fields[1:])}
"""


class Loop(Protocol):
    """An event loop, as far as a store needs it."""

    def time(self) -> float:
        """Return the time in seconds, of any origin, that never goes back."""

    def call_soon(self, callback: Callable[..., None], /, *arguments: object) -> object:
        """Call the function after what is being done now."""

    def call_soon_threadsafe(self, callback: Callable[..., None], /, *arguments: object) -> object:
        """The same, from any thread."""


class SqliteStore:
    """A store in one file, with a thread that writes and one that reads.

    What is written is on the disk when `then` is told so (`synchronous = FULL` in WAL mode). When it is told
    otherwise, nothing of it is, and the next that comes is tried again.
    """

    def __init__(
        self,
        path: Path,
        *,
        loop: Loop,
        clock: Clock,
        note: Callable[[str], None],
        days: float,
        patience: float = PATIENCE,
    ) -> None:
        """Lock the file, and make it if there is none. `days`: how long messages are kept; `note` logs.

        `patience`: seconds to wait for the lock. Raises `InUseError` if another has it, and `StoreError` if the
        file is not ours, newer or damaged.
        """
        self._path = path
        self._loop = loop
        self._note = note
        self._days = days
        self._clock = clock
        self._lock = lock(path, patience)
        try:
            self._connections = opened(path), connect(path)
        except StoreError:
            close(self._lock)
            raise
        writing, reading = self._connections
        sweeper = Sweeper(writing, clock, days)
        self.reader = Reader(reading, partial(self._later, self._cannot_read))
        self.writer = Writer(writing, sweeper, self._report, partial(self.reader.paused, BUSY))
        self.writing = threading.Thread(target=self.writer.run, name="store writer", daemon=True)
        self.reading = threading.Thread(target=self.reader.run, name="store reader", daemon=True)
        self._waiting = 0  # bytes
        self._under_way: deque[int] = deque()  # the numbers of messages that are not committed
        self._changed: dict[Key, _State | None] = {}  # being written, and what has changed meanwhile
        self._lookout: Lookout | None = None
        self._held: list[Write] | None = None  # what an order does, to be done in one transaction
        self.failure = ""
        """Why what was asked for last could not be stored; empty, if it was."""
        self._is_failing = False
        self._noted = float("-inf")

    # What the hub calls

    def restore(self, now: int) -> Restored:
        """Return what is stored, and have the mark raised. Raises `StoreError`."""
        oldest = max(1, now - int(self._days * 86_400_000_000))
        try:
            restored = restore(self._connections[0], now, oldest)
            renew(self._connections[0], now / 1_000_000)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        self.writing.start()
        self.reading.start()
        return restored

    def raise_mark(self, mark: int, then: Then) -> None:
        """Store a number that is more than any that is given out."""
        self._write(Change("UPDATE mark SET number = ?", (mark,), then))

    def keep(self, post: Said | Told, then: Then | None, device: int | None = None) -> None:
        """Store a message, or a burst."""
        size = POST + len(post.frames)
        self._waiting += size
        if self._waiting > WAITING:
            self._waiting -= size
            self._fails("the disk is too slow for what is said")
            if then is not None:
                self._loop.call_soon(then, False)
            return
        self._under_way.append(post.number)
        if isinstance(post, Told):
            self._know_now(("account", post.receiver))  # whether it waits must be stored before it is
        self.writer.queue.put(Keep(post, then, size, device))

    def know(self, session: Known) -> None:
        """Store a session that can come back, or what has changed of it."""
        number, secret, name, rooms, _, account, until = session
        values = (number, secret, name, _json(rooms), account, until)
        self._know(("session", number), _State(_SESSION, values))

    def end(self, number: int) -> None:
        """Forget a session, and what was said between it and others that are forgotten too."""
        self._forget(("session", number), "DELETE FROM sessions WHERE number = ?", number)

    def know_account(self, account: KnownAccount, then: Then | None = None) -> None:
        """Store an account, or what has changed of it."""
        state = _State(_ACCOUNT, account._replace(rooms=_json(account.rooms)))  # type: ignore[arg-type]
        if not account.hashed:
            state.ends = account.number
        if then is not None:
            state.then.append(then)
            self._know_now(("session", account.number))  # which has registered it, and belongs to it
        self._know(("account", account.number), state)

    def remove_account(self, number: int) -> None:
        """Forget an account whose name is free, and what was said between it and others that are gone."""
        self._forget(("account", number), "DELETE FROM accounts WHERE number = ?", number)

    def know_ban(self, ban: KnownBan, then: Then | None = None) -> None:
        """Store who is banned or muted; there is one of a kind for a name."""
        state = _State(_BAN, ban._replace(origins=_json(ban.origins)))  # type: ignore[arg-type]
        if then is not None:
            state.then.append(then)
        self._know((ban.kind, ban.name), state)

    def lift(self, kind: str, name: str, then: Then | None = None) -> None:
        """Forget that somebody is banned or muted."""
        key, state = (kind, name), _State("DELETE FROM bans WHERE kind = ? AND name = ?", (kind, name))
        if (before := self._changed.pop(key, None)) is not None:
            state.then += before.then
        if then is not None:
            state.then.append(then)
        self._write(Change(state.statement, state.values, state.tell, key))

    def take_orders(self, do: Callable[[Order], str]) -> None:
        """From now on, call `do` in the event loop's thread for each order of the command line."""
        obey, note = partial(self._later, self._obey, do), partial(self._later, self._note)
        self._lookout = Lookout(self._path, self._clock, obey, note)
        self._lookout.start()

    def erase(self, number: int, then: Then) -> None:
        """Overwrite the texts of all that an account or a session wrote, in small steps."""
        self._write(Erase(number, then))

    def fill(self, page: Page, query: Query, then: Callable[[], None]) -> None:
        """Let the page take what is stored and fits the query."""
        done = partial(self._later, then)
        self._read(lambda: self.reader.fill(page, query, done), 2**63 if query.before is None else query.before)

    def find(self, number: int, then: Callable[[Stored | None, bool], None]) -> None:
        """Return the message of this number."""
        self._read(lambda: self._later(then, *self.reader.find(number)), number + 1)

    def forget(self, number: int, then: Then) -> None:
        """Overwrite the text of a message in the file. Whose it was stays known."""
        statement = "UPDATE messages SET content = NULL WHERE number = ?"
        self._write(Change(statement, (number,), then, erases=True))

    # What the server calls

    def close(self, last: int, patience: float) -> None:
        """Write what waits, and that this was the last number given out; wait so many seconds for the disk."""
        end = self._loop.time() + patience
        if self._lookout is not None:
            self._lookout.stop(patience)
        if self.writing.is_alive():
            for key in list(self._changed):
                self._know_now(key)
            self._write(Stop(last))
            self.writing.join(max(0.0, end - self._loop.time()))
            self.reader.queue.put(None)
            self.reading.join(max(0.0, end - self._loop.time()))
            if self.writing.is_alive() or self.reading.is_alive():
                self._note(f"{self._path}: the disk takes too long; what was not answered may be lost")
                return
        for connection in self._connections:
            connection.close()
        close(self._lock)

    # Parts

    def _know(self, key: Key, state: "_State") -> None:
        if key in self._changed:  # it is written when the change before has been
            if (before := self._changed[key]) is not None:
                state.then = before.then + state.then
            self._changed[key] = state
            return
        self._changed[key] = None
        self._write(Change(state.statement, state.values, state.tell, key, ends=state.ends))

    def _know_now(self, key: Key) -> None:
        """Write what has changed of this since it was written last."""
        if (changed := self._changed.pop(key, None)) is not None:
            self._know(key, changed)

    def _forget(self, key: Key, statement: str, number: int) -> None:
        state = self._changed.pop(key, None)
        then = None if state is None else state.tell
        self._write(Change(statement, (number,), then, key, ends=number))

    def _obey(self, do: Callable[[Order], str], order: Order) -> None:
        """Do an order, and answer it, in one transaction: so it is done once, whatever happens.

        What it erases is answered when that is done; until then, it is done again after a crash.
        """
        held: list[Write] = []
        self._held = held
        try:
            answer = do(order)
            for key in list(self._changed):
                self._know_now(key)
        except Exception:
            log.exception("a bug of ours keeps an order from being done")
            answer = "it failed: the log of whoever did it says why"
        finally:
            self._held = None
        erased = next((write for write in reversed(held) if isinstance(write, Erase)), None)
        if erased is None:
            held.append(_answered(order, answer))
        else:
            held[held.index(erased)] = erased._replace(then=partial(self._erased, erased.then, order, answer))
        self.writer.queue.put(Together(held))

    def _erased(self, then: Then, order: Order, answer: str, is_done: bool) -> None:  # noqa: FBT001 - as `Then`
        then(is_done)
        self._write(_answered(order, answer if is_done else "it could not be taken out of the file: try again"))

    def _write(self, write: Write) -> None:
        if self._held is not None:
            self._held.append(write)
        else:
            self.writer.queue.put(write)

    def _read(self, run: Callable[[], None], before: int) -> None:
        """Read from what is committed; first commit what is under way, if it is before this number."""
        if self._under_way and self._under_way[0] < before:
            self._write(Barrier(lambda: self.reader.queue.put(run)))
        else:
            self.reader.queue.put(run)

    def _later(self, callback: Callable[..., None], *arguments: object) -> None:
        """Have this called by the event loop, if it has not ended."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            log.debug("the event loop has ended before the store")

    def _report(self, batch: Sequence[Write], error: str | None, not_erased: str | None) -> None:
        self._later(self._written, batch, error, not_erased)

    def _written(self, batch: Sequence[Write], error: str | None, not_erased: str | None) -> None:
        """Tell those who asked, in the event loop's thread."""
        self.failure = error or ""
        if error or not_erased:
            self._fails(error or f"what was taken back cannot be erased: {not_erased}")
        elif self._is_failing:
            self._is_failing = False
            self._note(f"{self._path}: messages are stored again")
        for write in batch:
            is_done = not error
            if isinstance(write, Keep):
                self._waiting -= write.size
                self._under_way.popleft()
            elif not isinstance(write, Change):
                continue
            elif write.key is not None:
                self._know_now(write.key)
            elif write.erases and not_erased:
                is_done = False
            if write.then is not None:
                try:
                    write.then(is_done)
                except Exception:
                    log.exception("a bug of ours keeps a request from being answered")

    def _fails(self, why: str) -> None:
        if not self._is_failing and self._loop.time() - self._noted >= QUIET:
            self._noted = self._loop.time()
            self._is_failing = True
            self._note(f"{self._path}: messages cannot be stored ({why}); they are delivered all the same")

    def _cannot_read(self, why: str) -> None:
        self._note(f"{self._path}: the history cannot be read ({why})")


class _State:
    """What is to be stored of a session, an account or a ban, and who is told when it is."""

    def __init__(self, statement: str, values: tuple[int | float | str | bytes, ...]) -> None:
        self.statement = statement
        self.values = values
        self.ends: int | None = None
        self.then: list[Then] = []

    def tell(self, is_done: bool) -> None:  # noqa: FBT001 - as `Then`
        for then in self.then:
            then(is_done)


def _answered(order: Order, answer: str) -> Change:
    return Change(ANSWER, (answer, order.number), key=("order", order.number))


def _json(words: Sequence[str]) -> str:
    return msgspec.json.encode(words).decode()
