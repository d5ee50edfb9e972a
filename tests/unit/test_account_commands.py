"""The commands on the data file, without a server: what they say, and how they wait for the lock."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chatroom import accounts
from chatroom.cli import main
from chatroom.config import Settings
from chatroom.hub.hub import Hub
from chatroom.hub.ports import DONE, KnownAccount, KnownBan, Order
from chatroom.stores import file, orders
from chatroom.stores.file import connect, lock, opened
from chatroom.stores.sqlite import SqliteStore


@pytest.fixture(autouse=True)
def done(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """Have a hub note what is ordered, and do a little of it; return what it notes."""
    noted: list[Order] = []

    def obey(hub: Hub, order: Order) -> str:
        noted.append(order)
        store = hub.house.store
        assert store
        if order.what == "add":
            store.know_account(
                KnownAccount(hub.house.next, order.name, order.hashed, 1, False, 0.0, False, (), 0, 0)
            )
        if order.what == "ban":
            now = 1_800_000_000.0
            store.know_ban(KnownBan("ban", 0, order.name, "", now, 0.0, (), order.reason))
        known = {"nobody": "there is no account \x1b nobody", "stranger": f"{DONE}nobody \x1b has this name"}
        return known.get(order.name, "")

    monkeypatch.setattr(Hub, "obey", obey, raising=False)
    monkeypatch.setattr(accounts, "hash_now", lambda password: f"hash of {len(password)}")
    monkeypatch.setattr(accounts, "PAUSE", 0.001)
    return noted


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A data file."""
    path = tmp_path / "chat.db"
    opened(path).close()
    return path


def chatroom(*words: object, text: str | bytes = "", **environment: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(word) for word in words], input=text, env=environment)


