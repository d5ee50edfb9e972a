"""The command that a server prints: it is the one with which the server was started, and works from there."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chatroom.announce import Port, announcement
from conftest import PROJECT


def join(port: Port) -> str:
    said, command, *_ = announcement([port]).splitlines()
    assert said.endswith("; join with:")
    return command.strip()


@pytest.mark.parametrize(
    ("started", "python", "command"),
    [
        (PROJECT / "server.py", PROJECT / ".venv/bin/python", "python3 client.py"),
        (Path("server.py"), PROJECT / ".venv/bin/python", "python3 client.py"),
        (Path("server.py"), Path("/opt/other/bin/python"), "/opt/other/bin/python client.py"),
        (Path("/src/chatroom/__main__.py"), Path("/usr/bin/python3"), "python3 -m chatroom join"),
        (Path("/src/chatroom/__main__.py"), PROJECT / "v/bin/python", "v/bin/python -m chatroom join"),
        (Path("/usr/bin/chatroom"), Path("/usr/bin/python3"), "chatroom join"),
        (Path("/opt/a b/chatroom"), Path("/usr/bin/python3"), "'/opt/a b/chatroom' join"),
    ],
)
def test_program(monkeypatch: pytest.MonkeyPatch, started: Path, python: Path, command: str) -> None:
    """It is as short as can be, and names the Python that has the libraries."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(sys, "argv", [str(started)])
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(sys, "prefix", str(python.parent.parent))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    assert join(Port([("127.0.0.1", 7777)])) == f"{command} 127.0.0.1 7777 YOUR_NAME"


@pytest.mark.parametrize(("host", "here"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_without_a_network(monkeypatch: pytest.MonkeyPatch, host: str, here: str) -> None:
    """If no address leads elsewhere, it is that of this machine for itself."""

    def unreachable(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)

    assert f" {here} 7777 YOUR_NAME" in join(Port([(host, 7777)]))


def test_who_can_reach_it() -> None:
    """It is said if nobody else can come, and not if somebody can."""
    local, open_to_all = Port([("127.0.0.1", 1), ("::1", 1)]), Port([("0.0.0.0", 2)])

    assert announcement([local]).count("Only this machine") == 1
    assert "Only this machine" not in announcement([local, open_to_all])


def test_how_to_let_others_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice is for the command that was typed: `make serve` takes no options."""
    local = Port([("127.0.0.1", 1)])
    monkeypatch.delenv("STARTED_BY", raising=False)
    assert announcement([local]).endswith(" To let others in: start it with --host 0.0.0.0\n")

    monkeypatch.setenv("STARTED_BY", "make serve")
    assert announcement([local]).endswith(" To let others in: make serve HOST=0.0.0.0\n")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], ""),
        (["HOST=0.0.0.0"], "--host 0.0.0.0"),
        (["PORT=7778"], "7778"),
        (["PORT=7778", "HOST=::"], "7778 --host ::"),
    ],
)
def test_make_serve(monkeypatch: pytest.MonkeyPatch, words: list[str], options: str) -> None:
    """Where it listens is decided on make's command line, not by variables that other programs set."""
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("PORT", "1")
    monkeypatch.delenv("MAKEFLAGS", raising=False)

    ended = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "serve", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )

    start = ended.stdout.splitlines()[-1]
    port = "".join(
        f" {word}" for word in words if word.startswith("PORT")
    )  # the advice to let others in keeps it
    assert f'STARTED_BY="make serve{port}"' in start
    assert start.partition("server.py")[2].split() == options.split()
