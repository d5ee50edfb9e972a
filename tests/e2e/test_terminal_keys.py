"""The client program under a person's fingers: pasting, job control, signals, the menu, resizing."""

import os
import signal
import termios

import pexpect
import pytest

from conftest import ServerProcess
from e2e.brief import LineClient
from e2e.brief_server import BriefServer, incoming
from e2e.terminal import PROMPT, joined

pytestmark = pytest.mark.slow

SUMMARY = ["3 lines, 1 is no command: Enter sends the rest, Ctrl-C drops", "all"]


def asked(brief: BriefServer) -> list[dict[str, str]]:
    """Return all that has been asked, up to `quit`."""
    requests = [brief.requests.get(timeout=10)]
    while requests[-1]["code"] != "quit":
        requests.append(brief.requests.get(timeout=10))
    return [request for request in requests if request["code"].startswith("outgoing")]


def test_paste_of_several_lines() -> None:
    """Several pasted lines are several commands; they are sent only after Enter, and after a look at them."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.paste("*|hello all\r\nno idea\n\nbob|the secret")
        shown = terminal.wait_for("the secret")

        assert shown[-6:] == [
            *SUMMARY,
            f"{PROMPT}*|hello all",
            f"{'no command>':>19}no idea",
            f"{'>':>19}",
            f"{'>':>19}bob|the secret",
        ]
        brief.send(incoming("an interruption"))
        shown = terminal.wait(
            lambda lines: any("an interruption" in line for line in lines) and "secret" in lines[-1]
        )
        assert SUMMARY[0] in shown
        terminal.type("\r")
        terminal.wait(lambda lines: lines[-1] == PROMPT)
        assert SUMMARY[0] not in terminal.lines()
        terminal.type("quit\r")

        assert asked(brief) == [
            {"code": "outgoing_broadcast", "content": "hello all"},
            {"code": "outgoing", "to": "bob", "content": "the secret"},
        ]


def test_paste_that_is_dropped() -> None:
    """Ctrl-C drops several pasted lines, and nothing of them is sent; the program goes on."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.paste("*|hello all\n*|hello again\n")
        terminal.wait_for("2 lines: Enter sends all, Ctrl-C drops all")
        terminal.type("\x03")
        terminal.wait(lambda lines: lines[-1] == PROMPT)
        terminal.paste("one\ntwo")
        terminal.wait_for("2 lines, none is a command: Ctrl-C drops all")
        terminal.type("\r")
        terminal.wait_for("type NAME|text")
        terminal.type("\x03quit\r")

        assert asked(brief) == []


def test_paste_into_a_line() -> None:
    """One pasted line is as if typed where the cursor is, and so is its line break."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.type("bob|half  sentence" + "\x1b[D" * 9)
        terminal.paste("a\ttabbed")
        terminal.wait_for("tabbed sentence")
        terminal.paste(" short\r\n")
        terminal.wait(lambda lines: lines[-1] == PROMPT)
        terminal.type("*|")
        terminal.paste("one\nbob|two")
        terminal.wait_for("2 lines: Enter sends all")
        terminal.type("\r")
        terminal.paste("quit\n")

        assert asked(brief) == [
            {"code": "outgoing", "to": "bob", "content": "half a\ttabbed short sentence"},
            {"code": "outgoing_broadcast", "content": "one"},
            {"code": "outgoing", "to": "bob", "content": "two"},
        ]


def test_no_question_to_the_terminal(server: ServerProcess) -> None:
    """The terminal is never asked for its cursor's position; one that never answers sees no warning."""
    with LineClient(server.port, "bob") as bob, joined(server) as terminal:
        bob.ask(code="outgoing", to="ann", content="hi")
        terminal.wait_for("bob to you: hi")
        terminal.type("\t")
        terminal.wait_for("quit")
        terminal.type("\x1b")
        terminal.type("*|x\r")
        assert bob.read()["content"] == "x"

        assert "\x1b[6n" not in terminal.raw
        assert "WARNING" not in terminal.raw


def test_suspend(server: ServerProcess) -> None:
    """Ctrl-Z gives the terminal back to the shell as it was; `fg` draws the prompt and the draft again."""
    with LineClient(server.port, "bob") as bob, joined(server, shell=True) as terminal:
        terminal.type("*|a draft")
        terminal.wait_for("a draft")
        terminal.type("\x1a")
        terminal.wait(lambda lines: "Stopped" in "".join(lines) and lines[-1] == "$")
        assert PROMPT + "*|a draft" not in terminal.lines()
        bob.ask(code="outgoing_broadcast", content="meanwhile")
        terminal.type("stty -a | tr ' ' '\\n' | grep -cx -e -icanon -e -echo -e -isig\r")
        terminal.wait(lambda lines: "0" in lines)
        terminal.type("fg\r")
        terminal.wait(lambda lines: lines[-1] == PROMPT + "*|a draft")
        terminal.wait_for("bob to all: meanwhile")
        terminal.type(" indeed\r")

        assert bob.read()["content"] == "a draft indeed"
        terminal.type("\x04")
        terminal.wait(lambda lines: lines[-1] == "$")


