"""Accounts, bans and orders in a real file, and what is kept of direct messages: the store alone."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatroom.hub.entries import Said, Told
from chatroom.hub.ports import Known, KnownAccount, KnownBan, Order, Restored
from chatroom.hub.reading import Page, Query
from chatroom.protocol import messages
from chatroom.protocol.messages import Incoming, IncomingBroadcast
from chatroom.stores import file, orders, sweeper, writer
from chatroom.stores.file import StoreError
from chatroom.stores.orders import answer, leave, withdraw
from chatroom.stores.sqlite import SqliteStore
from chatroom.stores.writer import Barrier
from fakes import FakeLoop

ANN = KnownAccount(10, "Ann", "$argon2id$…", 3, True, 86_400.0, True, ("Böse", "b"), 77, 5)
BAN = KnownBan("ban", 0, "bob", "Ann", 1000.5, 2000.0, ("192.0.2.1", "2001:db8::/64"), "he knows", 7)
MUTE = KnownBan("mute", 10, "bob", "", 1000.0, 0.0, (), "")
KICK = Order(0, "ban", "bob", "", 60, False, "he knows")


class Drive:
    """Stores on one file, one after the other, and the loop that they call back in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = FakeLoop()
        self.loop.now = 1_000_000.0
        self.notes: list[str] = []
        self.done: list[bool] = []
        self._is_open = False
        self.open()

    def open(self) -> Restored:
        """Open the file; return what is in it."""
        self.store = SqliteStore(
            self.path, loop=self.loop, clock=self.loop.time, note=self.notes.append, days=90
        )
        self._is_open = True
        return self.store.restore(round(self.loop.now * 1_000_000))

    def close(self) -> None:
        """Close it, if it is open."""
        if self._is_open:
            self._is_open = False
            self.store.close(0, 100)

    def again(self) -> Restored:
        """Close the file, and open it again."""
        self.settle()
        self.close()
        return self.open()

    def settle(self) -> None:
        """Wait until all that was asked for is done, and answered."""
        for _ in range(2):
            done = threading.Event()
            self.store.writer.queue.put(Barrier(lambda: self.store.reader.queue.put(done.set)))  # noqa: B023
            assert done.wait(100)
            self.loop.turn()

    def commit(self) -> None:
        """Wait until all that was asked for is committed; nobody has heard of it."""
        done = threading.Event()
        self.store.writer.queue.put(Barrier(done.set))
        assert done.wait(100)

    def crash(self) -> None:
        """Go on with the file as it is."""
        self.commit()
        crashed = self.path.with_name(f"{self.path.name}.crashed")
        for end in ("", "-wal"):
            shutil.copy(f"{self.path}{end}", f"{crashed}{end}")
        self.close()
        self.path = crashed

    def sweep(self) -> None:
        """Wait until it has swept."""
        self.settle()
        self.loop.now += sweeper.INTERVAL
        self.settle()
        while self.store.writer.sweeper.is_due():
            self.settle()
        self.settle()

    def tell(self, number: int, session: int, receiver: int, content: str = "") -> None:
        """Store a direct message."""
        frames = messages.encode(Incoming(from_=f"u{session}", content=content or f"{number}"))
        self.store.keep(
            Told(number, self.loop.now, session, frames, 1, None, receiver, f"u{receiver}"), None, session
        )

    def say(self, number: int, session: int, content: str, ref: bytes | None = None, device: int = 0) -> None:
        """Store what was said in the lobby."""
        frames = messages.encode(IncomingBroadcast(from_=f"u{session}", content=content))
        self.store.keep(Said(number, self.loop.now, session, frames, 1, ref, ""), None, device or session)

    def direct_of(self, session: int, **query: str) -> list[str]:
        """Return the contents of somebody's direct messages, from the file, oldest first."""
        asked = Query(None, session, query.get("partner"), None, None, 200, None)
        page = Page(asked)
        self.store.fill(page, asked, lambda: None)
        self.settle()
        self.settle()
        return [message.content for message in page.oldest_first()]

    def rows(self, question: str, *values: object) -> list[tuple[object, ...]]:
        """Ask the file."""
        connection = file.connect(self.path)
        try:
            return connection.execute(question, values).fetchall()
        finally:
            connection.close()


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    """A file, and a store on it."""
    drive = Drive(tmp_path / "chat.db")
    yield drive
    drive.close()


