"""The client program under a person's fingers: pasting, job control, signals, the menu, resizing."""

import os
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Self

import pexpect
import pytest

from chatroom.terminal.full import ESCAPE
from conftest import PROJECT, ServerProcess
from e2e.brief import LineClient
from e2e.brief_server import BriefServer, incoming
from e2e.terminal import PROMPT, joined

pytestmark = pytest.mark.slow

SUMMARY = ["3 lines, 1 is not a command: Enter sends the others, Ctrl-C", "drops all"]


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
            f"{'not a command>':>19}no idea",
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
        assert terminal.wait_for("hello again")[-1].endswith(">*|hello again")
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


@pytest.mark.parametrize(
    ("shell", "how"),
    [("bash --norc --noprofile -i", "key"), ("bash --norc --noprofile -i", "SIGSTOP"), ("dash -i", "key")],
)
def test_suspend(shell: str, how: str) -> None:
    """Ctrl-Z gives the terminal back as it was; `fg` draws the prompt and the draft again; after SIGSTOP too.

    dash leaves the terminal to its jobs as it finds it; bash does not.
    """
    if shutil.which(shell.split(maxsplit=1)[0]) is None:
        pytest.skip(f"missing: apt-get install {shell.split(maxsplit=1)[0]}")
    with BriefServer() as brief, joined(brief, shell=shell) as terminal:
        terminal.type("*|a draft")
        terminal.wait_for("a draft")
        if how == "key":
            terminal.type("\x1a")
        else:
            os.kill(os.tcgetpgrp(terminal.process.child_fd), signal.SIGSTOP)
        terminal.wait(lambda lines: "+" in "".join(lines) and lines[-1] == "$")
        if how == "key":
            brief.send(incoming("meanwhile"))
            assert PROMPT + "*|a draft" not in terminal.lines()
            terminal.type("stty -a | tr ' ;' '\\n\\n' | grep -cx -e -icanon -e -echo -e -isig\r")
            terminal.wait(lambda lines: "0" in lines)
        terminal.type("fg\r")
        terminal.wait(
            lambda lines: lines[-1] == PROMPT + "*|a draft" and (how != "key" or "meanwhile" in lines[-2])
        )
        terminal.type(" indeed\r")

        assert brief.wait_for("outgoing_broadcast")["content"] == "a draft indeed"
        terminal.type("\x04")
        terminal.wait(lambda lines: lines[-1] == "$")


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
        terminal.wait(lambda lines: not any(line.strip() == "quit" for line in lines))
        terminal.type("b1")
        terminal.wait(lambda lines: lines[-1] == PROMPT + "b1")


