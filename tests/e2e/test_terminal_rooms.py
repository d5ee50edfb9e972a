"""Rooms, the past and who came and went, as a person sees them; and that a pipe knows nothing of them."""

import asyncio
import re
import sys
import threading
from pathlib import Path
from typing import Self

import pexpect
import pytest

from chatroom import Client, IncomingBroadcast
from conftest import PROJECT, ServerProcess
from e2e.brief import LineClient
from e2e.brief_server import BriefServer
from e2e.cable import Cable
from e2e.terminal import PROMPT, joined, pipe

pytestmark = pytest.mark.slow

OFFLINE = "offline>"


def connect(server: ServerProcess, name: str) -> Client:
    return Client.connect(server.host, server.port, name, reconnect=True)


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"^\d\d:\d\d ", "", line) for line in lines]


def test_last_lines_at_the_start(server: ServerProcess) -> None:
    """The last 20 lines of the lobby stand above the first prompt, below what the brief wants; each once."""
    with connect(server, "bob") as bob:
        for number in range(25):
            bob.broadcast(f"number {number}")
        with joined(server) as terminal:
            bob.broadcast("the end")
            terminal.wait_for("the end")
            shown = without_times(terminal.all_lines())

    assert shown[:4] == [f"connecting to server at 127.0.0.1, {server.port}", "current users:", "bob", "ann"]
    expected = [f"bob to all: number {number}" for number in range(5, 25)]
    assert [line for line in shown if "to all" in line] == [*expected, "bob to all: the end"]


def test_room(server: ServerProcess) -> None:
    """What is said in a room is told from the lobby's; whoever comes later sees what was said."""
    with connect(server, "bob") as bob, joined(server) as terminal:
        bob.join("the den")
        bob.broadcast("before", room="the den")
        bob.broadcast("/me yawns", room="the den")
        terminal.type('/join "The Den"\r')
        terminal.wait_for('you are in #"the den", with bob: type #"the den"|text')
        bob.broadcast("in the den", room="the den")
        bob.broadcast("in the lobby")
        terminal.wait_for("in the lobby")
        said = [line for line in without_times(terminal.lines()) if "bob" in line]

        assert said[1:] == [
            '#"the den" bob: before',
            '#"the den" * bob yawns',
            'you are in #"the den", with bob: type #"the den"|text',
            '#"the den" bob: in the den',
            "bob to all: in the lobby",
        ]
        terminal.type('#the den|hi\r#"the den"|ho\r/me #the den|waves\r')
        heard = [bob.receive() for _ in range(3)]
        assert [(news.content, news.room) for news in heard if isinstance(news, IncomingBroadcast)] == [
            ("hi", "the den"),
            ("ho", "the den"),
            ("/me waves", "the den"),
        ]
        terminal.type("/rooms\r")
        terminal.wait_for('#"the den" (2 users, with you)')
        terminal.type("/who #the den\r")
        terminal.wait(lambda lines: 'users in #"the den":' in lines and "  bob" in lines)
        terminal.type("/leave\r")
        terminal.wait_for('you have left #"the den"')
        terminal.type('#"the den"|x\r')
        terminal.wait_for('you are not in the room "the den"; join it first: type /join #"the den"')
        terminal.type("/leave\r")
        terminal.wait_for("you are in no room")
        terminal.type("quit\r")

        assert terminal.status() == 0


def test_who_came_and_went(server: ServerProcess) -> None:
    """Who comes and goes is shown, many on one line."""
    with joined(server) as terminal:
        people = [LineClient(server.port, f"user{number}") for number in range(14)]
        terminal.wait(lambda _: "more came" in terminal.flat() or terminal.flat().count("came") > 1)
        for person in people:
            person.socket.close()
        terminal.wait(lambda _: terminal.flat().count("user") >= 4 and " left" in terminal.flat())
        shown = " ".join(terminal.all_lines())

        assert re.search(r"\d\d:\d\d user0.* came", shown)
        assert re.search(r"\d\d:\d\d user\d+.* left", shown)


def test_past_is_asked_for(server: ServerProcess) -> None:
    """/history and /find show what was said; /forget takes one's own back, and those who saw it are told."""
    with connect(server, "bob") as bob, joined(server) as terminal, joined(server, "eve") as eve:
        for number in range(30):
            bob.broadcast(f"number {number}")
        terminal.type("*|my secret\r")
        eve.wait_for("ann to all: my secret")
        terminal.type("/find number 2\r")
        terminal.type("/history 1\r")
        terminal.wait_for("ann to all: my secret")
        found = without_times(terminal.all_lines())
        found = found[found.index(f"{PROMPT}/find number 2") :]
        assert [line for line in found if "bob" in line] == [
            f"bob to all: number {number}" for number in (2, *range(20, 30))
        ]
        terminal.type("/forget\r")
        terminal.wait_for("taken back: *|my secret")
        eve.wait(
            lambda lines: any(
                re.fullmatch(r"taken back: \d\d:\d\d ann to all: my secret", line) for line in lines
            )
        )
        eve.type("/find secret\r")
        eve.wait_for("no such messages in the lobby, or to you")


