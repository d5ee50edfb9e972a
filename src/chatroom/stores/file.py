"""The file of a store: locked for one server, made if it is new, and refused if it is not ours."""

import os
import sqlite3
from contextlib import closing
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
    """
    CREATE TABLE accounts (
        number INTEGER PRIMARY KEY,               -- that of the session that registered it
        name TEXT NOT NULL,
        hashed TEXT NOT NULL,                     -- the password's hash; empty: removed, the name is reserved
        version INTEGER NOT NULL,
        is_operator INTEGER NOT NULL,
        seen REAL NOT NULL,                       -- seconds since 1970, UTC, to the day
        has_returned INTEGER NOT NULL,
        rooms TEXT NOT NULL,                      -- JSON: those that it is in, as they are spelled
        away_since INTEGER NOT NULL,
        waiting INTEGER NOT NULL
    );
    CREATE TABLE bans (
        kind TEXT NOT NULL,                       -- ban, network or mute
        account INTEGER NOT NULL,                 -- 0: a guest
        name TEXT NOT NULL,
        by TEXT NOT NULL,                         -- empty: the command line
        time REAL NOT NULL,                       -- both in seconds since 1970, UTC
        until REAL NOT NULL,                      -- 0: for good
        origins TEXT NOT NULL,                    -- JSON: networks
        reason TEXT NOT NULL,
        number INTEGER NOT NULL,                  -- sessions with less may resume
        PRIMARY KEY (kind, name)
    ) WITHOUT ROWID;
    CREATE TABLE orders (                         -- of the command line, to whoever holds the lock
        number INTEGER PRIMARY KEY AUTOINCREMENT, -- none comes twice
        time REAL NOT NULL,
        what TEXT NOT NULL,
        name TEXT NOT NULL,
        hashed TEXT NOT NULL,
        minutes INTEGER NOT NULL,
        is_set INTEGER NOT NULL,
        reason TEXT NOT NULL,
        is_taken INTEGER NOT NULL DEFAULT 0,      -- 1: it is being done, and cannot be withdrawn; 2: again
        answer TEXT                               -- NULL: it is not done yet; else why not, if it was not
    );
    ALTER TABLE sessions ADD COLUMN account INTEGER NOT NULL DEFAULT 0;  -- 0: a guest's
    ALTER TABLE sessions ADD COLUMN until REAL NOT NULL DEFAULT 0;
    ALTER TABLE messages ADD COLUMN device INTEGER;  -- the session, if `session` is not it, but its account

    -- Direct messages of each account; under 0, those neither of whose ends is one. The writer inserts them.
    CREATE TABLE letters (account INTEGER, number INTEGER, PRIMARY KEY (account, number)) WITHOUT ROWID;
    INSERT INTO letters SELECT 0, number FROM messages WHERE receiver IS NOT NULL;
    CREATE TRIGGER swept AFTER DELETE ON messages WHEN old.receiver IS NOT NULL BEGIN
        DELETE FROM letters WHERE account IN (old.session, old.receiver, 0) AND number = old.number;
    END;
    CREATE TRIGGER registered AFTER INSERT ON accounts WHEN new.hashed <> '' BEGIN
        INSERT OR IGNORE INTO letters SELECT new.number, number FROM messages INDEXED BY messages_direct
        WHERE receiver IS NOT NULL AND number > new.number AND new.number IN (session, receiver);
        DELETE FROM letters WHERE account = 0
        AND number IN (SELECT number FROM letters WHERE account = new.number);
    END;
    CREATE TRIGGER removed AFTER UPDATE OF hashed ON accounts WHEN new.hashed = '' AND old.hashed <> '' BEGIN
        INSERT OR IGNORE INTO letters SELECT 0, letters.number FROM letters JOIN messages USING (number)
        WHERE account = old.number AND NOT EXISTS (
            SELECT 1 FROM letters AS other WHERE account <> old.number AND account IN (session, receiver)
            AND other.number = letters.number);
        DELETE FROM letters WHERE account = old.number;
    END;
    CREATE TRIGGER freed BEFORE DELETE ON accounts BEGIN
        UPDATE accounts SET hashed = '' WHERE number = old.number;
    END;
    """,
]
"""What leads from each version (`PRAGMA user_version`) to the next; the first, from an empty file."""
ACCOUNTS = 2
"""The version from which on there are accounts, bans and orders."""


class StoreError(Exception):
    """A file cannot be used; the text says which and why, in one line."""


class InUseError(StoreError):
    """Another process holds the file's lock."""


def lock(path: Path, patience: float = PATIENCE) -> int:
    """Lock the file for this process, and make it if there is none; return the descriptor that holds the lock.

    It must be closed behind all connections, and not be opened beside one: to close it drops SQLite's own locks
    (sqlite.org/howtocorrupt.html, 2.2). Raises `InUseError` after so many seconds, and `StoreError`.
    """
    _check_kind(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    try:
        _lock(descriptor, path, patience)
    except StoreError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, path: Path, patience: float) -> None:
    if fcntl is None:
        return
    for tries_left in range(round(patience / PAUSE), -1, -1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except BlockingIOError:
            if tries_left:
                pause(PAUSE)
        except OSError as error:
            raise StoreError(f"{path}: it cannot be locked: {error.strerror}") from error
        else:
            return
    raise InUseError(f"{path}: another server uses this file")


def _check_kind(path: Path) -> None:
    """Refuse what is no file, as a device is. Raises `StoreError`."""
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: this is no regular file")


def why(error: sqlite3.Error) -> str:
    """Return why a file cannot be used, in words that say what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the lowest byte; the others say more
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
        return f"you must be allowed to write to this file and its folder, also to read what is in it ({error})"
    return str(error)


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
    _check_kind(path)
    try:
        connection = sqlite3.connect(path.absolute(), isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {round(BUSY * 1000)}")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {why(error)}") from error
    return connection


def ready(path: Path) -> bool:
    """Whether the file takes orders; if nobody uses it, it is made, or migrated, first.

    To be called without a connection. Raises `StoreError` as `opened` does, and if the file is there but empty:
    it may be another's.
    """
    is_there = path.exists()
    if is_there:
        with closing(connect(path)) as connection:
            if version(connection, path) >= ACCOUNTS:
                return True
    try:
        descriptor = lock(path, 0)
    except InUseError:
        return False
    try:
        if is_there and not os.fstat(descriptor).st_size:
            raise StoreError(f"{path}: this file is empty, and no database of chatroom")
        opened(path).close()
    finally:
        os.close(descriptor)
    return True


def version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's version; 0: there is nothing in it. Raises `StoreError` if it is not ours, or newer."""
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
        return 0
    if application != APPLICATION:
        raise StoreError(f"{path}: this file is no database of chatroom")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: a newer chatroom has written this file: version {version}; {len(MIGRATIONS)} is known"
        )
    return int(version)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if not version(connection, path):
        return
    [(finding,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if finding != "ok":
        raise StoreError(f"{path}: this file is damaged: {' '.join(finding.split())}")


def _migrate(connection: sqlite3.Connection) -> None:
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        done = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number}"
        connection.executescript(f"BEGIN IMMEDIATE; {script}; {done}; COMMIT")