def account(number: int, **changes: object) -> KnownAccount:
    return KnownAccount(number, f"u{number}", "$", 1, False, 0.0, False, (), 1, 0)._replace(**changes)  # type: ignore[arg-type]


def test_accounts_and_bans_are_there_again(drive: Drive) -> None:
    """Each as it was known last, with all that belongs to it; what was removed or lifted is not."""
    other = MUTE._replace(name="eve")
    done: list[bool] = []
    for one in (ANN, account(11), account(12)):
        drive.store.know_account(one, done.append)
    for ban in (BAN, MUTE, other):
        drive.store.know_ban(ban)
    drive.store.remove_account(11)
    drive.store.lift("mute", "eve")
    drive.store.know_account(account(12, hashed=""))
    drive.store.know_ban(BAN._replace(until=3000.0))
    drive.settle()
    assert done == [True] * 3

    restored = drive.again()

    assert list(restored.accounts) == [ANN, account(12, hashed="")]
    assert list(restored.bans) == [MUTE, BAN._replace(until=3000.0)]


def test_an_accounts_session_is_there_again(drive: Drive) -> None:
    """With whose it is and when it ends; and each with the `ref` of what it said itself."""
    known = [
        Known(20, b"1", "u20", ("a",), (), 10, 5000.5),
        Known(21, b"2", "u20", (), (), 10, 0.0),
        Known(22, b"3", "guest", ()),
    ]
    for one in known:
        drive.store.know(one)
    drive.say(30, 10, "by the first", b"ref", 20)
    drive.say(31, 10, "by the second", b"ref", 21)
    drive.say(32, 22, "by the guest", b"ref")

    restored = drive.again()

    receipts = [((b"ref", number, drive.loop.now),) for number in (30, 31, 32)]
    assert list(restored.sessions) == [
        one._replace(receipts=receipt) for one, receipt in zip(known, receipts, strict=True)
    ]
    assert [post.session for post in restored.rooms[""][1]] == [10, 10, 22]


def test_a_file_of_version_1(tmp_path: Path) -> None:
    """All that is in it is there: sessions are guests', and their direct messages can be read and are swept."""
    path = tmp_path / "old.db"
    connection = file.connect(path)
    connection.executescript(
        f"{file.MIGRATIONS[0]}; PRAGMA application_id = {file.APPLICATION}; PRAGMA user_version = 1;"
    )
    connection.execute("INSERT INTO sessions VALUES (10, x'01', 'u10', '[]')")
    row = "INSERT INTO messages VALUES (?, 999999000000, ?, 'u', 'u', NULL, ?, 'u', 'u', 'x', NULL)"
    connection.execute(row, (20, 10, 11))
    connection.execute(row, (21, 11, 12))
    connection.close()

    drive = Drive(path)

    assert drive.direct_of(10) == ["x"]
    drive.sweep()
    assert drive.rows("SELECT number FROM messages") == [(20,)]
    drive.store.know_account(account(10))
    assert drive.direct_of(10) == ["x"]
    assert list(drive.again().sessions) == [Known(10, b"\x01", "u10", ())]
    drive.close()


