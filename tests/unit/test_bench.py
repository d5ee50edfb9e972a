"""The load generator: it must count rightly, and refuse a run in which something was lost."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import pytest

from chatroom.bench import modes
from chatroom.bench.modes import Target
from chatroom.bench.report import short, svg, table
from chatroom.bench.wire import BenchError, ChatroomWire, payload
from conftest import ServerProcess


def test_payload() -> None:
    """A message has its size, its mark once, and tells sender and number."""
    text = payload(3, 17, 100)

    assert len(text) == 100
    assert text.count("^") == 1
    assert text.startswith("^0003:000000017:")


def test_short_and_table() -> None:
    """Figures have three digits and a unit; columns are aligned."""
    assert [short(value) for value in (0.5, 12.345, 1234, 5_678_000)] == ["0.5", "12.3", "1.23 k", "5.68 M"]
    assert table(["a", "bb"], [["ccc", "d"]]) == "| a   | bb |\n|-----|----|\n| ccc | d  |"


def test_svg() -> None:
    """A plot is a well-formed document with a line for each curve, inside of its frame."""
    page = svg("a < b", "x", "y", {"one": [(1, 10), (100, 5000)], "two & three": [(1, 20), (10, 30)]})

    assert len(ET.fromstring(page).findall("{*}polyline")) == 2
    assert all(0 <= float(number) <= 720 for number in re.findall(r'points="([\d.]+)', page))


@contextlib.contextmanager
def crooked_server(spoil: Callable[[bytes, int], bytes]) -> Iterator[Target]:
    """A server for one reader and one sender, which does something to what it delivers."""

    def serve(listening: socket.socket) -> None:
        reader, _ = listening.accept()
        reader.recv(1000)
        reader.sendall(b'{"code":"welcome"}\n')
        sender, _ = listening.accept()
        sender.recv(1000)
        sender.sendall(b'{"code":"welcome"}\n')
        number = 0
        with reader, sender, sender.makefile("rb") as lines, contextlib.suppress(ConnectionError):
            for line in lines:
                number += 1
                reader.sendall(spoil(line.replace(b"outgoing", b"incoming"), number))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening], daemon=True)
        thread.start()
        yield Target(wire=ChatroomWire(), address=listening.getsockname(), process=1)
        thread.join(10)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda line, number: b"" if number == 5 else line, "was due|lost"),
        (lambda line, number: line * 2 if number == 5 else line, "was due|twice"),
        (lambda line, number: line.replace(b":00000000", b":00000001") if number == 5 else line, "was due"),
    ],
    ids=["lost", "twice", "out of order"],
)
def test_a_run_with_losses_is_refused(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes, int], bytes], complaint: str
) -> None:
    """A message that is lost, comes twice or out of order makes the run worthless, and it says so."""
    monkeypatch.setattr("chatroom.bench.swarm.PATIENCE", 0.5)

    with crooked_server(spoil) as target, pytest.raises(BenchError, match=complaint):
        modes.fan_out(target, readers=1, senders=1, in_flight=8, size=40, seconds=0.2, progress=lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [
        ["fan-out", "--readers", "20", "--senders", "3", "--seconds", "0.2"],
        ["direct", "--pairs", "5", "--seconds", "0.2"],
        ["latency", "--readers", "20", "--rate", "100", "--seconds", "0.3"],
        ["join", "--clients", "50"],
        ["idle", "--clients", "50"],
    ],
    ids=lambda mode: mode[0],
)
def test_modes(server: ServerProcess, mode: list[str]) -> None:
    """Each mode measures a server that runs, and prints its figures as JSON."""
    where = ["--port", str(server.port), "--pid", str(server.process.pid), "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "chatroom", "bench", *where, *mode],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    result = json.loads(ended.stdout)
    assert result["deliveries"] > 0
    assert result["server_cpu"] > 0
    if mode[0] == "latency":
        assert 0 < result["p50"] <= result["p99"] <= result["p999"]


@pytest.mark.slow
def test_refused_run(server: ServerProcess) -> None:
    """A server that refuses is one clear line, and status 1."""
    with socket.create_connection((server.host, server.port)) as taken:
        taken.sendall(b'{"code":"hello","name":"r0"}\n')
        taken.recv(100)
        ended = subprocess.run(
            [sys.executable, "-m", "chatroom", "bench", "--port", str(server.port), "--pid", "1", "join"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "name_taken" in ended.stderr
