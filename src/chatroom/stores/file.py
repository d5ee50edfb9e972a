"""The file of a store: locked for one server, made if it is new, and refused if it is not ours."""

import os
import sqlite3
from pathlib import Path
from time import sleep as pause
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

APPLICATION = 0x63686174
"""What marks a database as ours (`PRAGMA application_id`): "chat"."""
PATIENCE = 5.0
"""Seconds to wait until another server has let go of the file: one that is being restarted, as a rule."""
PAUSE = 0.02
"""Seconds between two tries."""
BUSY = 5.0
"""Seconds that a checkpoint waits for a reader; those that are read take far less."""

MIGRATIONS = [
    """
    CREATE TABLE mark (number INTEGER NOT NULL);  -- more than any number that was given out
    INSERT INTO mark VALUES (0);
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        secret BLOB NOT NULL,                     -- the hash of it
        name TEXT NOT NULL,                       -- empty: somebody else has taken it since
        rooms TEXT NOT NULL                       -- JSON: those it was in, as they are spelled
    );
    CREATE TABLE messages (
        number INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,                    -- microseconds since 1970, UTC
        session INTEGER NOT NULL,                 -- who said it
        sender TEXT NOT NULL,                     -- its name then
        sender_key TEXT,                          -- the same, folded; of direct messages only
        room TEXT,                                -- folded; the lobby's is empty; NULL: a direct message
        receiver INTEGER,                         -- of a direct message
        addressee TEXT NOT NULL,                  -- the room's or the receiver's name then
        addressee_key TEXT,                       -- the same, folded; of direct messages only
        content TEXT,                             -- NULL: it was taken back
        ref BLOB                                  -- a hash of it
    );
    CREATE INDEX messages_of_rooms ON messages (room, number);
    -- By number, not by session: each commit would write a page for each session that spoke.
    CREATE INDEX messages_direct ON messages (number, session, receiver) WHERE receiver IS NOT NULL;
    """,
]
"""What leads from each version (`PRAGMA user_version`) to the next; the first, from an empty file."""


class StoreError(Exception):
    """A file cannot be used; the text says which and why, in one line."""


def lock(path: Path) -> int:
    """Lock the file for this process, and make it if there is none; return the descriptor that holds the lock.

    It must be closed behind all connections: to close it drops SQLite's own locks
    (sqlite.org/howtocorrupt.html, 2.2). Raises `StoreError`.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    try:
        _lock(descriptor, path)
    except StoreError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    if fcntl is None:
        return
    for _ in range(round(PATIENCE / PAUSE)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except BlockingIOError:
            pause(PAUSE)
        except OSError as error:
            raise StoreError(f"{path}: it cannot be locked: {error.strerror}") from error
        else:
            return
    raise StoreError(f"{path}: another server uses this file")


def _hide(path: Path) -> None:
    """Let only the owner read the file and what SQLite keeps beside it: a copy of it may be open to all.

    Raises `StoreError` if we may not change that.
    """
    for end in ("", "-wal", "-shm"):
        part = path.with_name(path.name + end)
        try:
            if part.stat().st_mode & 0o077:
                part.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(
                f"{part}: others can read it, which cannot be changed: {error.strerror}"
            ) from error


def opened(path: Path) -> sqlite3.Connection:
    """Return a connection that may write, to a file that is made or migrated if need be.

    Raises `StoreError` if it is not ours, newer than we are, or damaged; nothing in it has been changed then.
    """
    connection = connect(path)
    try:
        _check(connection, path)
        _hide(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        _migrate(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StoreError(f"{path}: {error}") from error
    except StoreError:
        connection.close()
        raise
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that is there. Raises `StoreError`."""
    try:
        connection = sqlite3.connect(path.absolute(), isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {round(BUSY * 1000)}")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    try:
        application, version, tables = (
            connection.execute(question).fetchone()[0]
            for question in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_schema",
            )
        )
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise StoreError(f"{path}: this file is no database of chatroom") from error
        raise
    if (application, version, tables) == (0, 0, 0):
        return
    if application != APPLICATION:
        raise StoreError(f"{path}: this file is no database of chatroom")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: a newer chatroom has written this file: version {version}; {len(MIGRATIONS)} is known"
        )
    [(finding,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if finding != "ok":
        raise StoreError(f"{path}: this file is damaged: {' '.join(finding.split())}")


def _migrate(connection: sqlite3.Connection) -> None:
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        done = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number}"
        connection.executescript(f"BEGIN IMMEDIATE; {script}; {done}; COMMIT")
