"""What the command line asks of whoever holds the file's lock: orders, left in the file and answered there."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from chatroom.hub.ports import Clock, Order
from chatroom.stores.file import StoreError, connect

EVERY = 1.0
"""Seconds between two looks whether the file has changed."""
PATIENCE = 30.0
"""Seconds until an order that nobody takes is withdrawn; or dropped, if its command was killed."""
OLD = 86_400.0
"""Seconds after which an order that was taken, and not done, is dropped: it may be what ends the server."""

ANSWER = "UPDATE orders SET answer = ? WHERE number = ?"
_COLUMNS = "number, what, name, hashed, minutes, is_set, reason"
_AGAIN = 2  # of `is_taken`: who took it has ended before it was done
_NEW = f"SELECT {_COLUMNS} FROM orders WHERE answer IS NULL AND is_taken <> 1 ORDER BY number"
_DROP = "DELETE FROM orders WHERE answer IS NULL AND NOT is_taken AND abs(? - time) > ?"


def renew(connection: sqlite3.Connection, now: float) -> None:
    """Let all be taken again that others took and did not do; drop what is old. Needs the lock."""
    connection.execute("UPDATE orders SET is_taken = ? WHERE is_taken AND answer IS NULL", (_AGAIN,))
    connection.execute("DELETE FROM orders WHERE time < ?", (now - OLD,))


class Lookout:
    """The thread that looks for orders. One that is taken cannot be withdrawn any more."""

    def __init__(
        self, path: Path, clock: Clock, hand: Callable[[Order], None], note: Callable[[str], None]
    ) -> None:
        """`hand` and `note` are called in the thread, with an order and with a line for the log."""
        self._path = path
        self._clock = clock
        self._hand = hand
        self._note = note
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store orders", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, patience: float) -> None:
        """End, within so many seconds; what was not handed out yet is left for the next."""
        self._has_ended.set()
        self._thread.join(patience)

    def _run(self) -> None:
        try:
            connection = connect(self._path)
        except StoreError as error:
            self._note(f"no orders of the command line are taken: {error}")
            return
        seen, noted = None, ""
        while not self._has_ended.is_set():
            try:
                [(version,)] = connection.execute("PRAGMA data_version").fetchall()
                if version != seen:
                    self._take(connection)
                    seen, noted = version, ""
            except sqlite3.Error as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if str(error) != noted:
                    noted = str(error)
                    self._note(f"{self._path}: orders of the command line cannot be taken ({noted})")
            self._has_ended.wait(EVERY)
        connection.close()

    def _take(self, connection: sqlite3.Connection) -> None:
        if not connection.execute(_NEW).fetchall():
            return
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_DROP, (self._clock(), PATIENCE))
        found = connection.execute(_NEW).fetchall()
        connection.execute("UPDATE orders SET is_taken = 1 WHERE answer IS NULL")
        connection.execute("COMMIT")
        for number, what, name, hashed, minutes, is_set, reason in found:
            self._hand(Order(number, what, name, hashed, minutes, bool(is_set), reason))


def leave(connection: sqlite3.Connection, order: Order, now: float) -> int:
    """Leave an order, whose number does not count; return its number."""
    statement = f"INSERT INTO orders (time, {_COLUMNS}) VALUES (?, NULL, ?, ?, ?, ?, ?, ?)"
    number = connection.execute(statement, (now, *order[1:])).lastrowid
    assert number is not None  # noqa: S101 - for the type checker
    return number


def answer(connection: sqlite3.Connection, number: int) -> str | None:
    """Return the answer, and forget the order; None, if it is not done yet."""
    found = connection.execute("SELECT answer FROM orders WHERE number = ?", (number,)).fetchall()
    if not found:
        raise StoreError("the order was dropped, as it was too old, and nothing was done")
    if found[0][0] is not None:
        connection.execute("DELETE FROM orders WHERE number = ?", (number,))
    return None if found[0][0] is None else str(found[0][0])


def are_left(connection: sqlite3.Connection) -> bool:
    """Whether there are orders that are not done."""
    return bool(connection.execute("SELECT 1 FROM orders WHERE answer IS NULL LIMIT 1").fetchall())


def withdraw(connection: sqlite3.Connection, number: int) -> bool:
    """Forget an order that nobody has taken; return whether that was so."""
    statement = "DELETE FROM orders WHERE number = ? AND NOT is_taken AND answer IS NULL"
    return bool(connection.execute(statement, (number,)).rowcount)
