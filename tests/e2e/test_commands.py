"""`chatroom account`, `ban` and `backup` beside a real server, before it, and after it was killed."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pexpect
import pytest
from click.testing import CliRunner

from chatroom.cli import main
from conftest import PROJECT, ServerProcess
from e2e.brief import LineClient

pytestmark = pytest.mark.slow

Start = Callable[..., ServerProcess]
PASSWORD = "correct horse battery"


@pytest.fixture
def loop() -> str:
    """Orders reach both loops in the same way: one test runs on both, and the others on one."""
    return "uvloop"


@pytest.fixture
def start(tmp_path: Path, loop: str) -> Iterator[Start]:
    """Starts servers on one file after the other has ended; none may log a traceback."""
    started: list[ServerProcess] = []

    def start(*arguments: str) -> ServerProcess:
        log = tmp_path / f"{len(started)}.log"
        started.append(ServerProcess("--data", str(tmp_path / "chat.db"), *arguments, log=log, loop=loop))
        return started[-1]

    yield start
    for process in started:
        process.stop()
        assert "Traceback" not in process.log(), process.log()
        assert PASSWORD not in process.log()
    assert not [
        each for each in tmp_path.iterdir() if each.is_file() and PASSWORD.encode() in each.read_bytes()
    ]


def begun(folder: Path, *words: str, text: str = PASSWORD) -> subprocess.Popen[str]:
    """Start a command on the file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chatroom", *words, "--data", str(folder / "chat.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert process.stdin
    process.stdin.write(text)
    process.stdin.close()
    process.stdin = None
    return process


def command(folder: Path, *words: str, status: int = 0) -> str:
    """Run a command on the file, in this process, which is quicker; return what it says."""
    result = CliRunner().invoke(main, [*words, "--data", str(folder / "chat.db")], input=PASSWORD)
    assert result.exit_code == status, result.output
    return result.output


def hello(server: ServerProcess, name: str, **extra: object) -> dict[str, Any]:
    """Return how somebody is greeted, who leaves again."""
    with LineClient(server.port) as client:
        client.ask(**{"code": "hello", "name": name, "features": ["stamps"], **extra})
        reply = dict(client.read())
        if reply["code"] == "welcome":
            client.ask(code="quit")
            client.is_at_end()
        return reply


def rows(folder: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "chat.db", timeout=100)) as connection:
        return connection.execute(statement).fetchall()


def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


def test_the_first_operator(start: Start, tmp_path: Path) -> None:
    """Comes to be before the server has ever run; it comes in with its password, and is an operator."""
    assert command(tmp_path, "account", "add", "ann") == "ann has an account\n"
    assert command(tmp_path, "account", "operator", "ann") == "ann is now an operator\n"
    assert command(tmp_path, "account", "list").endswith("operator  ann\n")

    server = start()

    assert hello(server, "ann")["error"] == "name_reserved"
    assert hello(server, "ann", password=PASSWORD + "s")["error"] == "bad_password"
    assert hello(server, "ann", password=PASSWORD)["operator"] is True


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_commands_beside_a_server(start: Start, tmp_path: Path) -> None:
    """They take effect at once: for the guest who has the name, for who comes, and for what was written."""
    server = start()
    with LineClient(server.port, "bob") as bob:
        bob.ask(code="outgoing_broadcast", content="a secret of bob", ref="1")
        assert bob.read()["code"] == "sent"
        assert command(tmp_path, "account", "forget", "bob") == "what bob wrote is erased\n"
        assert rows(tmp_path, "SELECT content FROM messages") == [(None,)]
    for words in (["add", "bob"], ["operator", "bob"], ["operator", "bob", "--off"], ["password", "bob"]):
        command(tmp_path, "account", *words)
    assert command(tmp_path, "account", "add", "bob", status=1).count("\n") == 1
    assert "operator" not in hello(server, "bob", password=PASSWORD)
    command(tmp_path, "account", "remove", "bob")
    assert hello(server, "bob")["error"] == "name_reserved"
    command(tmp_path, "account", "remove", "bob", "--free")
    assert hello(server, "bob")["code"] == "welcome"

    command(tmp_path, "ban", "eve", "--reason", "no Eve")
    assert hello(server, "eve")["error"] == "banned"
    assert "eve (by the command line" in command(tmp_path, "bans")
    command(tmp_path, "unban", "eve")
    assert hello(server, "eve")["code"] == "welcome"
    assert command(tmp_path, "bans") == ""
    assert rows(tmp_path, "SELECT * FROM orders") == []


def test_a_server_that_is_killed_before_it_answers(start: Start, tmp_path: Path) -> None:
    """Then the command does what it has left, once."""
    server = start()
    os.kill(server.process.pid, signal.SIGSTOP)
    waiting = begun(tmp_path, "account", "add", "ann")
    wait_for(lambda: rows(tmp_path, "SELECT 1 FROM orders"))
    assert waiting.poll() is None

    server.stop(signal.SIGKILL)

    assert waiting.communicate() == ("ann has an account\n", "")
    assert waiting.returncode == 0
    assert hello(start(), "ann", password=PASSWORD)["code"] == "welcome"


