"""An operator of a real server: kicks, mutes and bans, which stand when the server is killed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conftest import ServerProcess
from e2e.brief import LineClient
from e2e.test_commands import PASSWORD, command

pytestmark = pytest.mark.slow

Start = Callable[[], ServerProcess]


@pytest.fixture
def start(tmp_path: Path, loop: str) -> Iterator[Start]:
    """Starts servers on one file, to which guests from this machine are as others; none logs a traceback."""
    started: list[ServerProcess] = []

    def start() -> ServerProcess:
        arguments = ("--data", str(tmp_path / "chat.db"), "--limit", "exempt=192.0.2.0/24")
        started.append(ServerProcess(*arguments, log=tmp_path / f"{len(started)}.log", loop=loop))
        return started[-1]

    yield start
    for process in started:
        process.stop()
        assert "Traceback" not in process.log(), process.log()


class Guest(LineClient):
    """Somebody who is welcome, and asks one thing at a time."""

    def __init__(self, server: ServerProcess, name: str, *features: str, **extra: object) -> None:
        super().__init__(server.port)
        self.welcome = self.answer("hello", name=name, features=features, **extra)

    def answer(self, code: str, **request: Any) -> dict[str, Any]:
        self.ask(code=code, **request)
        return dict(self.read())


@pytest.fixture
def come() -> Iterator[Callable[..., Guest]]:
    """Lets somebody come, who goes at the end."""
    with ExitStack() as stack:
        yield lambda *words, **extra: stack.enter_context(Guest(*words, **extra))


def test_an_operator(start: Start, come: Callable[..., Guest], tmp_path: Path) -> None:
    """Kicks one, mutes another and bans a third; after `kill -9`, the mute and the ban stand."""
    for words in (("add", "olga"), ("operator", "olga"), ("add", "dan")):
        command(tmp_path, "account", *words)
    server = start()
    olga, dan = (come(server, name, password=PASSWORD) for name in ("olga", "dan"))
    kicked, banned = come(server, "bob", "notices"), come(server, "eve", "notices")
    assert olga.welcome["operator"] is True

    assert dan.answer("kick", name="bob")["error"] == "not_allowed"
    assert olga.answer("kick", name="bob", reason="out") == {"code": "done"}
    assert olga.answer("mute", name="dan", minutes=0) == {"code": "done"}
    assert olga.answer("ban", name="eve", minutes=0) == {"code": "done", "others": 2}

    closing = {"code": "closing", "reason": "kicked", "reconnect": False, "message": "out"}
    assert kicked.read() == closing
    assert banned.read() == {"code": "closing", "reason": "banned", "reconnect": False}
    assert kicked.is_at_end()
    assert dan.answer("outgoing_broadcast", content="x")["error"] == "muted"
    server.stop(signal.SIGKILL)

    server = start()
    assert come(server, "adam").welcome["error"] == "banned"
    dan = come(server, "dan", password=PASSWORD)
    assert dan.answer("outgoing_broadcast", content="x")["error"] == "muted"
    assert "eve (by olga" in command(tmp_path, "bans")
    command(tmp_path, "unban", "127.0.0.1")
    assert [come(server, name).welcome["code"] for name in ("adam", "Eve")] == ["welcome", "error"]
