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
from e2e.terminal import PROMPT, Terminal, joined

pytestmark = pytest.mark.slow

TAKEN = {"code": "error", "error": "name_taken", "message": "somebody has that name", "suggestion": "ann2"}
WELCOME = raw({"code": "welcome"})
REFUSED = "not sent: there is no connection; the Up key brings it back"


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
    """Without a connection a message is not sent; the Up key brings it back; commands work, Ctrl-C leaves."""
    refusals: list[bytes | None] = [WELCOME, *[None] * 1000]
    with BriefServer(instead={"hello": refusals}) as brief, joined(brief) as terminal:
        brief.hang_up()
        terminal.wait_for("reconnecting…")
        terminal.type("*|patience\r")
        terminal.wait(lambda lines: lines[-2:] == [REFUSED, PROMPT])
        terminal.type("?\r")
        terminal.wait_for("/msg NAME text")
        refusals.clear()
        terminal.wait_for("connected again")
        terminal.type("\x1b[A\x1b[A")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}*|patience")
        terminal.type("\r")
        assert brief.wait_for("outgoing_broadcast")["content"] == "patience"
        refusals += [None] * 1000
        brief.hang_up()
        terminal.wait(lambda lines: sum("reconnecting…" in line for line in lines) == 2)
        terminal.type("/help\r")
        terminal.wait_for("/msg NAME text")
        terminal.type("\x03")

        assert terminal.status() == 0


def test_taken_at_the_return() -> None:
    """While somebody has the name, another is asked for; the program goes on trying, and the draft is kept."""
    answers: list[bytes | None] = [WELCOME, *[raw(TAKEN)] * 1000]
    with BriefServer(instead={"hello": answers}) as brief, joined(brief) as terminal:
        terminal.type("*|a draft")
        terminal.wait_for("a draft")
        brief.hang_up()
        shown = terminal.wait_for("your name: ann2")
        question = (
            "still offline: somebody has that name; trying again for 30 seconds, or under another name at once"
        )
        assert question in "".join(shown)
        answers.clear()
        shown = terminal.wait_for("connected again, as ann")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}*|a draft")
        assert "connected again, as ann" in terminal.lines()


def test_another_name_at_the_return() -> None:
    """Another name is taken at once, long before the program stops trying with the old one."""

    class TakenServer(BriefServer):
        hellos = 0

        def _answer(self, request: dict[str, Any]) -> bool:
            if request["code"] == "hello":
                self.hellos += 1
                if request["name"] == "ann" and self.hellos > 1:
                    self.send(TAKEN)
                    return True
            return super()._answer(request)

    with TakenServer() as brief, Terminal(brief, "ann") as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("*|a draft")
        terminal.wait_for("a draft")
        brief.hang_up()
        terminal.wait_for("your name: ann2")
        terminal.type("\x15eve\r")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}*|a draft" and "connected again, as eve" in lines)
        terminal.type("\r")

        assert brief.wait_for("outgoing_broadcast")["content"] == "a draft"


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leave_at_the_return(key: str) -> None:
    """Ctrl-C and Ctrl-D leave where another name is asked for."""
    answers: list[bytes | None] = [WELCOME, *[raw(TAKEN)] * 1000]
    with BriefServer(instead={"hello": answers}) as brief, joined(brief) as terminal:
        brief.hang_up()
        terminal.wait_for("your name: ann2")
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
    """What had left when the connection was lost, and was not confirmed, is reported, and not sent again."""
    server = ServerProcess(log=tmp_path / "server.log")
    with joined(server) as terminal:
        os.kill(server.process.pid, signal.SIGSTOP)
        terminal.type("*|did it arrive?\r")
        terminal.wait(lambda lines: lines[-2:] == [f"{PROMPT}*|did it arrive?", PROMPT])
        server.stop(signal.SIGKILL)
        shown = terminal.wait_for("reconnecting…")

        assert "it is not known whether this arrived: *|did it arrive?" in "".join(shown)


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
