"""The server as a process: how it starts, what it logs, how it ends."""

import os
import re
import resource
import signal
import socket
from pathlib import Path

import pytest

from chatroom.server import ACCEPTED
from conftest import ServerProcess, run
from e2e.brief import BriefClient, LineClient

pytestmark = pytest.mark.slow


def test_greeting(server: ServerProcess) -> None:
    """The first line says where it listens and how to join."""
    assert f"127.0.0.1:{server.port}" in server.greeting
    assert f"127.0.0.1 {server.port} YOUR_NAME" in server.greeting


@pytest.mark.parametrize("command", [("server.py",), ("-m", "chatroom", "serve")])
def test_taken_port(server: ServerProcess, command: tuple[str, ...]) -> None:
    """A taken port is one clear line, and status 1; both ways to start the server say the same."""
    ended = run(*command, str(server.port), "--host", "127.0.0.1")

    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert f"127.0.0.1:{server.port}" in line
    assert "in use" in line


@pytest.mark.parametrize("arguments", [["70000"], ["x"], ["--host"], ["--nope"]])
def test_usage(arguments: list[str]) -> None:
    """Wrong arguments are a usage error, status 2, and no traceback."""
    ended = run("server.py", *arguments)

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("where", ["flag", "file", "environment"])
def test_wrong_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A wrong setting names its key and what is allowed, wherever it stands, in one line, with status 1."""
    file = tmp_path / "chatroom.toml"
    file.write_text("[limits]\nmax_object = 3\n" if where == "file" else "")
    if where == "environment":
        monkeypatch.setenv("CHATROOM_LIMITS_MAX_OBJECT", "3")
    flags = ["--limit", "max_object=3"] if where == "flag" else []

    ended = run("server.py", "0", "--config", str(file), *flags)

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "limits.max_object: a whole number from 256 to 16777216 is allowed" in ended.stderr


def test_bad_host() -> None:
    """A host that is not ours, or none at all, is one clear line, and status 1."""
    for host in ("192.0.2.1", "no.such.host.invalid"):
        ended = run("server.py", "0", "--host", host)

        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 1


def test_log(server: ServerProcess) -> None:
    """Each join, leave and refused message is a line; contents and control characters never are."""
    with LineClient(server.port, "ann") as ann, LineClient(server.port) as other:
        ann.ask(code="outgoing_broadcast", content="SECRET")
        ann.ask(code="outgoing", to="SECRET\x1b[31m\n", content="SECRET")
        ann.read()
        other.ask(code="hello", name="SECRET\x1b]0;x\x07\n")
        other.read()
        other.send(b"SECRET\x1b[2J\r\n")
        other.read()
        ann.ask(code="SECRET")
        ann.read()
        ann.ask(code="quit")
        assert ann.is_at_end()

    server.stop()
    log = server.log()
    events = [line.split(" ", 2)[2].split(" ")[0:2] for line in log.splitlines()]
    assert (
        events
        == [
            ["joined:", "ann"],
            ["refused:", "unknown_user"],
            ["refused:", "bad_name"],
            ["refused:", "bad_json"],
            ["refused:", "unknown_code"],
            ["left:", "ann"],
            ["stopping:", "0"],
        ]
        or events[-1][0] == "stopping:"
    )
    assert "SECRET" not in log
    assert log.replace("\n", "").isprintable()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(server: ServerProcess, number: int) -> None:
    """On SIGTERM and SIGINT it stops accepting, sends what is queued, ends connections, and exits with 0."""
    with LineClient(server.port, "ann") as ann, LineClient(server.port, "bob") as bob:
        count = 500
        for _ in range(count):
            bob.ask(code="outgoing", to="ann", content="x" * 1500)
        bob.ask(code="who")
        bob.read()
        server.process.send_signal(number)
        assert bob.is_at_end()
        received = [ann.read()["content"] for _ in range(count)]

        assert received == ["x" * 1500] * count
        assert ann.is_at_end()
    assert server.process.wait(5) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc to look into")
@pytest.mark.parametrize("arguments", [(), ("--limit", "max_connections=3000")])
def test_descriptors(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The server may open what the system lets it, and the table of open files is large from the start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = ServerProcess(*arguments, log=tmp_path / "server.log")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    process = Path(f"/proc/{server.process.pid}")
    limits, status = (process / "limits").read_text(), (process / "status").read_text()
    server.stop()

    may_open = re.search(r"Max open files +(\d+)", limits)
    table = re.search(r"FDSize:\s+(\d+)", status)
    assert may_open
    assert table
    assert int(may_open[1]) == hard
    assert int(table[1]) >= min(hard, 3000)


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc to look into")
@pytest.mark.parametrize(("loop", "times"), [("uvloop", ACCEPTED), ("asyncio", 1)], indirect=["loop"])
def test_many_are_accepted_at_a_time(server: ServerProcess, times: int) -> None:
    """As libuv accepts one connection a turn from each socket that listens, we listen more than once."""
    process = Path(f"/proc/{server.process.pid}")
    [listening] = [
        fields[9]
        for fields in map(str.split, (process / "net" / "tcp").read_text().splitlines()[1:])
        if fields[1].endswith(f":{server.port:04X}") and fields[3] == "0A"
    ]

    links = [str(file.readlink()) for file in (process / "fd").iterdir()]

    assert links.count(f"socket:[{listening}]") == times


def test_runs_without_uvloop(tmp_path: Path) -> None:
    """Where uvloop cannot be had, plain asyncio serves."""
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')")
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        server = ServerProcess(log=tmp_path / "log")
    finally:
        del os.environ["PYTHONPATH"]
    try:
        with BriefClient(server.port, "ann") as ann, BriefClient(server.port, "bob") as bob:
            ann.ask(code="outgoing_broadcast", content="hi")
            assert bob.read() == {"code": "incoming_broadcast", "from": "ann", "content": "hi"}
            ann.ask(code="quit")
            assert ann.is_at_end()
    finally:
        assert server.stop() == 0
    assert "Traceback" not in server.log()
