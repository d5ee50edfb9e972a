"""The load generator: it must count rightly, and refuse a run in which something was lost."""

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from chatroom.bench import modes
from chatroom.bench.stall import OPTIONS, SIZE, inputs
from chatroom.bench.target import LatencyResult, Result, Target, Until
from chatroom.bench.wire import BenchError, ChatroomWire
from conftest import ServerProcess, run

Spoil = Callable[[bytes, int], bytes]
"""What a crooked server makes of the so-manieth message."""


def honest(line: bytes, _: int) -> bytes:
    return line


@contextlib.contextmanager
def crooked_server(spoil: Spoil) -> Iterator[Target]:
    """A server for one reader and one sender, which does something to what it delivers.

    The first pair that comes only weighs a delivery, and is served well.
    """

    def serve(listening: socket.socket) -> None:
        for treat in (honest, spoil):
            people = []
            for _ in "reader", "sender":
                person, _ = listening.accept()
                person.recv(1000)
                person.sendall(b'{"code":"welcome"}\n')
                people.append(person)
            reader, sender = people
            with reader, sender, sender.makefile("rb") as lines, contextlib.suppress(OSError):
                for number, line in zip(count(1), lines, strict=False):
                    reader.sendall(treat(line.replace(b"outgoing", b"incoming"), number))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening], daemon=True)
        thread.start()
        yield Target(wire=ChatroomWire(), address=listening.getsockname(), process=os.getpid())
        thread.join(10)


def fan_out(target: Target) -> Result:
    return modes.fan_out(
        target,
        readers=1,
        senders=1,
        in_flight=8,
        size=40,
        until=Until(messages=100),
        progress=lambda _: None,
    )


def direct(target: Target) -> Result:
    return modes.direct(
        target, pairs=1, in_flight=8, size=40, until=Until(messages=100), progress=lambda _: None
    )


def latency(target: Target) -> LatencyResult:
    return modes.latency(target, readers=1, rate=500, size=40, seconds=0.1, progress=lambda _: None)


MEASURED = pytest.mark.parametrize("measure", [fan_out, direct, latency])


@MEASURED
def test_each_message_is_counted(measure: Callable[[Target], Result]) -> None:
    """The messages of the warm-up are not in the figures, all others are."""
    with crooked_server(honest) as target:
        result = measure(target)

    assert result.count == {"fan-out": 100, "latency": 50}.get(result.mode, result.count)
    assert result.count >= 50
    assert result.per_second == result.count / result.seconds


@MEASURED
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda line, number: b"" if number == 5 else line, "was due|lost"),
        (lambda line, number: line * 2 if number == 5 else line, "was due|more than|were due"),
        (lambda line, number: line.replace(b":00000000", b":00000001") if number == 5 else line, "was due"),
        (lambda line, number: b"" if number == 5 else line * 2 if number == 6 else line, "was due"),
        (lambda line, number: line + b" " * (number == 50), "more than|were due"),
    ],
    ids=["lost", "twice", "out of order", "one lost and one twice", "a byte too many"],
)
def test_a_run_with_losses_is_refused(
    monkeypatch: pytest.MonkeyPatch, measure: Callable[[Target], Result], spoil: Spoil, complaint: str
) -> None:
    """A message that is lost, comes twice or out of order makes the run worthless, and it says so."""
    monkeypatch.setattr("chatroom.bench.swarm.PATIENCE", 1.0)

    with crooked_server(spoil) as target, pytest.raises(BenchError, match=complaint):
        measure(target)


def test_a_stall_is_not_hidden() -> None:
    """What is late counts from when it was due, so that whoever waits for a stalled server is counted too."""
    held: list[bytes] = []

    def stall(line: bytes, number: int) -> bytes:
        """Hold the first 25 messages, which are sent 2 ms apart, until all of them have come."""
        held.append(line)
        return b"" if number < 25 else b"".join(held) if number == 25 else line

    with crooked_server(stall) as target:
        result = latency(target)

    late = [milliseconds for _, milliseconds in result.distribution]
    assert late == sorted(late)
    assert late[-1] > 20  # of those that count, the first was due 34 ms before the last that was held
    assert result.p99 >= late[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [
        ["fan-out", "--readers", "20", "--senders", "3", "--seconds", "0.2"],
        ["fan-out", "--readers", "21", "--senders", "2", "--messages", "200", "--generators", "3"],
        ["fan-out", "--feature", "stamps", "--feature", "presence", "--seconds", "0.2"],
        ["direct", "--pairs", "5", "--seconds", "0.2"],
        ["direct", "--feature", "resume", "--pairs", "5", "--seconds", "0.2"],
        ["confirm", "--clients", "5", "--seconds", "0.2"],
        ["latency", "--readers", "20", "--rate", "100", "--seconds", "0.3"],
        ["join", "--clients", "50"],
        ["idle", "--clients", "50"],
    ],
    ids=lambda mode: " ".join(mode),
)
def test_modes(server: ServerProcess, mode: list[str]) -> None:
    """Each mode measures a server that runs, and prints its figures as JSON."""
    where = ["--port", str(server.port), "--pid", str(server.process.pid), "--json"]
    ended = run("-m", "chatroom", "bench", *mode, *where)

    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["count"] > 0
    assert result["server_cpu"] > 0
    assert ("p99" in result) == (mode[0] == "latency")
    assert ("bytes_each" in result) == (mode[0] == "idle")
    if mode[0] == "latency":
        assert 0 < result["p50"] <= result["p99"] <= result["p999"]
    if "--generators" in mode:
        assert result["generators"] == 3
        assert result["count"] == 200 * (21 + 1)


