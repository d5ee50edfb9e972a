"""The client program on bad links and busy servers: it comes back, and gets all through."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from conftest import PROJECT, ServerProcess, run
from e2e.brief import LineClient
from e2e.brief_server import BriefServer, incoming, raw
from e2e.terminal import PROMPT, joined

pytestmark = pytest.mark.slow

TAKEN = {"code": "error", "error": "name_taken", "message": "somebody has that name", "suggestion": "ann2"}
WELCOME = raw({"code": "welcome"})
OFFLINE = "offline>"
REFUSED = "not sent: you are offline"


def test_return() -> None:
    """A lost server's last words are shown; the program comes back by itself, and the draft is kept."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.type("bob|half")
        terminal.wait_for("half")
        brief.send(incoming("last words"))
        brief.hang_up()
        shown = terminal.wait(lambda lines: lines[-2:] == ["connected again, as ann", f"{PROMPT}bob|half"])

        assert [line for line in shown if line.endswith(" bob to you: last words")]
        assert "reconnecting…" in "".join(shown)
        terminal.type(" a sentence\r")
        assert brief.wait_for("outgoing")["content"] == "half a sentence"
        terminal.type("quit\r")
        assert terminal.status() == 0


def test_typing_without_a_connection() -> None:
    """Without a connection a message stays in the editor; commands work; Ctrl-C drops it, then leaves."""
    refusals: list[bytes | None] = [WELCOME, *[None] * 1000]
    with BriefServer(instead={"hello": refusals}) as brief, joined(brief) as terminal:
        brief.hang_up()
        terminal.wait_for("reconnecting…")
        terminal.type("*|patience\r")
        terminal.wait(lambda lines: lines[-2:] == [REFUSED, f"{OFFLINE}*|patience"])
        terminal.type("\x03?\r")
        terminal.wait_for("/msg NAME text")
        refusals.clear()
        terminal.wait_for("connected again")
        terminal.type("\x1b[A\x1b[A")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}*|patience")
        terminal.type("\r")
        assert brief.wait_for("outgoing_broadcast")["content"] == "patience"
        refusals += [None] * 1000
        brief.hang_up()
        terminal.wait(lambda _: terminal.flat().count("reconnecting…") == 2)
        terminal.type("/help\r")
        terminal.wait_for("/msg NAME text")
        terminal.type("\x03")

        assert terminal.status() == 0


def test_lines_typed_without_a_connection() -> None:
    """What is typed below a message that was refused is another line; why it was is said once."""
    refusals: list[bytes | None] = [WELCOME, *[None] * 1000]
    with BriefServer(instead={"hello": refusals}) as brief, joined(brief) as terminal:
        brief.hang_up()
        terminal.wait_for("reconnecting…")
        terminal.type("*|one\r")
        terminal.wait(lambda lines: lines[-2:] == [REFUSED, f"{OFFLINE}*|one"])
        terminal.type("\r\r*|two")
        terminal.wait(lambda lines: lines[-1].endswith(">*|two"))
        terminal.type("\x1b[D" * 3 + "\x1b[C" * 3 + "!\r")
        terminal.wait(lambda lines: lines[-1].endswith(">*|two!"))
        terminal.paste("bob|three\n")
        terminal.wait(lambda lines: lines[-1].endswith(">bob|three"))
        refusals.clear()
        terminal.wait_for("connected again")
        assert terminal.flat().count(REFUSED) == 3
        terminal.type("\r")

        assert [brief.wait_for("outgoing_broadcast")["content"] for _ in range(2)] == ["one", "two!"]
        assert brief.wait_for("outgoing")["content"] == "three"


def test_taken_at_the_return() -> None:
    """While somebody has the name, the program goes on trying, and the prompt stays the one for messages."""
    answers: list[bytes | None] = [WELCOME, *[raw(TAKEN)] * 1000]
    with BriefServer(instead={"hello": answers}) as brief, joined(brief) as terminal:
        terminal.type("*|a draft")
        terminal.wait_for("a draft")
        brief.hang_up()
        shown = terminal.wait(
            lambda lines: lines[-1] == f"{OFFLINE}*|a draft" and "takes another name" in " ".join(lines)
        )
        question = "still offline: somebody has that name; trying again for 30 s; /name ann2 takes another name"
        assert question in " ".join(shown)
        answers.clear()
        terminal.wait(lambda lines: lines[-2:] == ["connected again, as ann", f"{PROMPT}*|a draft"])