@pytest.mark.parametrize("is_busy", [False, True])
def test_what_failed_is_tried_again(drive: Drive, monkeypatch: pytest.MonkeyPatch, *, is_busy: bool) -> None:
    """All that changed of accounts and bans is stored with what comes next, or soon if nothing comes."""
    monkeypatch.setattr(writer, "AGAIN", 0.01)
    drive.store.know_account(account(11))
    drive.store.know_ban(MUTE)
    drive.settle()
    connection = drive.store.writer._connection
    connection.execute("PRAGMA query_only = 1")
    done: list[bool] = []
    drive.store.know_account(ANN._replace(version=1), done.append)
    drive.settle()
    drive.store.know_account(ANN, done.append)
    drive.store.remove_account(11)
    drive.store.know_ban(BAN)
    drive.store.lift("mute", "bob")
    drive.settle()
    assert done == [False, False]
    committed = threading.Event()
    connection.set_trace_callback(lambda statement: committed.set() if statement == "COMMIT" else None)
    connection.execute("PRAGMA query_only = 0")

    if is_busy:
        drive.store.raise_mark(10**15, done.append)
    assert committed.wait(100)
    drive.settle()

    restored = drive.again()
    assert (list(restored.accounts), list(restored.bans)) == ([ANN], [BAN])


def test_changes_of_an_account_while_the_disk_stalls(drive: Drive) -> None:
    """One change waits, and the last state; all who asked are told when it is stored."""
    held, may_go_on = threading.Event(), threading.Event()
    drive.store.writer.queue.put(Barrier(lambda: (held.set(), may_go_on.wait(100))))  # type: ignore[arg-type, func-returns-value]
    assert held.wait(100)
    done: list[int] = []
    for number in range(50):
        drive.store.know_account(account(10, waiting=number), lambda is_done, n=number: done.append(n))  # type: ignore[misc]
    waiting = drive.store.writer.queue.qsize()
    may_go_on.set()
    drive.settle()
    drive.settle()

    assert waiting == 1
    assert done == list(range(50))
    assert drive.again().accounts[0].waiting == 49


def test_a_message_that_is_stored_waits_in_the_file(drive: Drive) -> None:
    """Whatever of the account is being written: that it is away is stored with the message, or before."""
    drive.store.know_account(account(10, away_since=0))
    drive.store.know_account(account(10, away_since=0, version=2))
    drive.store.know_account(account(10, away_since=19, waiting=1))

    drive.tell(20, 11, 10)

    drive.commit()
    assert drive.rows("SELECT away_since, waiting FROM messages, accounts") == [(19, 1)]


def test_an_account_is_stored_with_its_session(drive: Drive) -> None:
    """Whoever is told that an account is registered comes back to it after a crash."""
    for owner in (0, 10):
        drive.store.know(Known(10, b"1", "u10", (), (), owner))

    drive.store.know_account(account(10), drive.done.append)

    drive.commit()
    assert drive.rows("SELECT account, hashed FROM sessions, accounts") == [(10, "$")]


@pytest.mark.parametrize("has_returned", [False, True])
def test_what_was_here_is_seen_at_a_restart(drive: Drive, *, has_returned: bool) -> None:
    """After a crash, however long it had been here; not again, if it does not come back."""
    drive.store.know_account(account(10, away_since=0, has_returned=has_returned))
    drive.store.know_account(account(11, away_since=5))
    drive.store.raise_mark(77, drive.done.append)
    drive.settle()
    drive.crash()
    drive.loop.now += 86_400 * 40
    day = drive.loop.now // 86_400 * 86_400

    restored = drive.open()

    seen = account(10, away_since=77, has_returned=True, seen=day)
    assert list(restored.accounts) == [seen, account(11, away_since=5)]
    drive.loop.now += 86_400 * 40
    drive.crash()
    assert list(drive.open().accounts) == [seen, account(11, away_since=5)]