@pytest.mark.slow
def test_own_server(tmp_path: Path) -> None:
    """Without a port, a server is started for the run, on another processor than the generator's."""
    plot = tmp_path / "curve.svg"
    options = ["--most-readers", "10", "--seconds", "0.1", "--json", "--plot", str(plot)]
    ended = run("-m", "chatroom", "bench", "curve", *options)

    assert ended.returncode == 0, ended.stderr
    results = json.loads(ended.stdout)
    assert [result["given"]["in_flight"] for result in results] == [1, 4, 16, 64, 256]
    assert any(result["shares_processor"] for result in results) == (len(os.sched_getaffinity(0)) == 1)
    assert plot.read_text().count("<polyline") == 5


@pytest.mark.slow
def test_refused_run(server: ServerProcess) -> None:
    """A server that refuses is one clear line, and status 1."""
    with socket.create_connection((server.host, server.port)) as taken:
        taken.sendall(b'{"code":"hello","name":"r00000"}\n')
        taken.recv(100)
        where = ["--port", str(server.port), "--pid", str(server.process.pid)]
        ended = run("-m", "chatroom", "bench", "join", *where)

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "name_taken" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mode", [["latency", "--readers", "2"], ["curve", "--most-readers", "10"]])
def test_figures_come_before_the_plot(tmp_path: Path, mode: list[str]) -> None:
    """A plot that cannot be written after all is one line behind the figures, and status 1."""
    plot = tmp_path / "full.svg"
    plot.symlink_to("/dev/full")
    ended = run("-m", "chatroom", "bench", *mode, "--seconds", "0.1", "--plot", str(plot), "--json")

    assert ended.returncode == 1
    assert json.loads(ended.stdout)
    assert ended.stderr == f"Error: --plot {plot}: {os.strerror(errno.ENOSPC)}\n"


@pytest.mark.slow
def test_figures_that_cannot_be_printed() -> None:
    """Figures for a full disk are one line, and status 1."""
    bench = [sys.executable, "-m", "chatroom", "bench", "join", "--clients", "5"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(bench, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert ended.returncode == 1
    assert ended.stderr == f"Error: cannot print the figures: {os.strerror(errno.ENOSPC)}\n"


@pytest.mark.slow
def test_all_modes() -> None:
    """Without a mode, each is run for a short time; each result has the figures of its mode, and no others."""
    ended = run("-m", "chatroom", "bench", "--json")

    assert ended.returncode == 0, ended.stderr
    results = json.loads(ended.stdout)
    modes = [result["mode"] for result in results if "mode" in result]
    assert modes[:5] == ["fan-out", "direct", "latency", "join", "idle"]
    assert modes[5:] == ["fan-out"] * 10  # the curve
    assert [result["mode"] for result in results if "p99" in result] == ["latency"]
    assert [result["mode"] for result in results if "bytes_each" in result] == ["idle"]
    stalls = results[len(modes) :]
    assert len(stalls) > 50
    assert {"stranger", "member", "exempt"} == {stall["sender"] for stall in stalls}


def test_inputs_have_one_size() -> None:
    """What is compared with ordinary messages has as many bytes, or a few less."""
    assert all(SIZE - 5000 < len(each.data) <= SIZE for each in inputs())
    assert len({(each.name, each.sender) for each in inputs()}) == len(inputs())


def machine_ms() -> float:
    """Return the milliseconds of processor time that a fixed piece of work takes here."""
    start = time.process_time()
    json.loads(json.dumps([{"code": "ping", "number": number} for number in range(8000)]))
    return (time.process_time() - start) * 1000


@pytest.mark.slow
def test_nobody_keeps_others_waiting(tmp_path: Path, loop: str) -> None:
    """No input costs the server much more processor time at a stretch than as many ordinary messages.

    What is much is measured by other work on this machine: the dearest input costs about as much as that does.
    """
    before = machine_ms()
    server = ServerProcess(*OPTIONS, log=tmp_path / "log", loop=loop)
    target = Target(wire=ChatroomWire(), address=("127.0.0.1", server.port), process=server.process.pid)
    try:
        found = modes.stall(target, rounds=3, progress=lambda _: None)
    finally:
        assert server.stop() == 0

    much = 10 * max(before, machine_ms())
    assert "Traceback" not in server.log()
    assert [
        f"{stall.input}, from {stall.sender}: {stall.longest_cpu_ms:.0f} ms"
        for stall in found
        if stall.longest_cpu_ms > max(10 * stall.ordinary_cpu_ms, much)
    ] == []