class TakenServer(BriefServer):
    """Somebody has the name `ann` from the second `hello` on."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def _answer(self, request: dict[str, Any]) -> bool:
        if request["code"] == "hello":
            self.names.append(request["name"])
            if request["name"] == "ann" and len(self.names) > 1:
                self.send(TAKEN)
                return True
        return super()._answer(request)


def test_what_is_meant_for_a_message_is_no_name() -> None:
    """What somebody goes on typing while the name is taken, before and after Enter, never becomes a name."""
    with TakenServer() as brief, joined(brief) as terminal:
        terminal.type("bob|my password")
        terminal.wait_for("password")
        brief.hang_up()
        terminal.wait(lambda lines: lines[-1].startswith(OFFLINE))
        for key in " is hunter2":
            terminal.type(key)
            terminal.pause(0.1)
        terminal.type("\r")
        terminal.wait_for("not sent: you are offline")
        terminal.wait_for("takes another name")
        terminal.type("\x03hunter3\r")
        terminal.wait_for("type NAME|text")
        terminal.type("\r")
        terminal.type("/name eve\r")
        terminal.wait(lambda lines: lines[-2:] == ["connected again, as eve", PROMPT])
        terminal.type("\x1b[A\x1b[A\x1b[A")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}bob|my password is hunter2")
        terminal.type("\r")

        assert brief.wait_for("outgoing")["content"] == "my password is hunter2"
        assert set(brief.names) == {"ann", "eve"}
        assert "your name" not in terminal.raw


def test_another_name_at_the_return() -> None:
    """/name takes another name at once; while online it changes nothing."""
    with TakenServer() as brief, joined(brief) as terminal:
        terminal.type("/name eve\r")
        terminal.wait_for("you have a name")
        brief.hang_up()
        terminal.wait_for("takes another name")
        terminal.type("/name\r")
        terminal.wait_for("type /name NEW")
        terminal.type("/name ann\r")
        terminal.wait_for('the name "ann" was refused: somebody has that name;')
        terminal.type('/name "eve 2"\r')
        terminal.wait(lambda lines: lines[-2:] == ["connected again, as eve 2", PROMPT])
        terminal.type("quit\r")

        assert terminal.status() == 0


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leave_at_the_return(key: str) -> None:
    """Ctrl-C and Ctrl-D leave while the name is taken."""
    with TakenServer() as brief, joined(brief) as terminal:
        brief.hang_up()
        terminal.wait_for("still offline")
        terminal.type(key)

        assert terminal.status() == 0


@pytest.mark.parametrize(("reconnect", "status"), [(False, 1), (True, 0)])
def test_closing(*, reconnect: bool, status: int) -> None:
    """A server that says not to come back is heeded; from one that is restarted the program comes back."""
    with BriefServer() as brief, joined(brief) as terminal:
        brief.send({"code": "closing", "reason": "draining", "reconnect": reconnect})
        brief.hang_up()
        terminal.wait_for("the server is going down")
        if reconnect:
            terminal.wait_for("connected again")
            terminal.type("/quit\r")

        assert terminal.status() == status
        assert "Traceback" not in terminal.raw


def test_message_of_unknown_fate(tmp_path: Path) -> None:
    """What was under way is sent again, unless the server does not know who comes back: then it is reported."""
    server = ServerProcess(log=tmp_path / "server.log")
    with joined(server) as terminal:
        os.kill(server.process.pid, signal.SIGSTOP)
        terminal.type("*|did it arrive?\r")
        terminal.wait(lambda lines: lines[-2:] == [f"{PROMPT}*|did it arrive?", PROMPT])
        server.stop(signal.SIGKILL)
        terminal.wait_for("reconnecting…")
        another = ServerProcess(log=tmp_path / "another.log", port=str(server.port))
        shown = terminal.wait_for("connected again")

        assert "it is not known whether this arrived: *|did it arrive?" in "".join(shown)
    assert another.stop() == 0


def test_paste_that_can_be_stopped() -> None:
    """While many lines wait to be sent, the prompt is there, and Ctrl-C leaves."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.paste("\n".join(f"*|line {number}" for number in range(10_000)))
        terminal.wait_for("10000 lines: Enter sends all")
        terminal.type("\r")
        brief.wait_for("outgoing_broadcast")
        terminal.type("\x03")

        assert terminal.status() == 0


def limited(tmp_path: Path, loop: str, rate: int, after: float) -> ServerProcess:
    """Start a server that holds its limits against peers on loopback too."""
    limits = [
        "exempt=192.0.2.0/24",
        f"message_rate={rate}",
        f"message_burst={rate}",
        f"slow_down_after={after}",
    ]
    words = [word for limit in limits for word in ("--limit", limit)]
    return ServerProcess(*words, log=tmp_path / "server.log", loop=loop)


def test_pipe_into_a_slow_server(tmp_path: Path, loop: str) -> None:
    """All lines of a long input arrive in their order through a server that limits the rate."""
    server = limited(tmp_path, loop, rate=100, after=0.5)
    count = 1000
    with LineClient(server.port, "bob") as bob:
        text = "".join(f"*|line {number}\n" for number in range(count))
        ended = run("client.py", server.host, str(server.port), "ann", text=text)

        assert (ended.returncode, ended.stderr) == (0, "")
        assert [bob.read()["content"] for _ in range(count)] == [f"line {number}" for number in range(count)]
    assert server.stop() == 0


@pytest.mark.parametrize("is_redirected", [True, False])
def test_progress(tmp_path: Path, loop: str, *, is_redirected: bool) -> None:
    """Where the standard error is a terminal, it says how far the input is, on a line that goes away again."""
    server = limited(tmp_path, loop, rate=50, after=5)
    program = f"{sys.executable} client.py {server.host} {server.port} ann"
    output = f"> {tmp_path / 'out'}" if is_redirected else ""
    command = f"seq -f '*|line %g' 250 | {program} {output}"
    process = pexpect.spawn("sh", ["-c", command], cwd=PROJECT, encoding="utf-8", timeout=20)
    process.expect(pexpect.EOF)
    process.close()

    assert process.exitstatus == 0
    assert re.search(r"\r\d+ lines sent", process.before)
    assert process.before.endswith("\r")
    assert process.before.rsplit("\r", 2)[1].strip() == ""
    if is_redirected:
        assert "sent" not in (tmp_path / "out").read_text()
    assert server.stop() == 0