def test_direct_messages_of_an_account_are_kept(drive: Drive) -> None:
    """Whoever is the other end: until that has gone, and the account is removed, its name freed or not."""
    for one in (account(10), account(11)):
        drive.store.know_account(one)
    drive.store.know(Known(12, b"guest", "u12", ()))
    drive.tell(20, 10, 11)
    drive.tell(21, 12, 10)
    drive.tell(22, 13, 11)
    drive.tell(23, 12, 13)
    drive.tell(25, 10, 10)
    drive.sweep()
    assert drive.direct_of(10) == ["20", "21", "25"]
    assert drive.direct_of(10, partner="u12") == ["21"]
    assert drive.direct_of(11) == ["20", "22"]
    assert drive.direct_of(12) == ["21", "23"]
    assert drive.rows("SELECT number FROM messages") == [(20,), (21,), (22,), (23,), (25,)]

    drive.store.know_account(account(10, hashed=""))
    drive.sweep()
    assert drive.rows("SELECT number FROM messages") == [(20,), (21,), (22,), (23,)]
    drive.store.end(12)
    drive.sweep()
    assert drive.direct_of(11) == ["20", "22"]
    drive.store.remove_account(11)
    drive.store.remove_account(10)
    drive.sweep()
    assert drive.rows("SELECT number FROM messages UNION SELECT number FROM letters") == []


def test_what_a_guest_had_is_the_accounts(drive: Drive) -> None:
    """Who registers keeps the direct messages of before; a removed account's are not its next holder's."""
    drive.store.know(Known(10, b"guest", "u10", ()))
    drive.tell(20, 10, 11)
    drive.tell(21, 11, 10)
    drive.tell(22, 10, 12)
    drive.store.know_account(account(10))
    drive.store.end(10)
    drive.sweep()
    assert drive.direct_of(10) == ["20", "21", "22"]

    drive.store.know_account(account(10, version=2))
    drive.store.know_account(account(10, hashed=""))
    drive.settle()
    drive.store.know_account(account(30, name="u10"))
    assert drive.direct_of(30) == drive.direct_of(10) == []