def test_a_command_that_is_killed(start: Start, tmp_path: Path) -> None:
    """What a server had taken of it is done by the one that comes next, once, before the next command's."""
    server = start()
    os.kill(server.process.pid, signal.SIGSTOP)
    waiting = begun(tmp_path, "account", "add", "ann")
    wait_for(lambda: rows(tmp_path, "SELECT 1 FROM orders"))
    waiting.kill()
    waiting.communicate()
    with closing(sqlite3.connect(tmp_path / "chat.db", timeout=100)) as connection, connection:
        connection.execute("UPDATE orders SET is_taken = 1")
    server.stop(signal.SIGKILL)

    server = start()

    assert command(tmp_path, "account", "operator", "ann") == "ann is now an operator\n"
    assert hello(server, "ann", password=PASSWORD)["operator"] is True


def test_kills_at_any_moment(start: Start, tmp_path: Path) -> None:
    """However often the server is killed, each order is done once, and the command is told so."""
    names = [f"u{number}" for number in range(6)]
    waiting: list[subprocess.Popen[str]] = []
    for number, name in enumerate(names):
        server = start()
        waiting.append(begun(tmp_path, "account", "add", name))
        if number % 2:
            wait_for(lambda name=name: rows(tmp_path, f"SELECT 1 FROM orders WHERE name = '{name}'"))  # type: ignore[misc]
        server.stop(signal.SIGKILL)

    for process, name in zip(waiting, names, strict=True):
        assert process.communicate() == (f"{name} has an account\n", "")
    assert rows(tmp_path, "SELECT name FROM accounts ORDER BY name") == [(name,) for name in names]


def test_beside_a_writer_without_pause(start: Start, tmp_path: Path) -> None:
    """A command gets in, however much is written."""
    server = start()
    is_over = threading.Event()

    def write() -> None:
        with LineClient(server.port, "writer") as writer:
            while not is_over.is_set():
                lines = b'{"code":"outgoing_broadcast","content":"x","ref":"%d"}\n'
                writer.send(b"".join(lines % number for number in range(500)))
                for _ in range(500):
                    writer.read()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        assert command(tmp_path, "account", "add", "ann") == "ann has an account\n"
        assert "is copied" in command(tmp_path, "backup", str(tmp_path / "copy"))
    finally:
        is_over.set()
        writing.join()


def test_a_server_waits_for_a_command(start: Start, tmp_path: Path) -> None:
    """One that starts while a command has the file begins when that is done."""
    assert command(tmp_path, "account", "add", "ann")
    commands = [begun(tmp_path, "ban", f"u{number}") for number in range(5)]
    server = start()
    for process in commands:
        process.communicate()
        assert process.returncode == 0

    assert hello(server, "u4")["error"] == "banned"


@pytest.mark.parametrize("again", [PASSWORD, "another one"])
def test_a_password_is_typed(tmp_path: Path, again: str) -> None:
    """Twice, and nobody sees it."""
    words = ["-m", "chatroom", "account", "add", "ann", "--data", str(tmp_path / "chat.db")]
    with pexpect.spawn(sys.executable, words, cwd=str(PROJECT), encoding="utf-8", timeout=60) as terminal:
        terminal.expect_exact("password for ann: ")
        terminal.waitnoecho()
        terminal.sendline(PASSWORD)
        terminal.expect_exact("the same again: ")
        terminal.waitnoecho()
        terminal.sendline(again)
        terminal.expect(pexpect.EOF)
        shown = terminal.before.strip()
    assert shown == ("ann has an account" if again == PASSWORD else "the two passwords differ")
    assert terminal.exitstatus == (again != PASSWORD)


def test_the_operating_page(start: Start, tmp_path: Path) -> None:
    """All that it says is typed as printed, while a server runs, or is stopped where it says so."""
    page = (PROJECT / "docs" / "operating.md").read_text()
    (tmp_path / "password.txt").write_text(PASSWORD + "\n")
    environment = os.environ | {
        "CHATROOM_DATA": "chat.db",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    server = start()
    with LineClient(server.port, "bob") as bob:
        bob.ask(code="outgoing_broadcast", content="hello", ref="1")
        bob.read()

    def play(section: str) -> None:
        text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            for words, expected in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE):
                ended = subprocess.run(
                    words,
                    shell=True,
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert (_undated(ended.stdout), ended.stderr) == (_undated(expected), ""), words

    for section in ("Accounts", "Bans", "Back-up"):
        play(section)
    (tmp_path / "password.txt").unlink()
    assert server.stop() == 0
    play("Restore")
    server = start()
    assert hello(server, "ann", password=PASSWORD)["code"] == "welcome"
    assert hello(server, "bob")["code"] == "welcome"
    assert "192.0.2.0/24" in command(tmp_path, "bans")


def _undated(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "MOMENT", text)
    return re.sub(r"\d{4}-\d\d-\d\d|never     ", "DAY", text)
