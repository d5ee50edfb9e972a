"""The client program where lines are typed, but the screen is no full terminal; and what all screens share."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from conftest import PROJECT, ServerProcess
from e2e.brief import LineClient
from e2e.brief_server import BriefServer, raw
from e2e.terminal import PROMPT, joined, pipe

pytestmark = pytest.mark.slow


def spawn(server: BriefServer, how: str, folder: Path) -> pexpect.spawn:
    """Start the program on a terminal that can only print, or with its output in a pipe."""
    program = f"{sys.executable} client.py {server.host} {server.port} ann"
    command = f"TERM=dumb {program}" if how == "dumb" else f"{program} | tee {folder / 'log'}"
    return pexpect.spawn("sh", ["-c", command], cwd=PROJECT, encoding="utf-8", timeout=100)


@pytest.mark.parametrize("how", ["dumb", "tee"])
def test_return_without_a_full_terminal(how: str, tmp_path: Path) -> None:
    """Wherever somebody types, the program comes back by itself; Enter, or a message, makes it try at once."""
    refusals: list[bytes | None] = [raw({"code": "welcome"}), *[None] * 1000]
    with BriefServer(instead={"hello": refusals}) as brief:
        process = spawn(brief, how, tmp_path)
        process.expect_exact(PROMPT)
        brief.hang_up()
        process.expect_exact("reconnecting…")
        process.sendline("*|too early")
        process.expect_exact("not sent: you are offline\r\n")
        refusals.clear()
        process.sendline("")
        process.expect_exact("connected again, as ann")
        process.sendline("*|in time")
        assert brief.wait_for("outgoing_broadcast")["content"] == "in time"
        process.sendline("quit")
        process.expect(pexpect.EOF)
        process.close()

        assert process.exitstatus == 0


def test_line_is_written_in_one_piece() -> None:
    """Without Python's buffers too, so that nothing comes between a line and its end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        subprocess.run(
            [sys.executable, "client.py", "127.0.0.1", "1", "ann"],
            stdin=subprocess.DEVNULL,
            stderr=theirs.fileno(),
            cwd=PROJECT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            check=False,
        )

        assert ours.recv(65536).endswith(b"\n")


def test_another_name_without_a_full_terminal(tmp_path: Path) -> None:
    """The name is taken with /name there too."""
    taken = raw({"code": "error", "error": "name_taken", "message": "taken"})
    answers: list[bytes | None] = [raw({"code": "welcome"}), *[taken] * 1000]
    with BriefServer(instead={"hello": answers}) as brief:
        process = spawn(brief, "dumb", tmp_path)
        process.expect_exact(PROMPT)
        brief.hang_up()
        process.expect_exact("/name NEW takes another name")
        answers.clear()
        process.sendline("/name eve")
        process.expect("connected again, as (eve|ann)")
        process.sendline("quit")
        process.expect(pexpect.EOF)
        process.close()


def test_lines_of_a_pipe_that_were_not_sent() -> None:
    """When the connection ends, the first line that was not sent is named, and those whose fate is unknown."""
    with BriefServer(instead={"outgoing_broadcast": [b"", None]}) as brief:
        ended = pipe(brief, "ann", "*|one\n\n" + "".join(f"*|{number}\n" for number in range(3, 100)))
    complaints = ended.stderr.splitlines()

    assert ended.returncode == 1
    assert complaints[0] == "line 1: it is not known whether this arrived: *|one"
    assert complaints[1] == "line 3: it is not known whether this arrived: *|3"
    first = int(complaints[-2].split()[1].rstrip(":")) + 1
    assert complaints[-1].startswith(f"line {first}: not sent, nor what follows: ")


def test_words_are_not_split(server: ServerProcess) -> None:
    """What the program says is broken between words, whatever the width."""
    with joined(server) as terminal:
        terminal.resize(40, breaks=True)
        terminal.type("nonsense\r")
        rows = ["type NAME|text (to one) or *|text (to", "all); /help lists the commands", PROMPT]
        terminal.wait(lambda lines: lines[-3:] == rows)


def test_name_in_quotation_marks(server: ServerProcess) -> None:
    """A name that is shown in quotation marks may be typed so; somebody who is called so comes first."""
    with LineClient(server.port, "bob: hi") as bob, joined(server) as terminal:
        bob.ask(code="outgoing", to="ann", content="who am I?")
        terminal.wait_for('"bob: hi" to you: who am I?')
        terminal.type('"bob: hi"|you are bob\r')
        assert bob.read()["content"] == "you are bob"
        with LineClient(server.port, '"eve"') as quoted, LineClient(server.port, "eve"):
            terminal.type('"Eve"|hello\r')
            assert quoted.read()["content"] == "hello"
        terminal.type('"nobody"|x\r')
        terminal.wait_for('nobody is called "nobody"')
        terminal.type('"*"|x\r')
        terminal.wait_for('nobody is called ""*""')
