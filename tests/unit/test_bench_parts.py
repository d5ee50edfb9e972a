"""The parts of the load generator: what it sends, reads, starts and shows."""

import io
import os
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from chatroom.bench import cost
from chatroom.bench.command import _bar, bench
from chatroom.bench.latency import Lateness
from chatroom.bench.place import Places, divide, pin
from chatroom.bench.plot import svg
from chatroom.bench.process import free_port, running
from chatroom.bench.report import figures, short, table, waits
from chatroom.bench.sequence import Sequence
from chatroom.bench.stall import Stall
from chatroom.bench.target import Result
from chatroom.bench.wire import MARK, BenchError, ChatroomWire, Numbered, payload
from conftest import PROJECT

LISTEN = "import signal, socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); signal.pause()"


def test_payload() -> None:
    """A message has its size, its mark once, and tells sender and number."""
    text = payload(3, 17, 100)

    assert len(text) == 100
    assert text.count("^") == 1
    assert text.startswith("^0003:000000017:")


def test_numbered_messages() -> None:
    """What is sent again and again is what would be encoded anew."""
    wire = ChatroomWire()
    message = Numbered(wire.broadcast(payload(3, 0, 50)))

    sent = message.take(2) + message.take(1)

    assert sent == b"".join(wire.broadcast(payload(3, number, 50)) for number in range(3))
    assert message.count == 3


def test_peers_are_spoken_to_in_messages_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each protocol has the mark once in a message, and so many bytes whoever it is for."""
    monkeypatch.syspath_prepend(PROJECT / "bench")
    from peers import wires

    for wire in (wires.RedisWire(), wires.NatsWire(), wires.IrcWire(), wires.WebSocketWire(), ChatroomWire()):
        messages = [wire.direct(number, payload(0, number, 100)) for number in (0, 12_345)]
        messages += [wire.broadcast(payload(0, 7, 100))]
        assert all(message.count(MARK) == 1 for message in messages)
        assert len(messages[0]) == len(messages[1])
        assert len(Numbered(messages[0]).take(3)) == 3 * len(messages[0])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_sequence_is_followed_however_it_is_cut(size: int) -> None:
    """Messages of several senders are followed in pieces of any size."""
    data = b"".join(payload(sender, number, 30).encode() for number in range(5) for sender in range(3))
    sequence = Sequence()

    for start in range(0, len(data), size):
        sequence.see(data[start : start + size])

    with pytest.raises(BenchError, match="of sender 1, 5 was due, and 6 came"):
        sequence.see(payload(1, 6, 30).encode())


def test_sequence_begins_with_the_first() -> None:
    """A sender's first message may not be missing either."""
    with pytest.raises(BenchError, match="of sender 0, 0 was due, and 1 came"):
        Sequence().see(payload(0, 1, 30).encode())


def test_lateness() -> None:
    """Of a hundred, each later by a millisecond, the median is 50 ms late and one in ten 90 ms or more."""
    lateness = Lateness()
    for milliseconds in range(1, 101):
        lateness.add(milliseconds / 1000)

    assert lateness.of_one_in(2) == pytest.approx(50, abs=1.1)
    assert lateness.of_one_in(10) == pytest.approx(90, abs=1.1)
    assert lateness.of_one_in(100) == pytest.approx(100, abs=1.1)
    assert [many for many, _ in lateness.distribution()] == [2, 5, 10, 20, 50, 100]


def test_processors_are_divided() -> None:
    """The server has the first to itself, generators share the others; a single one is left alone."""
    places = divide({3, 5, 4})

    assert places == Places(server=3, generators=[4, 5])
    assert [places.of_generator(number) for number in range(3)] == [4, 5, 4]
    assert divide({0}).of_generator(0) is divide({0}).server is None


