"""What a store knew when the server stopped: all that is kept in memory."""

import json
import sqlite3
from collections import defaultdict

from chatroom.hub.entries import Said, Told
from chatroom.hub.past import DIRECT, LINE, POST, ROOM, ROOMS
from chatroom.hub.ports import AHEAD, Known, KnownAccount, KnownBan, Restored
from chatroom.hub.session import MAX_REFS
from chatroom.stores.reader import COLUMNS, Row, stored

_REFS = """
    SELECT coalesce(device, session) AS device, ref, number, time FROM messages
    WHERE number > (SELECT min(number) FROM sessions) AND ref IS NOT NULL
    AND coalesce(device, session) IN (SELECT number FROM sessions) ORDER BY number DESC
"""

# As if all that was here when the server ended had gone then, and been seen now.
_GONE = """
    UPDATE accounts SET away_since = :last, has_returned = has_returned OR seen < :day, seen = max(seen, :day)
    WHERE away_since = 0
"""

Receipt = tuple[bytes, int, float]


def restore(connection: sqlite3.Connection, now: int, oldest: int) -> Restored:
    """Return what is stored, and raise the mark. `oldest`: what was said before that is too old."""
    [(last,)] = connection.execute("SELECT number FROM mark").fetchall()
    mark = max(last, now) + AHEAD
    connection.execute("UPDATE mark SET number = ?", (mark,))
    day = now // 86_400_000_000 * 86_400
    connection.execute(_GONE, {"last": max(last, 1), "day": day})
    rooms: dict[str, tuple[int, list[Said]]] = {}
    size, floor = 0, oldest
    for (room,) in connection.execute(_rooms()).fetchall():
        rows = _newest(connection, room, ROOM, oldest)
        said = [Said(*_post(row), str(row[4])) for row in rows if row[7] is not None]
        size += LINE + sum(POST + len(post.frames) for post in said)
        if size > ROOMS:
            floor = max(floor, rows[-1][0] if rows else 0)
            break  # of this and these others, nothing is in memory: it is read from the file
        rooms[room] = _floor(rows, ROOM, oldest), said
    rows = _newest(connection, None, DIRECT, oldest)
    told = [Told(*_post(row), row[5] or 0, row[6]) for row in rows if row[7] is not None]
    direct = _floor(rows, DIRECT, oldest), told
    people = _sessions(connection), _accounts(connection), _bans(connection)
    return Restored(last, mark, rooms, direct, *people, floor)


def _rooms() -> str:
    """Return a statement that selects all rooms, those first in which something was said last."""
    return """
        WITH RECURSIVE each(room) AS (
            SELECT min(room) FROM messages UNION ALL
            SELECT (SELECT min(room) FROM messages WHERE room > each.room) FROM each WHERE each.room IS NOT NULL
        )
        SELECT room FROM each WHERE room IS NOT NULL
        ORDER BY (SELECT max(number) FROM messages WHERE messages.room = each.room) DESC
    """


def _newest(connection: sqlite3.Connection, room: str | None, most: int, oldest: int) -> list[Row]:
    """Return the newest of a room, or of direct messages, oldest first."""
    where = "room IS ? AND number > ?"
    statement = f"SELECT {COLUMNS} FROM messages WHERE {where} ORDER BY number DESC LIMIT ?"
    return connection.execute(statement, (room, oldest, most)).fetchall()[::-1]


def _post(row: Row) -> tuple[int, float, int, bytes, int, None]:
    one = stored(row)
    return one.number, one.time, one.session, one.line, 1, None


def _floor(rows: list[Row], most: int, oldest: int) -> int:
    return rows[0][0] - 1 if len(rows) >= most else oldest


def _sessions(connection: sqlite3.Connection) -> list[Known]:
    statement = "SELECT number, secret, name, rooms, account, until FROM sessions ORDER BY number"
    found = connection.execute(statement).fetchall()
    receipts: defaultdict[int, list[Receipt]] = defaultdict(list)
    for session, ref, number, time in connection.execute(_REFS):
        if len(receipts[session]) < MAX_REFS:
            receipts[session].append((ref, number, time / 1_000_000))
    return [
        Known(number, secret, name, tuple(json.loads(rooms)), tuple(reversed(receipts[number])), account, until)
        for number, secret, name, rooms, account, until in found
    ]


def _accounts(connection: sqlite3.Connection) -> list[KnownAccount]:
    found = map(KnownAccount._make, connection.execute("SELECT * FROM accounts ORDER BY number"))
    return [
        one._replace(
            is_operator=bool(one.is_operator),
            has_returned=bool(one.has_returned),
            rooms=tuple(json.loads(str(one.rooms))),
        )
        for one in found
    ]


def _bans(connection: sqlite3.Connection) -> list[KnownBan]:
    statement = f"SELECT {', '.join(KnownBan._fields)} FROM bans ORDER BY time, name, kind"
    found = map(KnownBan._make, connection.execute(statement))
    return [one._replace(origins=tuple(json.loads(str(one.origins)))) for one in found]