def rows(path: Path, statement: str) -> list[Any]:
    with closing(connect(path)) as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize(
    ("words", "order", "said"),
    [
        (["account", "add", "ann"], Order(1, "add", "ann", "hash of 12"), "ann has an account"),
        (
            ["account", "password", "ann"],
            Order(1, "password", "ann", "hash of 12"),
            "the password of ann is changed",
        ),
        (["account", "operator", "ann"], Order(1, "operator", "ann", is_set=True), "ann is now an operator"),
        (["account", "operator", "ann", "--off"], Order(1, "operator", "ann"), "ann is no longer an operator"),
        (["account", "forget", "ann"], Order(1, "forget", "ann"), "what ann wrote is erased"),
        (
            ["account", "remove", "ann"],
            Order(1, "remove", "ann"),
            "the account ann is removed; its name is kept reserved",
        ),
        (
            ["account", "remove", "ann", "--free"],
            Order(1, "remove", "ann", is_set=True),
            "the account ann is removed; its name is free",
        ),
        (["ban", "bob"], Order(1, "ban", "bob", minutes=60), "bob is banned until 1970-01-01 01:00 UTC"),
        (
            ["ban", "192.0.2.0/24", "--minutes", "0", "--reason", "spam"],
            Order(1, "ban", "192.0.2.0/24", reason="spam"),
            "192.0.2.0/24 is banned for good",
        ),
        (["unban", "bob"], Order(1, "unban", "bob"), "bob is no longer banned"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_ordered(
    *,
    path: Path,
    done: list[Order],
    words: list[str],
    order: Order,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each command leaves one order, which is done once; then nothing of it is left."""
    monkeypatch.setattr("time.time", lambda: 0.0)
    result = chatroom(*words, "--data", path, text="twelve chars\n")

    assert (result.exit_code, result.output) == (0, f"{said}\n")
    assert done == [order]
    assert rows(path, "SELECT * FROM orders") == []
    os.close(lock(path, 0))


def test_what_else_there_is_to_know(path: Path) -> None:
    """The answer says it though the order was done."""
    result = chatroom("ban", "stranger", "--minutes", "0", "--data", path)

    assert (result.exit_code, result.output) == (
        0,
        "stranger is banned for good; but nobody ␛ has this name\n",
    )


@pytest.mark.parametrize("words", [[], ["account"]])
def test_summaries_are_not_cut(words: list[str]) -> None:
    """Each command's fits beside its name, in a terminal of 40 columns, too."""
    listed = chatroom(*words, "--help", COLUMNS="40").stdout.partition("Commands:\n")[2].splitlines()

    assert len(listed) > 5
    assert all(line.endswith(".") and not line.endswith("...") for line in listed), listed


@pytest.mark.parametrize("way", ["--data", "--config", "environment"])
def test_which_file_is_meant(path: Path, done: list[Order], way: str) -> None:
    """The file of --data, or the settings'."""
    settings = path.with_name("chatroom.toml")
    settings.write_text(f'data = "{path}"\n')
    words, environment = {
        "--data": (["--data", path], {"CHATROOM_DATA": "elsewhere"}),
        "--config": (["--config", settings], {}),
        "environment": ([], {"CHATROOM_DATA": str(path)}),
    }[way]

    result = chatroom("account", "operator", "ann", *words, **environment)

    assert (result.exit_code, len(done)) == (0, 1)


def test_a_file_is_made_for_the_first_account(tmp_path: Path) -> None:
    """So that the first operator can be there before the server; only its owner can read it."""
    path = tmp_path / "new.db"
    assert chatroom("account", "add", "ann", "--data", path, text="twelve chars").exit_code == 0

    assert path.stat().st_mode & 0o777 == 0o600
    assert rows(path, "SELECT name, hashed FROM accounts") == [("ann", "hash of 12")]
    assert b"twelve chars" not in path.read_bytes()


def test_a_list_of_accounts(path: Path) -> None:
    """By name, with the day each was last seen, and what it is; nothing in a name moves the cursor."""
    with closing(connect(path)) as connection:
        for number, (name, hashed, is_operator, seen) in enumerate(
            [("bob", "$", 0, 0.0), ("Ann", "$", 1, 86_400.0 * 365), ("eve\x1b", "", 0, 86_400.0)]
        ):
            values = (number, name, hashed, 1, is_operator, seen, 0, "[]", 0, 0)
            connection.execute(f"INSERT INTO accounts VALUES ({','.join('?' * len(values))})", values)

    result = chatroom("account", "list", "--data", path)

    assert result.output == (
        "1971-01-01  operator  Ann\nnever       account   bob\n1970-01-02  removed   eve␛\n"
    )


def test_a_list_of_bans(path: Path) -> None:
    """Those that have not ended; no address, but for a network that was banned as such."""
    with closing(connect(path)) as connection:
        for values in [
            ("ban", 0, "bob", "Ann", 1e9, 1e10, '["192.0.2.1"]', "spam", 0),
            ("mute", 0, "bob", "", 2e9, 0, "[]", "", 0),
            ("network", 0, "192.0.2.1", "", 2e9, 0, '["192.0.2.1"]', "", 0),
            ("ban", 0, "old", "Ann", 1e9, 1.5e9, "[]", "", 0),
        ]:
            connection.execute("INSERT INTO bans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    result = chatroom("bans", "--data", path)

    assert result.output == (
        "ban   until 2286-11-20 17:46  bob (by Ann, 2001-09-09 01:46): spam\n"
        "ban   for good                192.0.2.1 (by the command line, 2033-05-18 03:33)\n"
        "mute  for good                bob (by the command line, 2033-05-18 03:33)\n"
    )


@pytest.mark.parametrize("words", [["account", "list"], ["bans"]])
def test_lists_of_an_older_file(tmp_path: Path, words: list[str]) -> None:
    """They are empty, and the file stays as it is."""
    path = tmp_path / "old.db"
    with closing(connect(path)) as connection:
        connection.executescript(
            f"{file.MIGRATIONS[0]}; PRAGMA application_id = {file.APPLICATION}; PRAGMA user_version = 1;"
        )

    result = chatroom(*words, "--data", path)

    assert (result.exit_code, result.output) == (0, "")
    assert rows(path, "PRAGMA user_version") == [(1,)]


@pytest.mark.parametrize(
    ("words", "text", "status", "why"),
    [
        (
            ["account", "list"],
            "",
            2,
            "no data file is named: use --data, CHATROOM_DATA, or data in the file of",
        ),
        (["ban", "bob", "--data", "none.db"], "", 2, "none.db: there is no such file"),
        (["bans", "--data", "README.md"], "", 2, "README.md: this file is no database of chatroom"),
        (
            ["account", "add", "ann", "--data", "README.md"],
            "12345678",
            2,
            "README.md: this file is no database",
        ),
        (["account", "add", "ann", "--data", "none/chat.db"], "12345678", 2, "none/chat.db: No such file or"),
        (["account", "list", "--config", "none.toml"], "", 2, "--config none.toml: No such file"),
        (["account", "add", "ann", "--data", "chat.db"], "short", 1, "the password has 5 characters; it must"),
        (["account", "add", "ann", "--data", "chat.db"], "", 1, "the password has 0 characters; it must have"),
        (["account", "add", "ann", "--data", "chat.db"], "x" * 4000, 1, "the password has 2050 characters;"),
        (
            ["account", "add", "ann", "--data", "chat.db"],
            b"\xff" * 9,
            1,
            "the password on standard input is not",
        ),
        (["account", "operator", "nobody", "--data", "chat.db"], "", 1, "there is no account ␛ nobody"),
        (["account", "operator", "\udcff", "--data", "chat.db"], "", 1, "what was given is not in UTF-8"),
        (["ban", "bob", "--minutes", "x", "--data", "chat.db"], "", 2, "Error: Invalid value for '--minutes'"),
        (
            ["ban", "bob", "--reason", "x" * 257, "--data", "chat.db"],
            "",
            2,
            "Error: Invalid value for --reason",
        ),
        (["ban", "--data", "chat.db"], "", 2, "Error: Missing argument 'NAME_OR_NETWORK'."),
        (["backup", "chat.db", "--data", "chat.db"], "", 1, "chat.db: File exists"),
        (["backup", "none/copy.db", "--data", "chat.db"], "", 1, "none/copy.db: No such file or directory"),
        (["backup", "copy.db", "--data", "none.db"], "", 2, "none.db: there is no such file"),
    ],
    ids=str,
)
def test_errors(
    *,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    text: str | bytes,
    status: int,
    why: str,
) -> None:
    """Each is one line; the status is 2 if the command, a setting or the file is wrong, and else 1."""
    monkeypatch.chdir(path.parent)
    monkeypatch.delenv("CHATROOM_DATA", raising=False)
    Path("README.md").write_text("A text, of more bytes than the header of a database has.\n" * 5)

    result = chatroom(*words, text=text)

    assert result.output.startswith(why)
    assert (result.exit_code, result.output.count("\n"), result.stdout) == (status, 1, "")
    assert not Path("none.db").exists()
    assert rows(path, "SELECT * FROM orders") == []


@pytest.mark.parametrize("again", ["the same one", "another one"])
def test_a_password_on_a_terminal(path: Path, monkeypatch: pytest.MonkeyPatch, again: str) -> None:
    """It is asked for twice."""
    asked: list[str] = []
    given = iter(["the same one", again])

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return next(given)

    monkeypatch.setattr(accounts, "_is_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", ask)

    result = chatroom("account", "add", "ann", "--data", path)

    assert asked == ["password for ann: ", "the same again: "]
    assert result.output == (
        "ann has an account\n" if again == "the same one" else "the two passwords differ\n"
    )


def test_nobody_answers(path: Path, done: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the order is withdrawn, and never done; nobody's lock is broken."""
    monkeypatch.setattr(accounts, "PATIENCE", 0.01)
    held = lock(path)

    result = chatroom("account", "operator", "ann", "--data", path)

    why = "the server that uses this file has not answered for 0.01 seconds: the order is withdrawn, and"
    assert (result.exit_code, result.output) == (1, f"{path}: {why} nothing was done\n")
    os.close(held)
    assert chatroom("ban", "bob", "--data", path).exit_code == 0
    assert [order.what for order in done] == ["ban"]


def test_an_order_that_is_taken_is_waited_for(
    path: Path, done: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes; if whoever took it ends before it is done, the command does it."""
    monkeypatch.setattr(accounts, "PATIENCE", 0.01)
    held, tries = lock(path), 0

    def try_to_lock(path: Path, patience: float) -> int:
        nonlocal tries
        tries += 1
        with closing(connect(path)) as connection:
            connection.execute("UPDATE orders SET is_taken = 1")
        if tries == 50:
            os.close(held)
        return lock(path, patience)

    monkeypatch.setattr(accounts, "lock", try_to_lock)

    result = chatroom("account", "operator", "ann", "--data", path)

    assert (result.exit_code, result.output) == (0, "ann is now an operator\n")
    assert len(done) == 1


def test_what_another_left_is_done_too(path: Path, done: list[Order]) -> None:
    """An order whose command was killed is done by whoever has the lock next, before later ones."""
    with closing(connect(path)) as connection:
        orders.leave(connection, Order(0, "unban", "bob"), time.time())

    chatroom("ban", "bob", "--data", path)

    assert [order.what for order in done] == ["unban", "ban"]
    assert rows(path, "SELECT what, answer FROM orders") == [("unban", "")]


def test_an_older_server_has_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no orders: the command says so, and changes nothing."""
    monkeypatch.setattr(accounts, "PATIENCE", 0.01)
    path = tmp_path / "old.db"
    with closing(connect(path)) as connection:
        connection.executescript(
            f"{file.MIGRATIONS[0]}; PRAGMA application_id = {file.APPLICATION}; PRAGMA user_version = 1;"
        )
    held = lock(path)

    result = chatroom("ban", "bob", "--data", path)

    assert (result.exit_code, result.output) == (
        2,
        f"{path}: a server that is older than this command uses this file\n",
    )
    os.close(held)


def test_interrupted(path: Path, done: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C withdraws the order."""
    held = lock(path)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)

    result = chatroom("ban", "bob", "--data", path)

    assert (result.exit_code, result.output) == (1, "the order is withdrawn, and nothing was done\n")
    assert rows(path, "SELECT * FROM orders") == []
    os.close(held)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_killed(path: Path, done: list[Order], number: signal.Signals) -> None:
    """These withdraw the order as Ctrl-C does: nobody does later what somebody has given up."""
    held = lock(path)
    words = ["-m", "chatroom", "ban", "bob", "--data", str(path)]
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    while not rows(path, "SELECT * FROM orders"):
        time.sleep(0.01)

    process.send_signal(number)

    assert process.communicate()[1] == "the order is withdrawn, and nothing was done\n"
    assert process.returncode == 1
    assert rows(path, "SELECT * FROM orders") == []
    os.close(held)


@pytest.mark.parametrize(
    "words", [["account", "add", "ann"], ["account", "list"], ["bans"], ["ban", "bob"], ["backup", "copy"]]
)
@pytest.mark.parametrize("kind", ["pipe", "empty"])
def test_what_is_no_data_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], kind: str
) -> None:
    """It is left as it is: a device may be named by mistake, and an empty file be another's."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "chat.db"
    if kind == "pipe":
        os.mkfifo(path, 0o644)
    else:
        path.touch(0o644)
    before = path.stat()

    result = chatroom(*words, "--data", path, text="twelve chars")

    assert result.exit_code == 2
    assert (
        result.output
        == {
            "pipe": f"{path}: this is no regular file\n",
            "empty": f"{path}: this file is empty, and no database of chatroom\n",
        }[kind]
    )
    after = path.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "words", [["account", "list"], ["bans"], ["ban", "bob"], ["backup", "copy"]], ids=lambda words: words[-1]
)
def test_a_file_that_one_may_only_read(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """The command says what is missing."""
    with TemporaryDirectory() as folder:  # which others may enter, and those of `tmp_path` not
        path = Path(folder) / "chat.db"
        opened(path).close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        monkeypatch.chdir(folder)
        if is_root := os.geteuid() == 0:
            os.seteuid(65_534)
        try:
            result = chatroom(*words, "--data", path)
        finally:
            if is_root:
                os.seteuid(0)
            path.parent.chmod(0o755)

    assert result.exit_code == 2
    assert result.output.startswith(
        f"{path}: you must be allowed to write to this file and its folder, also to"
    )


def test_a_file_that_cannot_be_written(path: Path, done: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says why; the order is done when there is room again."""
    make = SqliteStore

    def store(*arguments: Any, **options: Any) -> Any:
        one = make(*arguments, **options)
        commit = one.writer._commit

        def fail(batch: Any) -> None:
            if batch or one.writer._owed:
                commit(batch)
                raise sqlite3.OperationalError("database or disk is full")

        one.writer._commit = fail  # type: ignore[method-assign]
        return one

    with monkeypatch.context() as patch:
        patch.setattr(accounts, "SqliteStore", store)
        result = chatroom("ban", "bob", "--data", path)
    assert result.exit_code == 1
    why = "database or disk is full: the order is left to whoever uses the file next"
    assert result.output == f"{path}: {why}\n"
    assert rows(path, "SELECT * FROM bans") == []

    chatroom("unban", "eve", "--data", path)
    assert rows(path, "SELECT name FROM bans") == [("bob",)]


def test_a_backup(path: Path) -> None:
    """It is a data file with all that is committed, which only its owner can read."""
    chatroom("ban", "bob", "--data", path)
    copy = path.with_name("copy.db")
    before = os.umask(0)
    try:
        with closing(connect(path)) as writing:
            writing.execute("INSERT INTO bans VALUES ('ban', 0, 'eve', '', 0, 0, '[]', '', 0)")
            result = chatroom("backup", copy, "--data", path)
    finally:
        os.umask(before)

    assert (result.exit_code, result.output) == (0, f"{path} is copied to {copy}\n")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in path.parent.iterdir()) == ["chat.db", "copy.db"]
    assert rows(copy, "SELECT name FROM bans ORDER BY name") == [("bob",), ("eve",)]
    assert chatroom("ban", "ann", "--data", copy).exit_code == 0


def test_a_backup_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of it."""

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    result = chatroom("backup", path.with_name("copy.db"), "--data", path)

    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert not path.with_name("copy.db").exists()


def test_two_commands_at_once(path: Path, done: list[Order]) -> None:
    """Each is done once, by one of them."""
    names = [f"u{number}" for number in range(4)]
    outputs: list[str] = []
    words: Callable[[str], None] = lambda name: outputs.append(  # noqa: E731
        accounts._order(path, Settings(data=str(path)), "ban", name)
    )
    threads = [threading.Thread(target=words, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outputs == [""] * 4
    assert sorted(order.name for order in done) == names