def test_server_runs_elsewhere_though_we_are_pinned() -> None:
    """A generator that is pinned to one processor starts a server on another."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) == 1:
        pytest.skip("there is only one processor")
    found: list[set[int]] = []

    def start() -> None:
        pin(processors[-1])  # of this thread only
        port = free_port()
        with running([sys.executable, "-c", LISTEN, str(port)], port, processors[0]) as process:
            found.extend([os.sched_getaffinity(0), os.sched_getaffinity(process)])

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(20)

    assert found == [{processors[-1]}, {processors[0]}]


def test_server_that_does_not_start() -> None:
    """What it said last is in the error."""
    with (
        pytest.raises(BenchError, match="did not start: no such luck"),
        running([sys.executable, "-c", "import sys; sys.exit('no such luck')"], free_port(), None),
    ):
        pass


def test_cost_is_that_of_ended_threads_and_of_children_too() -> None:
    """A process is charged for all that it runs."""
    before = time.process_time()
    thread = threading.Thread(target=lambda: sum(range(300_000)))
    thread.start()
    thread.join()
    assert time.process_time() > before + 0.001
    assert before + 0.001 < cost.cpu(os.getpid())

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        alone = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert cost.memory(os.getpid()) > alone
        child.communicate(b"\n")

    with pytest.raises(BenchError, match=f"there is no process {child.pid}"):
        cost.cpu(child.pid)


def test_short_and_table() -> None:
    """Figures have three digits and a unit; columns are aligned."""
    values = (0.5, 12.345, 999.4, 999.9, 1234, 5_678_000)
    assert [short(value) for value in values] == ["0.5", "12.3", "999", "1 k", "1.23 k", "5.68 M"]
    assert table(["a", "bb"], [["ccc", "d"]]) == "| a   | bb |\n|-----|----|\n| ccc | d  |"


def test_what_makes_figures_doubtful_is_said() -> None:
    """A saturated generator and a shared processor are named below the table."""
    result = Result(
        mode="fan-out",
        given={},
        count=1,
        seconds=1.0,
        server_cpu=0.5,
        generator_load=0.95,
        generators=2,
        others_load=0.0,
        shares_processor=False,
        per_cpu_second=2.0,
        per_second=1.0,
    )
    assert "The generator was saturated" in figures(result)
    assert "95%, the busiest of 2" in figures(result)
    assert "shared a processor" not in figures(result)
    assert "Other processes" not in figures(result)

    result.others_load = 0.2
    assert "Other processes used up to 20%" in figures(result)

    result.shares_processor = True
    assert "shared a processor" in figures(result)


def test_the_progress_bar_ends_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a mode reports last, its bar ends at 100 %."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)

    with _bar() as progress:
        progress(0.3)

    assert "30%" in terminal.getvalue()
    assert terminal.getvalue().rstrip("\x1b[?25h\n").endswith("100%")


def test_progress_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal, a line says each ten seconds how far a run is."""
    now = 0.0
    monkeypatch.setattr("chatroom.bench.command.time.monotonic", lambda: now)

    with _bar() as progress:
        for now, done in (5.0, 0.1), (10.0, 0.2), (15.0, 0.3), (20.5, 0.4):  # noqa: B007 - read by the clock
            progress(done)

    assert capsys.readouterr().err == "20% done\n40% done\n"


def test_a_long_run_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`stall` says so before it starts anything, on the standard error."""

    def fail(*_: str) -> None:
        raise BenchError("stop here")

    monkeypatch.setattr("chatroom.bench.command._own_server", fail)
    monkeypatch.setattr("chatroom.bench.command.signal.signal", lambda *_: None)

    ended = CliRunner().invoke(bench, ["stall", "--rounds", "100"])

    assert re.match(r"100 rounds take about \d+ s\n", ended.stderr)
    assert ended.stdout == ""


def test_the_table_of_waits_says_what_disturbed_it() -> None:
    """The heading is the limit, each row says whether it was kept, and a busy machine is named below."""
    short_wait = Stall(
        input="{}",
        sender="member",
        longest_ms=3.0,
        ordinary_ms=1.0,
        longest_cpu_ms=3.0,
        ordinary_cpu_ms=1.0,
        others_load=0.2,
    )
    long_wait = msgspec.structs.replace(short_wait, longest_ms=6.0)

    head, _, first, second, note = waits([short_wait, long_wait]).splitlines()
    assert head.endswith("| limit: 2 times ordinary, or 5 ms |")
    assert "**exceeded**" in first
    assert "kept" in second
    assert note.startswith("Other processes used up to 20%")
    assert "Other" not in waits([msgspec.structs.replace(short_wait, others_load=0.01)])


def test_svg() -> None:
    """A plot is a well-formed document with a line for each curve, inside of its frame."""
    page = svg("a < b", "x", "y", {"one": [(1, 10), (100, 5000)], "two & three": [(1, 20), (10, 30)]})

    assert len(ET.fromstring(page).findall("{*}polyline")) == 2
    places = re.findall(r"([\d.]+),([\d.]+)", " ".join(re.findall(r'points="([^"]+)', page)))
    assert len(places) == 4
    assert all(70 <= float(x) <= 570 and 40 <= float(y) <= 370 for x, y in places)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fan-out", "--port", "1"], "--port needs --pid"),
        (["latency", "--plot", "x.png"], "SVG"),
        (["fan-out", "--pid", "1"], "--pid needs --port"),
        (["join", "--port", "1", "--pid", "999999999"], "there is no process 999999999"),
        (["idle", "--port", "1", "--pid", "OURS"], "does not listen on port 1"),
        (["latency", "--plot", "/nowhere/x.svg"], "the folder /nowhere is not writable"),
        (["curve", "--plot", "/nowhere/x.svg"], "the folder /nowhere is not writable"),
        (["fan-out", "--size", "5"], "must be a whole number from 20 to 10000, not '5'"),
        (["join", "--clients", "x"], "must be a whole number of at least 1, not 'x'"),
        (["direct", "--seconds", "x"], "must be a number from 0.1 to 3600, not 'x'"),
        (["--json", "join"], "put --json after join"),
    ],
)
def test_bad_options(monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str) -> None:
    """What cannot be measured is said before anything is started."""
    for harmless in ("pin", "signal.signal"):  # these tests run in this process
        monkeypatch.setattr(f"chatroom.bench.command.{harmless}", lambda *_: None)

    ended = CliRunner().invoke(bench, [str(os.getpid()) if one == "OURS" else one for one in arguments])

    assert ended.exit_code
    assert complaint in ended.output
    assert len(ended.output.splitlines()) == 1
