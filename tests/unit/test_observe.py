"""The log: what its lines look like, and that it never holds the server up."""

import logging
import os
import select

import pytest

from chatroom.observe import LineWriter, LogObserver, log_to_stderr
from chatroom.protocol.messages import ErrorCode, ErrorReply
from fakes import FakeLoop


def written(what: str, *arguments: object) -> str:
    """Return what the observer writes about one event, without the time of day."""
    lines: list[str] = []
    loop = FakeLoop()
    getattr(LogObserver(loop, lines.append), what)(*arguments)
    loop.pass_time(1)
    assert lines[0].endswith("\n")
    return "".join(lines)[len("2026-01-01 12:00:00 ") : -1]


def test_names_are_quoted() -> None:
    """A name cannot pose as a line of the log, nor as another name."""
    peer, error = "192.0.2.7:5000", ErrorReply(error=ErrorCode.UNKNOWN_USER, message="x")

    assert written("joined", "ann from here", peer) == "joined: 'ann from here' from 192.0.2.7:5000"
    assert written("left", "O'Neil", peer, "quit") == f"""left: "O'Neil" from {peer} (quit)"""
    assert written("refused", "bob to you: pay me", peer, error) == (
        f"refused: unknown_user for 'bob to you: pay me' from {peer}"
    )
    assert written("refused", None, peer, error) == f"refused: unknown_user for {peer}"
    assert written("decided", "ban", "bob by 'ann'", "olga") == """decided: ban "bob by 'ann'" by 'olga'"""
    assert written("decided", "ban", "bob", None) == "decided: ban 'bob' by the command line"
    assert written("turned_away", peer, "silent") == f"turned away: {peer} (silent)"


@pytest.mark.parametrize("character", ["\n", "\x1b", "\x9b", "\u202e", "\u2028", "\u200d"])
def test_nothing_is_hidden(character: str) -> None:
    """Whatever a name or a note contains, its line is one line, and all of it is seen."""
    assert written("joined", f"a{character}b", "x").isprintable()
    assert written("note", f"a{character}b").isprintable()


def test_a_flood_is_summed_up() -> None:
    """More events of a kind than the allowance become one line with their count."""
    lines: list[str] = []
    loop = FakeLoop()
    observer = LogObserver(loop, lines.append)
    for _ in range(1000):
        observer.turned_away("192.0.2.7:5000", "too many connections")
    loop.pass_time(2)

    text = "".join(lines)
    assert text.count("too many connections") == 200
    assert text.endswith("turned away: 800 more\n")


def test_what_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal or file that knows ASCII only, names are still written."""
    read, write = os.pipe()
    writer = LineWriter()
    monkeypatch.setattr(writer, "_encoding", "ascii")
    monkeypatch.setattr(writer, "_descriptor", write)

    writer.write("joined: 'Ёж'\n")

    assert os.read(read, 100) == rb"joined: '\u0401\u0436'" + b"\n"
    os.close(read)
    os.close(write)


def test_a_pipe_that_nobody_reads_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full pipe does not take is dropped; once it is read, lines are written again."""
    read, write = os.pipe()
    writer = LineWriter()
    poll = select.poll()
    poll.register(write, select.POLLOUT)
    monkeypatch.setattr(writer, "_poll", poll)
    monkeypatch.setattr(writer, "_descriptor", write)

    for _ in range(100):
        writer.write("x" * 9_999 + "\n")
    taken = os.read(read, 1_000_000)
    writer.write("heard\n")

    assert len(taken) < 1_000_000
    assert os.read(read, 100).endswith(b"\nheard\n" if not taken.endswith(b"\n") else b"heard\n")
    os.close(read)
    os.close(write)


def test_a_terminal_that_is_stopped_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a terminal does not take now is dropped, too."""
    far, near = os.openpty()
    terminal = os.ttyname(near)
    monkeypatch.setattr("os.ttyname", lambda _: terminal)
    writer = LineWriter()

    for _ in range(100):
        writer.write("x" * 9_999 + "\n")

    assert os.read(far, 100) == b"x" * 100
    for descriptor in (far, near, writer._descriptor):
        os.close(descriptor)


def test_a_traceback_cannot_pose_as_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A record is one line that has a time, and lines below it that are indented; asyncio's own are too."""
    root = logging.getLogger()
    before = root.handlers[:]
    log_to_stderr()
    try:
        try:
            raise ValueError("2026-01-01 12:00:00 joined: \x1b[31m'ann'\n2026-01-01 12:00:00 left: 'ann'")
        except ValueError:
            logging.getLogger("asyncio").exception("trouble")
    finally:
        root.handlers[:] = before

    first, *rest = capfd.readouterr().err.splitlines()
    assert first.endswith("ERROR trouble")
    assert any(line.startswith("    ") and "left: 'ann'" in line for line in rest)
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