def test_escape_eats_no_key() -> None:
    """An Escape without a menu does nothing, and the next key is a key; Alt with a letter moves by words."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.type("*|one two")
        terminal.wait_for("two")
        terminal.type("\x1bbx")
        terminal.wait_for("*|one xtwo")
        terminal.type("\x1b")
        terminal.pause(10 * ESCAPE)
        terminal.type("b")
        terminal.wait_for("*|one xbtwo")


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


@pytest.mark.parametrize("breaks", [True, False])
def test_resize(server: ServerProcess, *, breaks: bool) -> None:
    """However the window changes, a long draft stands there once, and the chat above it stays."""
    draft = "*|" + " ".join(f"word{number}" for number in range(20))
    environment = {} if breaks else {"XTERM_VERSION": "XTerm(379)"}
    with LineClient(server.port, "bob") as bob, joined(server, environment=environment) as terminal:
        bob.ask(code="outgoing", to="ann", content="hi")
        terminal.wait_for("bob to you: hi")
        terminal.type(draft)
        terminal.wait_for("word19")
        for columns in (45, 30, 70, 40, 60):
            terminal.resize(columns, breaks=breaks)
            while "\x1b[J" not in terminal.read():
                pass
            shown = terminal.wait(
                lambda lines: "".join(lines).replace(" ", "").endswith(draft.replace(" ", ""))
            )

            assert "".join(shown).count("word7") == 1, shown
            assert sum(line.endswith("bob to you: hi") for line in shown) == 1, shown
            assert shown[0].startswith("connecting to server at")
            assert "".join(shown).count(PROMPT) == 1, shown


class Tmux:
    """A tmux of its own, 24 rows high, and the client program in it, behind twelve lines."""

    def __init__(self, server: ServerProcess, socket: Path, columns: int) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is missing: apt-get install tmux")
        self._socket = socket
        program = f"for line in $(seq 12); do echo line $line; done; {sys.executable} client.py"
        size = ["-x", str(columns), "-y", "24"]
        self.do("new-session", "-d", *size, f"{program} {server.host} {server.port} ann")
        self.do("set", "-g", "window-size", "manual")
        self.wait_for("enteryourmessage>")

    def do(self, *words: str) -> str:
        command = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT).stdout

    def shown(self) -> str:
        """Return the screen and the scrollback, without blanks."""
        return "".join(self.do("capture-pane", "-p", "-S", "-").split())

    def resize(self, columns: int) -> None:
        """Make the window so wide, and wait until the program has been told."""
        self.do("resize-window", "-x", str(columns), "-y", "24")
        tty = self.do("display-message", "-p", "#{pane_tty}").strip()
        with open(tty) as terminal:  # noqa: PTH123 - it is no file to be read
            while os.get_terminal_size(terminal.fileno()).columns != columns:
                time.sleep(0.01)

    def type(self, text: str) -> None:
        """Type it, and wait until the end of it is shown."""
        self.do("send-keys", "-l", text)
        self.wait_for(text.rsplit(maxsplit=1)[-1])

    def wait_for(self, text: str) -> None:
        while text not in self.shown():
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.do("kill-server")


@pytest.mark.parametrize("draft", ["*|short", "*|" + " ".join(f"word{number}" for number in range(20))])
@pytest.mark.parametrize("is_slow", [False, True])
def test_resize_in_tmux(server: ServerProcess, tmp_path: Path, draft: str, *, is_slow: bool) -> None:
    """Fast or slow resizes leave everything once in tmux, on the screen and above it."""
    with Tmux(server, tmp_path / "tmux", columns=100) as tmux:
        tmux.type(draft)
        typed = "".join(draft.split())
        for columns in (44, 90, 75, 60, 45, 40, 70, 100):
            tmux.resize(columns)
            if is_slow:  # nothing is drawn before the resize is done with
                tmux.do("send-keys", "-l", "!")
                typed += "!"
                tmux.wait_for(typed)
        tmux.do("send-keys", "-l", "!")
        tmux.wait_for(typed + "!")

        for text in ("connectingtoserver", "currentusers:", "enteryourmessage>", draft.split(maxsplit=1)[0]):
            assert tmux.shown().count(text) == 1, tmux.shown()


@pytest.mark.parametrize("key", ["Enter", "C-c"])
def test_draft_of_more_rows_than_tmux_has(server: ServerProcess, tmp_path: Path, key: str) -> None:
    """A long draft that is sent stands there once; one that is dropped leaves nothing."""
    with Tmux(server, tmp_path / "tmux", columns=40) as tmux:
        for part in range(10):
            tmux.type(
                "*|" * (not part) + " ".join(f"word{number}" for number in range(20 * part, 20 * part + 20))
            )
        tmux.do("send-keys", key)
        tmux.wait_for("enteryourmessage>" if key == "C-c" else "word199enteryourmessage>")

        assert tmux.shown().count("word199") == (key == "Enter"), tmux.shown()
        assert tmux.shown().endswith("enteryourmessage>")


def test_slash_commands(server: ServerProcess) -> None:
    """/who, /msg, /help and /quit do what they say; another word with a slash is not sent."""
    with LineClient(server.port, "Thị Hoa") as hoa, joined(server) as terminal:
        terminal.type('/msg "thị hoa" xin chào\r')
        assert hoa.read()["content"] == "xin chào"
        terminal.type("/who\r")
        terminal.wait(lambda lines: "  Thị Hoa" in lines and "  ann" in lines)
        terminal.type("/help\r")
        terminal.wait(lambda _: "NAME|text or /msg NAME text" in terminal.flat())
        terminal.type("/shrug\r")
        terminal.wait_for("unknown command /shrug")
        terminal.type("*|/shrug\r")
        assert hoa.read()["content"] == "/shrug"
        terminal.type("/ms\t")
        terminal.wait(lambda lines: lines[-1] == PROMPT + "/msg")
        terminal.type(" th\t")
        terminal.wait_for(PROMPT + '/msg "Thị Hoa"')
        terminal.type("chào\r")
        assert hoa.read()["content"] == "chào"
        terminal.type("/quit now\r")
        terminal.wait_for("/quit takes no argument")
        terminal.type("help\r")
        terminal.wait_for("Tab completes names")
        terminal.type("/quit\r")

        assert terminal.status() == 0


@pytest.mark.parametrize(("options", "rings"), [(["--bell"], 1), ([], 0)])
def test_bell(server: ServerProcess, options: list[str], rings: int) -> None:
    """With --bell, a direct message rings; a broadcast, and a bell character in a message, never do."""
    with LineClient(server.port, "bob") as bob, joined(server, "ann", *options) as terminal:
        bob.ask(code="outgoing_broadcast", content="quiet\a")
        bob.ask(code="outgoing", to="ann", content="loud\a")
        terminal.wait_for("loud")

        assert terminal.raw.count("\a") == rings