def test_stopped_from_outside(server: ServerProcess) -> None:
    """After SIGSTOP and SIGCONT the prompt is there, once, and takes keys one by one."""
    with joined(server) as terminal:
        terminal.type("*|a draft")
        terminal.wait_for("a draft")
        os.kill(terminal.process.pid, signal.SIGSTOP)
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.type("!")
        shown = terminal.wait_for("a draft!")

        assert sum(PROMPT in line for line in shown) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_signals(number: signal.Signals) -> None:
    """A signal ends the program in good order: it says quit, and the terminal is as it was."""
    fresh, other = os.openpty()
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.type("*|a draft")
        terminal.wait_for("a draft")
        assert termios.tcgetattr(terminal.process.child_fd) != termios.tcgetattr(fresh)
        os.kill(terminal.process.pid, number)
        terminal.process.expect(pexpect.EOF)
        last = terminal.process.before

        assert termios.tcgetattr(terminal.process.child_fd) == termios.tcgetattr(fresh)
        assert terminal.status() == (0 if number == signal.SIGINT else 128 + number)
        assert asked(brief) == []
        assert "\x1b[?2004l" in last
        assert "Traceback" not in last
    os.close(fresh)
    os.close(other)


def test_terminal_that_is_closed() -> None:
    """When the window is closed, the program says quit."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.process.close(force=False)

        brief.wait_for("quit")


@pytest.mark.parametrize("key", ["\x1b", "\x15", "\x03"])
def test_menu_is_closed(server: ServerProcess, key: str) -> None:
    """Esc, Ctrl-U and Ctrl-C close the menu, and the key after them is not eaten."""
    with joined(server) as terminal, LineClient(server.port, "bob"):
        terminal.type("\t")
        terminal.wait(lambda lines: any(line.strip() == "quit" for line in lines))
        terminal.type(key)
        terminal.type("b1")
        shown = terminal.wait(lambda lines: lines[-1] == PROMPT + "b1")

        assert not any(line.strip() == "quit" for line in shown)


def test_escape_eats_no_key(server: ServerProcess) -> None:
    """An Escape without a menu does nothing, and the next key is a key; Alt with a letter moves by words."""
    with joined(server) as terminal:
        terminal.type("*|one two")
        terminal.wait_for("two")
        terminal.type("\x1bbx")
        terminal.wait_for("*|one xtwo")


def test_dropped_line(server: ServerProcess) -> None:
    """Ctrl-C with a half-typed line drops the line; on an empty one it leaves."""
    with LineClient(server.port, "bob") as bob, joined(server) as terminal:
        terminal.type("bob|never mi")
        terminal.wait_for("never mi")
        terminal.type("\x03")
        terminal.wait(lambda lines: lines[-1] == PROMPT)
        terminal.type("*|this\r")
        assert bob.read()["content"] == "this"
        terminal.type("\x03")

        assert terminal.status() == 0


def test_resize(server: ServerProcess) -> None:
    """However the window changes, a long draft stands there once, and the chat above it stays."""
    draft = "*|" + " ".join(f"word{number}" for number in range(20))
    with LineClient(server.port, "bob") as bob, joined(server) as terminal:
        bob.ask(code="outgoing", to="ann", content="hi")
        terminal.wait_for("bob to you: hi")
        terminal.type(draft)
        terminal.wait_for("word19")
        for columns in (45, 30, 70, 40, 60):
            terminal.resize(columns)
            shown = terminal.wait(
                lambda lines: "".join(lines).replace(" ", "").endswith(draft.replace(" ", ""))
            )

            assert "".join(shown).count("word7") == 1, shown
            assert sum(line.endswith("bob to you: hi") for line in shown) == 1, shown
            assert shown[0].startswith("connecting to server at")


def test_slash_commands(server: ServerProcess) -> None:
    """/who, /msg, /help and /quit do what they say; another word with a slash is not sent."""
    with LineClient(server.port, "Thị Hoa") as hoa, joined(server) as terminal:
        terminal.type('/msg "thị hoa" xin chào\r')
        assert hoa.read()["content"] == "xin chào"
        terminal.type("/who\r")
        terminal.wait(lambda lines: "  Thị Hoa" in lines and "  ann" in lines)
        terminal.type("/help\r")
        terminal.wait_for("NAME|text or /msg NAME text")
        terminal.type("/shrug\r")
        terminal.wait_for("/shrug is no command")
        terminal.type("*|/shrug\r")
        assert hoa.read()["content"] == "/shrug"
        terminal.type("/m\t")
        terminal.wait_for(PROMPT + "/msg")
        terminal.type("\x15/quit\r")

        assert terminal.status() == 0


@pytest.mark.parametrize(("options", "rings"), [(["--bell"], 1), ([], 0)])
def test_bell(server: ServerProcess, options: list[str], rings: int) -> None:
    """With --bell, a direct message rings; a broadcast, and a bell character in a message, never do."""
    with LineClient(server.port, "bob") as bob, joined(server, "ann", *options) as terminal:
        bob.ask(code="outgoing_broadcast", content="quiet\a")
        bob.ask(code="outgoing", to="ann", content="loud\a")
        terminal.wait_for("loud")

        assert terminal.raw.count("\a") == rings
