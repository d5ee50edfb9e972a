"""The thread that reads, beside the one that writes: nobody who reads waits until the disk has written.

What is read comes as one value, made by SQLite: for each row more, the interpreter's lock would be let go.
A search reads in steps, and all else that is asked for is read between them. No step leaves a transaction open:
then the writer, too, may have it pause, to cut off the log of what was overwritten.
"""

import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from chatroom.hub.reading import Page, Query, Stored
from chatroom.protocol.messages import complete, opening

log = logging.getLogger("chatroom")

COLUMNS = "number, time, session, sender, room, receiver, addressee, content"
Row = tuple[int, int, int, str, str | None, int | None, str, str | None]
_rows: msgspec.json.Decoder[list[Row]] = msgspec.json.Decoder(list[Row])

ROWS = 32
"""Rows that are read at a time: of the longest messages, 3 MB."""
STEP = 500
"""Messages that a search looks at in one step: of the longest, 8 MB."""

Job = Callable[[], None]


class Reader:
    """Reads from the file: one thing after the other, and a step of a search if there is nothing else."""

    def __init__(self, connection: sqlite3.Connection, failed: Callable[[str], None]) -> None:
        """`failed` is called in the reader's thread with the error, if something could not be read."""
        self.queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.searches: deque[Iterator[None]] = deque()
        """Those under way, each a step further when its turn comes."""
        self._connection = connection
        self._failed = failed

    def run(self) -> None:
        """Do what is in the queue, until it says None; searches that are under way then have no end."""
        while (job := self._next()) is not None:
            job()
        self._connection.close()

    @contextmanager
    def paused(self, patience: float) -> Iterator[None]:
        """Keep it from reading, once what it reads now is read; wait for that at most so many seconds."""
        is_paused, may_go_on = threading.Event(), threading.Event()

        def pause() -> None:
            is_paused.set()
            may_go_on.wait()

        self.queue.put(pause)
        is_paused.wait(patience)
        try:
            yield
        finally:
            may_go_on.set()

    def _next(self) -> Job | None:
        try:
            return self.queue.get(block=not self.searches)
        except queue.Empty:
            return self._step

    def _step(self) -> None:
        search = self.searches.popleft()
        for _ in search:
            self.searches.append(search)
            break

    def fill(self, page: Page, query: Query, then: Job) -> None:
        """Let the page take what is stored and fits the query, and call `then`, later if it is a search."""
        steps = self._fill(page, query, then)
        if query.is_search:
            self.searches.append(steps)
        else:
            deque(steps, maxlen=0)

    def _fill(self, page: Page, query: Query, then: Job) -> Iterator[None]:
        try:
            yield from self._steps(page, query)
        except sqlite3.Error as error:
            page.fail()
            self._failed(str(error))
        except Exception:
            page.fail()
            log.exception("a bug of ours keeps a page of the history from being read")
        then()

    def find(self, number: int) -> tuple[Stored | None, bool]:
        """Return the message of this number, if it is stored, and whether it could not be read.

        Its text may have been taken back.
        """
        try:
            rows = self._read("SELECT * FROM messages WHERE number = :number", {"number": number})
            found = stored(rows[0]) if rows else None
        except sqlite3.Error as error:
            self._failed(str(error))
        except Exception:
            log.exception("a bug of ours keeps a message from being read")
        else:
            return found, False
        return None, True

    def _steps(self, page: Page, query: Query) -> Iterator[None]:
        """Let the page take what fits, some rows at a time; a search looks at so many messages at a time."""
        conditions = "AND content IS NOT NULL"
        if query.find is not None:
            conditions += " AND instr(lower(content), :find)"  # folds ASCII, as is the rule
        if query.partner is not None:
            conditions += " AND :partner = CASE session WHEN :me THEN addressee_key ELSE sender_key END"
        is_account = query.room is None and self._is_account(query.session)
        source = _source(query, "*", conditions, "LIMIT :most", is_account=is_account)
        values = _values(query) | {"find": (query.find or b"").decode(), "partner": query.partner}
        lookout = _source(query, "number", "", "LIMIT 1 OFFSET :count", is_account=is_account)
        goal = self._behind(lookout, values, page.left) if query.is_search else None
        if goal is not None:
            values["after"] = goal
        while True:
            end = self._behind(lookout, values, STEP) if query.is_search else None
            most = min(ROWS, query.limit + 1 - len(page.messages))
            rows = self._read(source, values | {"after": values["after"] if end is None else end, "most": most})
            if not page.take(map(stored, rows)):
                return
            if len(rows) == most:
                values["after" if query.is_forward else "before"] = rows[-1][0]
            elif end is not None:
                values["before"] = end + 1
            else:
                break
            yield
        if goal is not None:
            page.break_off(goal)

    def _is_account(self, number: int) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM accounts WHERE number = ?", (number,)).fetchall())

    def _behind(self, source: str, values: dict[str, object], count: int) -> int | None:
        """Return the number of the message behind so many that a search looks at, if there is one."""
        found = self._connection.execute(source, values | {"count": count}).fetchall()
        return found[0][0] if found else None

    def _read(self, source: str, values: dict[str, object]) -> list[Row]:
        statement = f"SELECT json_group_array(json_array({COLUMNS})) FROM ({source})"
        [(rows,)] = self._connection.execute(
            statement, values
        ).fetchall()  # all of it, which ends the transaction
        return _rows.decode(rows)


def stored(row: Row) -> Stored:
    """Return a message as the hub knows it; one that was taken back has no text."""
    number, time, session, sender, room, receiver, addressee, content = row
    is_direct = room is None
    beginning = opening(sender, addressee if room else None, is_direct=is_direct)
    line = complete(beginning, content or "")
    return Stored(
        number, time / 1_000_000, line, addressee if is_direct else None, session, room, receiver or 0
    )


def _values(query: Query) -> dict[str, object]:
    after, before = query.after, query.before
    return {
        "room": query.room,
        "me": query.session,
        "after": -1 if after is None else after,
        "before": 2**63 - 1 if before is None else before,
    }


def _source(query: Query, columns: str, conditions: str, limit: str, *, is_account: bool) -> str:
    """Return a statement that selects what the query looks at, in its order."""
    between = f"number > :after AND number < :before {conditions}"
    order = f"ORDER BY number {'ASC' if query.is_forward else 'DESC'} {limit}"
    if query.room is not None:
        return f"SELECT {columns} FROM messages WHERE room = :room AND {between} {order}"
    if is_account:
        source = "letters CROSS JOIN messages USING (number) WHERE account = :me"
        return f"SELECT {columns} FROM {source} AND {between} {order}"
    return (
        f"SELECT {columns} FROM messages INDEXED BY messages_direct "
        f"WHERE receiver IS NOT NULL AND number > :me AND :me IN (session, receiver) AND {between} {order}"
    )
