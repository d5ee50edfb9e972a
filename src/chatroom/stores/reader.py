"""The thread that reads, beside the one that writes: nobody who reads waits until the disk has written.

What is read comes as one value, made by SQLite: for each row more, the interpreter's lock would be let go.
"""

import logging
import queue
import sqlite3
from collections.abc import Callable, Iterator

import msgspec

from chatroom.hub.reading import Page, Query, Stored
from chatroom.protocol.messages import complete, opening

log = logging.getLogger("chatroom")

COLUMNS = "number, time, session, sender, room, receiver, addressee, content"
Row = tuple[int, int, int, str, str | None, int | None, str, str | None]
_rows: msgspec.json.Decoder[list[Row]] = msgspec.json.Decoder(list[Row])

Job = Callable[[], None]


class Reader:
    """Reads from the file, one thing after the other."""

    def __init__(self, connection: sqlite3.Connection, failed: Callable[[str], None]) -> None:
        """`failed` is called in the reader's thread with the error, if something could not be read."""
        self.queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection = connection
        self._failed = failed

    def run(self) -> None:
        """Do what is in the queue, until it says None."""
        while (job := self.queue.get()) is not None:
            job()
        self._connection.close()

    def fill(self, page: Page, query: Query) -> None:
        """Let the page take what is stored and fits the query."""
        try:
            end = self._end_of_search(page, query) if query.is_search else None
            if page.take(self._matches(query, end)) and end is not None:
                page.break_off(end)
        except sqlite3.Error as error:
            page.fail()
            self._failed(str(error))
        except Exception:
            page.fail()
            log.exception("a bug of ours keeps a page of the history from being read")

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

    def _end_of_search(self, page: Page, query: Query) -> int | None:
        """Return the number at which a search ends: that of the first that is not looked at any more."""
        source = _source(query, "number", "", "LIMIT 1 OFFSET :left")
        found = self._connection.execute(source, _values(query) | {"left": page.left}).fetchall()
        return found[0][0] if found else None

    def _matches(self, query: Query, end: int | None) -> Iterator[Stored]:
        """Return what fits, in the query's order, some at a time."""
        conditions = "AND content IS NOT NULL"
        if query.find is not None:
            conditions += " AND instr(lower(content), :find)"  # folds ASCII, as is the rule
        if query.partner is not None:
            conditions += " AND :partner = CASE session WHEN :me THEN addressee_key ELSE sender_key END"
        source = _source(query, "*", conditions, "LIMIT :most")
        values = _values(query) | {
            "find": (query.find or b"").decode(),
            "partner": query.partner,
            "most": query.limit + 1,
        }
        if end is not None:
            values["after"] = end
        while True:
            rows = self._read(source, values)
            yield from map(stored, rows)
            if len(rows) <= query.limit:
                return
            values["after" if query.is_forward else "before"] = rows[-1][0]

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


def _source(query: Query, columns: str, conditions: str, limit: str) -> str:
    """Return a statement that selects what the query looks at, in its order."""
    between = f"number > :after AND number < :before {conditions}"
    order = f"ORDER BY number {'ASC' if query.is_forward else 'DESC'} {limit}"
    if query.room is not None:
        return f"SELECT {columns} FROM messages WHERE room = :room AND {between} {order}"
    return (
        f"SELECT {columns} FROM messages INDEXED BY messages_direct "
        f"WHERE receiver IS NOT NULL AND (session = :me OR receiver = :me) AND {between} {order}"
    )
