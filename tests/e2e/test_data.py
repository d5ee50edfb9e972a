"""`--data FILE`: a real server whose messages outlive it, however it ends."""

import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import ServerProcess, run
from e2e.brief import LineClient
from kills import trial

pytestmark = pytest.mark.slow

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(tmp_path: Path, loop: str) -> Iterator[Start]:
    """Starts servers on one file after the other has ended; none may log a traceback."""
    started: list[ServerProcess] = []

    def start(*arguments: str, data: Path = tmp_path / "chat.db") -> ServerProcess:
        log = tmp_path / f"{len(started)}.log"
        started.append(ServerProcess("--data", str(data), *arguments, log=log, loop=loop))
        return started[-1]

    yield start
    for process in started:
        process.stop()
        assert "Traceback" not in process.log(), process.log()


class Resumer(LineClient):
    """Comes back with its session, from server to server."""

    def __init__(self, server: ServerProcess, name: str, **session: object) -> None:
        super().__init__(server.port)
        self.ask(**{"code": "hello", "name": name, "features": ["resume"], **session})
        self.welcome = self.read()
        assert self.welcome["code"] == "welcome", self.welcome

    def send_numbers(self, count: int) -> None:
        """Say so many numbers at once; each has itself for a `ref`."""
        line = '{"code":"outgoing_broadcast","content":"%d","ref":"%d"}\n'
        self.send("".join(line % (number, number) for number in range(count)).encode())

    def read_all(self) -> list[dict[str, Any]]:
        """Return what comes until the connection ends."""
        replies: list[dict[str, Any]] = []
        with suppress(EOFError, ConnectionResetError):
            while True:
                replies.append(self.read())
        self.socket.close()
        return replies

    def answer(self, **request: object) -> dict[str, Any]:
        """Return the answer to this, past what others say."""
        ref = request.setdefault("ref", "the one")
        self.ask(**request)
        while (reply := self.read()).get("ref") != ref:
            pass
        return dict(reply)

    def history(self, **query: object) -> list[dict[str, Any]]:
        """Return all of the past, oldest first."""
        messages: list[dict[str, Any]] = []
        while True:
            page = self.answer(code="history", limit=200, **query)
            messages = [*page["messages"], *messages]
            if page["complete"]:
                return messages
            query["before"] = page.get("before") or messages[0]["id"]


def test_a_server_that_is_killed(start: Start) -> None:
    """What was answered `sent` is in the history, once; what was not may be; a retry says it once."""
    server = start()
    with Resumer(server, "ann") as ann, Resumer(server, "bob") as bob:
        session, other = ann.welcome["session"], bob.welcome["session"]
        ann.send_numbers(3000)
        sent = [ann.read() for _ in range(500)]
        server.stop(signal.SIGKILL)
        sent += ann.read_all()

    server = start()
    with Resumer(server, "ann", session=session) as ann:
        assert ann.welcome["session"] == session
        past = ann.history()
        assert [message["content"] for message in past] == [str(number) for number in range(len(past))]
        assert [(one["ref"], one["id"], one["time"]) for one in sent] == [
            (message["content"], message["id"], message["time"]) for message in past[: len(sent)]
        ]
        last = past[-1]
        ann.ask(code="outgoing_broadcast", content="twice", ref=last["content"])
        assert ann.read() == {"code": "sent", "ref": last["content"], "id": last["id"], "time": last["time"]}
        assert ann.history() == past
    with Resumer(server, "bob", session=other, after=sent[0]["id"]) as bob:
        assert bob.welcome["session"] == other


def test_a_server_that_is_stopped(start: Start, tmp_path: Path) -> None:
    """What is under way is answered first; the log says where messages are kept."""
    server = start()
    with Resumer(server, "ann") as ann:
        session = ann.welcome["session"]
        ann.send_numbers(400)
        sent = [ann.read()]
        assert server.stop() == 0
        sent += ann.read_all()
    assert f"messages are kept in {tmp_path}/chat.db\n" in server.log()
    assert not (tmp_path / "chat.db-wal").exists()

    with Resumer(start(), "ann", session=session) as ann:
        assert [message["id"] for message in ann.history()] == [one["id"] for one in sent]


def test_a_stop_while_the_disk_stalls(start: Start, tmp_path: Path) -> None:
    """Who waits for it is told that the server stops, though not what came of its message."""
    server = start("--limit", "drain_timeout=1")
    other = sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
    with Resumer(server, "bob") as bob, Resumer(server, "ann", features=["resume", "notices"]) as ann:
        other.execute("BEGIN IMMEDIATE")  # as good as a disk that does not write
        ann.ask(code="outgoing_broadcast", content="x", ref="1")
        assert bob.read()["content"] == "x"
        assert server.stop() == 0
        [closing] = ann.read_all()
    other.close()

    assert closing == {"code": "closing", "reason": "draining", "reconnect": True}


def test_two_servers_on_one_file(start: Start, tmp_path: Path) -> None:
    """The second waits for the first to end; if it does not, it says so in one line."""
    first = start()
    ended = run("-m", "chatroom", "serve", "0", "--data", str(tmp_path / "chat.db"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"data: {tmp_path}/chat.db: another server uses this file\n"

    ending = threading.Timer(0.5, first.stop)
    ending.start()
    with LineClient(start().port, "ann"):
        ending.join()


@pytest.mark.parametrize("file", ["none/chat.db", "README.md"])
def test_files_that_are_refused(tmp_path: Path, file: str) -> None:
    """In one line, with the status of a wrong setting."""
    (tmp_path / "README.md").write_text("A text, of more bytes than the header of a database has.\n" * 5)
    ended = run("-m", "chatroom", "serve", "0", "--data", str(tmp_path / file))

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith(f"data: {tmp_path / file}: ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two mebibytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk(small_disk: Path, start: Start) -> None:
    """Messages are delivered and refused; the chat goes on; once there is room they are stored again."""
    server = start(data=small_disk / "chat.db")
    with Resumer(server, "ann") as ann, LineClient(server.port, "bob") as bob:
        session = ann.welcome["session"]
        (small_disk / "filler").write_bytes(b"x" * 500_000)
        codes: list[str] = []
        while codes[-3:] != ["error"] * 3:
            words = f"{len(codes)} " + "x" * 10_000
            codes.append(ann.answer(code="outgoing_broadcast", content=words, ref=f"{len(codes)}")["code"])
        heard = [bob.read()["content"].split()[0] for _ in codes]
        assert heard == [str(number) for number in range(len(codes))]
        server.wait_for_log("cannot be stored")

        (small_disk / "filler").unlink()
        assert ann.answer(code="outgoing_broadcast", content="again", ref="again")["code"] == "sent"
        server.wait_for_log("messages are stored again")
        assert server.log().count("cannot be stored") == 1
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL

    with Resumer(start(data=small_disk / "chat.db"), "ann", session=session) as ann:
        assert len(ann.history()) == codes.count("sent") + 1


def test_kills() -> None:
    """Ten kills at random moments while people chat: all that was confirmed is there, once, and in order."""
    faults, one = trial(10, seed=random.randrange(1_000_000))

    assert faults == [], one.seed
    assert sum(len(person.sent) for person in one.people) > 100