def test_unread(server: ServerProcess) -> None:
    """Above the prompt stands what is unread, until one writes there, or presses Enter."""
    with connect(server, "bob") as bob, joined(server) as terminal:
        bob.join("chess")
        terminal.type("/join chess\r")
        terminal.wait_for("you are in #chess")
        bob.broadcast("e4", room="chess")
        bob.broadcast("e5", room="chess")
        bob.send("ann", "coffee?")
        terminal.wait(lambda lines: lines[-2:] == ["unread: #chess (2), bob (1)", PROMPT])
        terminal.type("#ch\t")
        terminal.wait(lambda lines: lines[-2:] == ["unread: bob (1)", f"{PROMPT}#chess|"])
        terminal.type("\x03\r")
        terminal.wait(lambda lines: lines[-2:] == [PROMPT, PROMPT])
        assert "unread" not in terminal.flat()


def test_rooms_are_completed(server: ServerProcess) -> None:
    """Tab offers rooms where a command takes one: all of them to join, else those that one is in."""
    with connect(server, "bob") as bob, joined(server) as terminal:
        bob.join("the den")
        terminal.type("/join the\t")
        terminal.wait(lambda lines: f'{PROMPT}/join #"the den"' in lines)
        terminal.type("\r")
        terminal.wait_for('you are in #"the den"')
        for begun, offer in {
            "/who #": '/who #"the den"',
            "/history #": '/history #"the den"',
            "/history bo": "/history bob",
            "/me #": '/me #"the den"|',
            "/find #the": '/find #"the den"|',
            "/find bo": "/find bob|",
            "/msg #": '/msg #"the den"',
            "/leave ": '/leave #"the den"',
        }.items():
            terminal.type(f"{begun}\t")
            terminal.wait(lambda lines, offer=offer: PROMPT + offer in lines)  # type: ignore[misc]
            terminal.type("\x03")


def test_narrow(server: ServerProcess) -> None:
    """At 40 columns all is broken between words, and nothing of the prompt is left behind."""
    with connect(server, "bob") as bob, joined(server) as terminal:
        terminal.resize(40, breaks=True)
        for room in ("chess", "gardening", "photography"):
            bob.join(room)
            terminal.type(f"/join {room}\r")
            terminal.wait_for(f"type #{room}|text")
            bob.broadcast("x", room=room)
        row = ["unread: #chess (1), #gardening (1), #ph…", PROMPT]
        terminal.wait(lambda lines: lines[-2:] == row)
        bob.broadcast("hello")
        terminal.wait(lambda lines: lines[-3].endswith("bob to all: hello") and lines[-2:] == row)

        assert terminal.flat().count("unread") == 1
        terminal.type("/help\r")
        terminal.wait_for("Enter on an empty line marks all as read")
        shown = terminal.all_lines()
        assert shown[shown.index("/rooms, /who ROOM") + 1 :][:1] == ["  which rooms there are; who is in one"]


class CableThread:
    """A way to the server that can be cut, in a thread of its own."""

    host = Cable.host

    def __init__(self, server: ServerProcess) -> None:
        self._cable = Cable(server.port)
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=[self._run()])

    @property
    def port(self) -> int:
        return self._cable.port

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_open.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join()

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._cable.cut)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._cable.mend)

    async def _run(self) -> None:
        self._loop, self._is_over = asyncio.get_running_loop(), asyncio.Event()
        async with self._cable:
            self._is_open.set()
            await self._is_over.wait()