def test_an_account_has_so_many(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest beyond go, a few at a time; not from the other end, if that is an account too."""
    monkeypatch.setattr(sweeper, "ACCOUNT", 10)
    monkeypatch.setattr(sweeper, "STEP", 3)
    for number in (10, 11, 12):
        drive.store.know_account(account(number))
    for number in range(20, 28):
        drive.tell(number, 10, 11)
    for number in range(28, 46):
        drive.tell(number, 10, 99)
        drive.tell(number + 100, 12, 11) if number < 32 else None
    drive.sweep()
    drive.sweep()

    assert drive.direct_of(10) == [str(number) for number in range(36, 46)]
    assert drive.direct_of(11) == [str(number) for number in (*range(22, 28), *range(128, 132))]
    assert drive.direct_of(12) == ["128", "129", "130", "131"]
    kept = [*range(22, 28), *range(36, 46), *range(128, 132)]
    assert drive.rows("SELECT number FROM messages ORDER BY number") == [(number,) for number in kept]


def test_guests_have_so_many(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """All together; they take nothing from accounts."""
    monkeypatch.setattr(sweeper, "ROOM", 5)
    monkeypatch.setattr(sweeper, "STEP", 2)
    drive.store.know_account(account(10))
    drive.store.know(Known(11, b"guest", "u11", ()))
    for number in range(20, 30):
        drive.tell(number, 11, 10)
        drive.tell(number + 100, 11, 12)
    drive.sweep()

    assert len(drive.direct_of(10)) == 10
    assert drive.direct_of(11)[10:] == ["125", "126", "127", "128", "129"]


def test_a_room_that_fills_slowly_has_so_many(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if fewer than somebody would look at come between two looks."""
    monkeypatch.setattr(sweeper, "ROOM", 5)
    for number in range(20, 40):
        drive.say(number, 10, f"{number}")
        drive.sweep()

    assert drive.rows("SELECT count(*) FROM messages") == [(5,)]


def test_all_that_somebody_wrote_is_erased(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps between which others write; then its text is in none of the files, and all else is."""
    monkeypatch.setattr(writer, "LOOKS_AT", 7)
    drive.store.know_account(account(10))
    for number in range(20, 120, 2):
        drive.say(number, 10, f"secret-{number}")
        drive.tell(number + 1000, 10, 11, f"secret-{number}")
        drive.say(number + 1, 11, f"other-{number}")
    drive.tell(2000, 11, 10, "to-it")
    drive.settle()
    statements: list[str] = []
    drive.store.writer._connection.set_trace_callback(statements.append)
    is_over = threading.Event()

    drive.store.erase(10, lambda is_done: (drive.done.append(is_done), is_over.set()))  # type: ignore[arg-type, func-returns-value]
    for number in range(3000, 3003):
        drive.say(number, 11, "more")
        drive.settle()
    while not is_over.is_set():
        drive.settle()

    assert drive.done == [True]
    steps = [index for index, each in enumerate(statements) if each.startswith("UPDATE messages")]
    assert len(steps) > 10
    assert any("INSERT" in each for each in statements[steps[0] : steps[-1]])
    held = b"".join(each.read_bytes() for each in drive.path.parent.iterdir())
    assert b"secret-" not in held
    assert held.count(b"other-") >= 50
    assert drive.direct_of(10) == ["to-it"]


# Orders


def obey(drive: Drive, do: Callable[[Order], str]) -> list[Order]:
    """Have orders done; return the list of those that were."""
    done: list[Order] = []

    def note(order: Order) -> str:
        done.append(order)
        return do(order)

    drive.store.take_orders(note)
    return done


def wait_for(drive: Drive, number: int) -> str:
    """Wait for the answer to an order."""
    connection = file.connect(drive.path)
    while (found := answer(connection, number)) is None:
        drive.settle()
    connection.close()
    return found


def left(drive: Drive, order: Order = KICK) -> int:
    """Leave an order."""
    connection = file.connect(drive.path)
    try:
        return leave(connection, order, drive.loop.now)
    finally:
        connection.close()


def test_an_order_is_done_and_answered(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were there, and those that come; each once, in their order, with what it says."""
    monkeypatch.setattr(orders, "EVERY", 0.01)
    add = Order(0, "add", "Ann", "$argon2id$…", 0, True, "")
    first, second = left(drive), left(drive, add)

    done = obey(drive, lambda order: f"no {order.name}" if order.what == "add" else "")

    assert (wait_for(drive, first), wait_for(drive, second)) == ("", "no Ann")
    third = left(drive)
    assert wait_for(drive, third) == ""
    assert done == [
        KICK._replace(number=first),
        add._replace(number=second),
        KICK._replace(number=third),
    ]
    assert drive.rows("SELECT * FROM orders") == []


def test_nothing_is_read_while_nothing_changes(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread asks SQLite whether the file has changed, and no more."""
    monkeypatch.setattr(orders, "EVERY", 0.0001)
    statements: list[str] = []
    looked = threading.Event()

    def connect(path: Path) -> sqlite3.Connection:
        connection = file.connect(path)

        def trace(statement: str) -> None:
            statements.append(statement)
            if len(statements) > 100:
                looked.set()

        connection.set_trace_callback(trace)
        return connection

    monkeypatch.setattr(orders, "connect", connect)
    obey(drive, lambda _: "")
    assert looked.wait(100)

    assert statements[1].startswith("SELECT")
    assert set(statements[2:]) == {"PRAGMA data_version"}


def test_an_order_is_withdrawn(drive: Drive) -> None:
    """If nobody has taken it: then it is never done. One that is taken cannot be."""
    connection = file.connect(drive.path)
    first, second = left(drive), left(drive)
    assert withdraw(connection, first)
    done = obey(drive, lambda _: str(withdraw(connection, second)))

    assert wait_for(drive, second) == "False"
    assert [order.number for order in done] == [second]
    connection.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_between_order_and_answer(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The order is done once: what it did is stored with its answer, or not at all."""
    monkeypatch.setattr(orders, "EVERY", 0.01)
    number = left(drive)
    copy = tmp_path / "crash"
    copy.mkdir()

    def crash() -> None:
        for each in drive.path.parent.glob("chat.db*"):
            (copy / each.name).write_bytes(each.read_bytes())

    commit = drive.store.writer._commit

    def committing(batch: list[object]) -> None:
        if any(isinstance(write, writer.Change) and write.key == ("order", number) for write in batch):
            crash()
        commit(batch)  # type: ignore[arg-type]

    if moment == "before":
        monkeypatch.setattr(drive.store.writer, "_commit", committing)

    def do(order: Order) -> str:
        drive.store.know_account(ANN)
        drive.store.know_account(ANN._replace(version=4))
        return ""

    obey(drive, do)
    if moment == "before":
        wait_for(drive, number)
    else:
        while drive.rows("SELECT answer FROM orders") != [("",)]:
            drive.settle()
        crash()

    after = Drive(copy / "chat.db")
    accounts = [tuple(row) for row in after.rows("SELECT version FROM accounts")]
    done = obey(after, lambda _: "again")

    assert wait_for(after, number) == ("again" if moment == "before" else "")
    assert (len(done), accounts) == ((1, []) if moment == "before" else (0, [(4,)]))
    after.close()


def test_an_order_that_erases(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered when all is overwritten, and not before."""
    monkeypatch.setattr(writer, "LOOKS_AT", 2)
    for number in range(20, 50):
        drive.say(number, 10, f"secret-{number}")
    done: list[bool] = []

    def forget(order: Order) -> str:
        drive.store.erase(10, done.append)
        return ""

    number = left(drive, Order(0, "forget", "u10", "", 0, False, ""))
    obey(drive, forget)

    assert wait_for(drive, number) == ""
    assert done == [True]
    assert b"secret-" not in b"".join(each.read_bytes() for each in drive.path.parent.iterdir())


def test_an_order_that_cannot_be_erased(drive: Drive) -> None:
    """The answer says so."""
    reading = file.connect(drive.path)
    drive.store.writer._connection.execute("PRAGMA busy_timeout = 0")
    drive.say(20, 10, "secret")
    drive.settle()
    number = left(drive, Order(0, "forget", "u10", "", 0, False, ""))
    reading.execute("BEGIN")
    reading.execute("SELECT * FROM messages").fetchall()

    def forget(order: Order) -> str:
        drive.store.erase(10, lambda _: None)
        return ""

    obey(drive, forget)

    assert "could not be taken out of the file" in wait_for(drive, number)
    reading.close()


def test_a_bug_in_an_order(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, and the command is told that it failed."""
    number = left(drive)
    obey(drive, lambda _: str(1 / 0))

    assert "it failed" in wait_for(drive, number)
    assert "ZeroDivisionError" in caplog.text


def test_old_orders_are_dropped(drive: Drive) -> None:
    """Nobody waits for them any more."""
    left(drive)
    drive.close()
    drive.loop.now += orders.OLD + 1
    drive.open()

    assert drive.rows("SELECT * FROM orders") == []


@pytest.mark.parametrize("seconds", [orders.PATIENCE + 1, -orders.PATIENCE - 1])
def test_an_order_whose_command_was_killed(drive: Drive, seconds: float) -> None:
    """It is dropped if nobody has taken it in time; what was taken, and not done, is done again."""
    taken = left(drive)
    connection = file.connect(drive.path)
    connection.execute("UPDATE orders SET is_taken = 1")
    orders.renew(connection, drive.loop.now)
    untaken = left(drive)
    drive.loop.now += seconds
    new = left(drive)

    done = obey(drive, lambda _: str(withdraw(connection, taken)))

    assert (wait_for(drive, new), wait_for(drive, taken)) == ("False", "False")
    assert [order.number for order in done] == [taken, new]
    with pytest.raises(StoreError, match="dropped"):
        answer(connection, untaken)
    connection.close()