def test_missed(server: ServerProcess) -> None:
    """What was said while the connection was lost comes when it is there again, in rooms too, and once."""
    with CableThread(server) as cable, connect(server, "bob") as bob, joined(cable) as terminal:
        bob.join("chess")
        terminal.type("/join chess\r")
        terminal.wait_for("you are in #chess")
        bob.broadcast("e4", room="chess")
        bob.broadcast("one")
        terminal.wait_for("bob to all: one")
        cable.cut()
        terminal.wait(lambda lines: lines[-1] == OFFLINE)
        bob.broadcast("e5", room="chess")
        bob.broadcast("two")
        bob.send("ann", "three")
        cable.mend()
        terminal.type("\r")
        terminal.wait_for("#chess bob: e5")
        terminal.wait_for("bob to you: three")
        shown = without_times(terminal.all_lines())

    said = [line for line in shown if re.match(r"(#chess )?bob.*:", line)]
    assert sorted(said) == [
        "#chess bob: e4",
        "#chess bob: e5",
        "bob to all: one",
        "bob to all: two",
        "bob to you: three",
    ]
    assert said.index("bob to all: two") < said.index("bob to you: three")
    assert shown.index("connected again, as ann") < shown.index("#chess bob: e5")
    assert "missing" not in "".join(shown)


def test_gap(tmp_path: Path, loop: str) -> None:
    """Where something may be missing, since the server knows nothing of us any longer, a line says so."""
    server = ServerProcess(log=tmp_path / "server.log", loop=loop)
    with joined(server) as terminal:
        terminal.type("/join chess\r")
        terminal.wait_for("you are in #chess")
        server.stop()
        terminal.wait_for("the server is going down")
        server = ServerProcess(log=tmp_path / "server.log", loop=loop, port=str(server.port))
        terminal.type("\r")
        terminal.wait_for(
            "messages may be missing here, in the lobby, and to you: /history shows what the server has"
        )
        terminal.wait_for("messages may be missing here, in #chess: /history #chess shows what the server has")
        with connect(server, "bob") as bob:
            bob.join("chess")
            bob.broadcast("e4", room="chess")
            terminal.wait_for("#chess bob: e4")
        server.stop()


@pytest.mark.parametrize("how", ["dumb", "tee"])
def test_rooms_without_a_full_terminal(server: ServerProcess, how: str) -> None:
    """Wherever somebody types there are rooms."""
    program = f"{sys.executable} client.py {server.host} {server.port} ann"
    command = f"TERM=dumb {program}" if how == "dumb" else f"{program} | cat"
    with connect(server, "bob") as bob:
        bob.broadcast("early")
        process = pexpect.spawn("sh", ["-c", command], cwd=PROJECT, encoding="utf-8", timeout=100)
        process.expect_exact(f"{PROMPT}\r\n")
        process.expect(r"\d\d:\d\d bob to all: early\r\n")
        process.sendline("/join chess")
        process.expect_exact("you are in #chess, alone")
        process.sendline("quit")
        process.expect(pexpect.EOF)
        process.close()

    assert process.exitstatus == 0


def test_pipe_knows_no_rooms(server: ServerProcess) -> None:
    """In a pipe there is no past, nobody comes or goes, and `#chess` is a user's name."""
    with connect(server, "bob") as bob, LineClient(server.port, "#chess") as chess:
        bob.broadcast("early")
        ended = pipe(server, "ann", "#chess|hi\n/rooms\nann|/me waves\nquit\n")
        assert chess.read()["content"] == "early"
        assert chess.read() == {"code": "incoming", "from": "ann", "content": "hi"}

    hint = "rooms and history need a terminal"
    assert ended.stderr == f"line 2: unknown command /rooms: {hint}\n"
    assert without_times(ended.stdout.splitlines()) == [
        f"connecting to server at 127.0.0.1, {server.port}",
        "current users:",
        "bob",
        "#chess",
        "ann",
        "",
        PROMPT,
        "ann to you: /me waves",
    ]


def test_pipe_says_where_rooms_are(server: ServerProcess) -> None:
    """Whoever writes to a room in a pipe is told that there are none; keys are not explained there."""
    ended = pipe(server, "ann", "#chess|hi\nnobody|hi\n/help\n")

    hint = "rooms and history need a terminal"
    assert ended.stderr.splitlines() == [
        f'line 1: nobody is called "#chess": {hint}',
        'line 2: nobody is called "nobody"',
    ]
    assert "NAME|text" in ended.stdout
    assert "Tab" not in ended.stdout


def test_server_of_the_brief_has_no_rooms() -> None:
    """With a server that knows only the brief, the commands are unknown, and it is asked nothing new."""
    with BriefServer() as brief, joined(brief) as terminal:
        terminal.type("/join chess\r")
        terminal.wait_for("unknown command /join: this server has no rooms and no history")
        terminal.type("#chess|hi\r")
        assert brief.wait_for("outgoing") == {"code": "outgoing", "to": "#chess", "content": "hi"}
        terminal.type("/help\r")
        terminal.wait_for("Ctrl-C drops the line")
        assert "/rooms" not in terminal.flat()
        terminal.type("quit\r")
        brief.wait_for("quit")
        assert terminal.status() == 0
