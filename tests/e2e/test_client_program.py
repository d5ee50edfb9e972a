"""The client program as a person sees it: on a terminal, read through a terminal emulator, and in a pipe."""

import re
import signal
import socket
import subprocess
import sys

import pytest

from conftest import PROJECT, ServerProcess
from e2e.brief import LineClient
from e2e.brief_server import BriefServer, incoming, raw
from e2e.terminal import PROMPT, Terminal, joined, pipe, piped

pytestmark = pytest.mark.slow


def test_start_as_in_the_brief(server: ServerProcess) -> None:
    """Up to and including the prompt the screen is as the brief has it."""
    with LineClient(server.port, "bob"), joined(server) as terminal:
        shown = [line.rstrip() for line in terminal.screen.display][:6]

    assert shown == [
        f"connecting to server at 127.0.0.1, {server.port}",
        "current users:",
        "bob",
        "ann",
        "",
        PROMPT,
    ]


def test_message_while_typing(server: ServerProcess) -> None:
    """What one is typing stays whole when messages arrive, and is sent whole."""
    with LineClient(server.port, "bob") as bob, joined(server) as terminal:
        terminal.type("bob|half a sen")
        terminal.wait_for("half a sen")
        bob.ask(code="outgoing_broadcast", content="knock knock")
        bob.ask(code="outgoing", to="ann", content="who is there?")
        shown = terminal.wait_for("who is there?")
        shown = terminal.wait(lambda lines: lines[-1].startswith(PROMPT))

        assert shown[-1] == PROMPT + "bob|half a sen"
        assert re.fullmatch(r"\d\d:\d\d bob to all: knock knock", shown[-3])
        assert re.fullmatch(r"\d\d:\d\d bob to you: who is there\?", shown[-2])
        terminal.type("tence\r")
        assert bob.read() == {"code": "incoming", "from": "ann", "content": "half a sentence"}


def test_talk(server: ServerProcess) -> None:
    """One, all, who, nonsense, a message to nobody, and quit."""
    with LineClient(server.port, "bob") as bob, joined(server) as terminal:
        terminal.type("bob|your text | here\r")
        assert bob.read() == {"code": "incoming", "from": "ann", "content": "your text | here"}
        terminal.type("*|your spam here\r")
        assert bob.read() == {"code": "incoming_broadcast", "from": "ann", "content": "your spam here"}
        terminal.type("who\r")
        terminal.wait(lambda lines: "  bob" in lines)
        terminal.type("nonsense\r")
        terminal.wait_for("type NAME|text")
        terminal.type("eve|x\r")
        terminal.wait_for('nobody is called "eve"')
        terminal.type("quit\r")

        assert terminal.status() == 0


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leave_by_key(server: ServerProcess, key: str) -> None:
    """Ctrl-C and Ctrl-D leave in good order."""
    with joined(server) as terminal:
        terminal.type(key)

        assert terminal.status() == 0
    server.stop()
    assert "(quit)" in server.log()


def test_completion_and_history(server: ServerProcess) -> None:
    """Tab completes the name of somebody who came later; the arrow brings back the last line."""
    with joined(server) as terminal, LineClient(server.port, "Wolfgang") as friend:
        terminal.type("wo\t")
        terminal.wait_for(PROMPT + "Wolfgang|")
        terminal.type("hi\r")
        assert friend.read()["content"] == "hi"
        terminal.type("\x1b[A")
        terminal.wait(lambda lines: lines[-1] == PROMPT + "Wolfgang|hi")
        terminal.type("!\r")
        assert friend.read()["content"] == "hi!"


def test_nobody_moves_another_s_cursor(server: ServerProcess) -> None:
    """Escape sequences in messages and errors are shown, not obeyed; no line can be forged."""
    evil = "\x1b[2J\x1b[1;1H\x1b]0;owned\x07\x1b]52;c;eA==\x07\x9b2J\r\nann to all: forged\u202e"
    with LineClient(server.port, "bob") as bob, joined(server) as terminal:
        title = terminal.screen.title
        bob.ask(code="outgoing", to="ann", content=evil)
        bob.ask(code="outgoing", to="ann", content="the end")
        shown = terminal.wait_for("the end")

        assert shown[0].startswith("connecting to server")
        assert terminal.screen.title == title
        assert "␛[2J␛[1;1H␛]0;owned␇" in "".join(shown)
        assert not any(line.startswith("ann to all") for line in shown)
        assert "\x1b]52" not in terminal.raw


def test_busy_room() -> None:
    """However much comes in while one is typing: no message is torn by a key, and none of the keys is lost."""
    count = 500
    flood = raw(*(incoming(f"number {number}") for number in range(count)))
    with BriefServer(instead={"outgoing_broadcast": [flood]}) as brief, joined(brief) as terminal:
        terminal.type("*|go\r")
        for _ in range(20):
            terminal.type("y")
            terminal.read()
        terminal.wait(lambda lines: lines[-1] == PROMPT + "y" * 20 and f"number {count - 1}" in lines[-2])

        told = [line for line in terminal.all_lines() if "number" in line]
        assert [line[5:] for line in told] == [f" bob to you: number {number}" for number in range(count)]


def test_typing_ahead() -> None:
    """What is typed while the program waits for an answer does not get into others' messages."""
    users = {"code": "users", "users": ["ann"]}
    with BriefServer(instead={"who": [raw(users), b""]}) as brief, joined(brief) as terminal:
        brief.wait_for("who")
        terminal.type("who\r")
        brief.wait_for("who")
        terminal.type("*|typed ahead")
        brief.send(incoming("an interruption"))
        terminal.wait_for("an interruption")
        brief.send(users)
        shown = terminal.wait(lambda lines: "  ann" in lines and lines[-1] == PROMPT + "*|typed ahead")

        assert shown[-5:-3] == [PROMPT + "who", f"{shown[-4][:5]} bob to you: an interruption"]
        assert sum("typed" in line for line in shown) == 1


def test_hostile_names() -> None:
    """A server's escape sequences in names reach the screen, and the line that one types, as signs only."""
    evil = "x\x1b[2J\x1b]0;owned\x07\ny"
    taken = {"code": "error", "error": "name_taken", "message": "taken" + evil, "suggestion": evil}
    users = {"code": "users", "users": ["ann", "zed\x1b[2J", "zoe"]}
    with (
        BriefServer(instead={"hello": [raw(taken)], "who": [raw(users)] * 3}) as brief,
        Terminal(brief, "ann") as terminal,
    ):
        terminal.wait(lambda lines: lines[-1:] == ["your name:"])
        terminal.type("zoe\r")
        terminal.wait_for(PROMPT)
        terminal.type("z\t")
        shown = terminal.wait_for(PROMPT + "zoe|")

        assert "taken" + evil not in terminal.raw
        assert shown[0].startswith("connecting")
        assert "zed␛[2J" in shown
        assert terminal.screen.title == ""
    with BriefServer(instead={"hello": [raw(taken)]}) as brief:
        assert pipe(brief, "ann", "").stderr == ('the name "ann" was refused: takenx␛[2J␛]0;owned␇␊y\n')


@pytest.mark.parametrize(("environment", "colours"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour(server: ServerProcess, environment: dict[str, str], *, colours: bool) -> None:
    """Incoming lines are coloured, unless NO_COLOR is set."""
    with LineClient(server.port, "bob") as bob, joined(server, environment=environment) as terminal:
        bob.ask(code="outgoing", to="ann", content="hi")
        terminal.wait_for("bob to you: hi")

        assert bool(re.search(r"\x1b\[[\d;]*3\dm", terminal.raw)) is colours


def test_taken_name_on_a_terminal(server: ServerProcess) -> None:
    """A taken name is asked for again, with a free one offered: Enter takes it."""
    with LineClient(server.port, "ann") as ann, Terminal(server, "ANN") as terminal:
        terminal.wait_for("your name: ANN2")
        terminal.type("\r")
        terminal.wait_for(PROMPT)

        ann.ask(code="who")
        assert ann.read()["users"] == ["ann", "ANN2"]


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leave_at_the_name(server: ServerProcess, key: str) -> None:
    """Ctrl-C and Ctrl-D leave where a name is asked for, and the line above says so."""
    with LineClient(server.port, "ann"), Terminal(server, "ann") as terminal:
        shown = terminal.wait_for("your name: ann2")
        terminal.type(key)

        assert "(Ctrl-C or Ctrl-D leaves)" in " ".join(shown)
        assert terminal.status() == 1


def test_keys_before_the_question() -> None:
    """What is typed before a name is asked for is no part of the name."""
    taken = {"code": "error", "error": "name_taken", "message": "taken", "suggestion": "ann2"}
    with BriefServer(instead={"hello": [b""]}) as brief, Terminal(brief, "ann") as terminal:
        brief.wait_for("hello")
        terminal.type("echo rc=$?\recho")
        terminal.wait_for("echo rc")  # the terminal's own echo: it has the keys
        brief.send(taken)
        terminal.wait_for("your name: ann2")
        terminal.type("\r")

        assert brief.wait_for("hello")["name"] == "ann2"


def test_pipe(server: ServerProcess) -> None:
    """In a pipe: plain lines, all answers, status 0."""
    with LineClient(server.port, "bob") as bob:
        ended = pipe(server, "ann", "bob|hi\n*|all\nann|me\nwho\n\nbob|last")
        received = [bob.read() for _ in range(3)]

    assert ended.returncode == 0
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines[:6] == [
        f"connecting to server at 127.0.0.1, {server.port}",
        "current users:",
        "bob",
        "ann",
        "",
        PROMPT,
    ]
    assert sorted(re.sub(r"^\d\d:\d\d ", "", line) for line in lines[6:]) == [
        "  ann",
        "  bob",
        "ann to you: me",
        "current users:",
    ]
    assert "\x1b" not in ended.stdout
    assert [message["content"] for message in received] == ["hi", "all", "last"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("bob", "", '"bob" was refused: "bob" is here already (try bob2)'),
        ("a|b", "", "may not contain"),
        ("ann", "*|x\n\nbob|x\nnobody|x\n*|x\n*|x\n", 'line 4: nobody is called "nobody"'),
        ("ann", "\n/msg nobody x", 'line 2: nobody is called "nobody"'),
        ("ann", "who\nnonsense\n*|x", "line 2: type NAME|text"),
        ("ann", "*|x\nbob|\n", "line 2: the message is empty"),
    ],
)
def test_pipe_fails(server: ServerProcess, name: str, text: str, complaint: str) -> None:
    """What goes wrong in a pipe is one line on the standard error, and status 1."""
    with LineClient(server.port, "bob"):
        ended = pipe(server, name, text)

    assert ended.returncode == 1
    assert complaint in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("delimiter", ["", "\n"])
def test_pipe_to_a_server_of_the_brief(delimiter: str) -> None:
    """With anybody's server of the brief the program works, and sends it nothing but the brief's requests."""
    last = raw(incoming("\x1b[1mbye"), delimiter=delimiter)
    with BriefServer(delimiter=delimiter, instead={"quit": [last]}) as brief:
        ended = pipe(brief, "ann", "bob|hi|ho\n*|all\nwho")
        asked = [brief.requests.get(timeout=100) for _ in range(6)]

    assert (ended.returncode, ended.stderr) == (0, "")
    start = f"connecting to server at 127.0.0.1, {brief.port}\ncurrent users:\nbob\nann\n\n{PROMPT}\n"
    rest = "current users:\n  bob\n  ann\nbob to you: ␛[1mbye\n"
    assert re.sub(r"\d\d:\d\d ", "", ended.stdout) == start + rest
    assert asked == [
        {"code": "hello", "name": "ann"},
        {"code": "who"},
        {"code": "outgoing", "to": "bob", "content": "hi|ho"},
        {"code": "outgoing_broadcast", "content": "all"},
        {"code": "who"},
        {"code": "quit"},
    ]


def test_pipe_that_is_closed() -> None:
    """Without an input there is nothing to say; without a reader or space for the output, it ends quietly."""
    with BriefServer() as brief:
        command = f"{sys.executable} client.py 127.0.0.1 {brief.port} ann"

        def end(redirected: str) -> tuple[int, str]:
            ended = subprocess.run(
                ["bash", "-c", f"set -o pipefail; {command} {redirected}"],
                capture_output=True,
                text=True,
                cwd=PROJECT,
                check=False,
            )
            return ended.returncode, ended.stderr

        assert end("<&-") == (0, "")
        assert end("<&- >&-") == (0, "")
        assert end("</dev/null >/dev/full") == (1, "cannot print: No space left on device\n")
        assert end("</dev/null | exec true") == (1, "")


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)],
)
def test_pipe_interrupted(number: signal.Signals, status: int) -> None:
    """Ctrl-C in a pipe says quit, and is no failure; other signals say quit too."""
    with BriefServer() as brief, piped(brief) as process:
        process.send_signal(number)

        assert process.wait(10) == status
        assert brief.wait_for("quit") == {"code": "quit"}
        assert process.stderr
        assert process.stderr.read() == ""


def test_bytes_that_are_no_text(server: ServerProcess) -> None:
    """A line that is not UTF-8 is not sent, and not a success; the others are; no name is such."""

    def program(name: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "client.py", server.host, str(server.port), name],
            input=b"ann|one\nann|\xfe\nann|three\n",
            capture_output=True,
            timeout=20,
            cwd=PROJECT,
            check=False,
        )

    sent, refused = program(b"ann"), program(b"a\xff")

    assert (sent.returncode, sent.stderr) == (1, b"line 2: not sent: this is not UTF-8\n")
    assert (
        sent.stdout.count(b"ann to you: ") == sent.stdout.count(b"one\n") + sent.stdout.count(b"three\n") == 2
    )
    assert (refused.returncode, b"U+FFFD" in refused.stderr) == (1, True)


def test_pipe_without_a_server(server: ServerProcess) -> None:
    """No server is one line on the standard error, and status 1."""
    server.stop()

    ended = pipe(server, "ann", "*|x\n")

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "cannot connect" in ended.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "no such host", "\udcff"])
def test_no_connection(host: str) -> None:
    """An address where nobody listens, or that is none, is one line and status 1."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    ended = subprocess.run(
        [sys.executable, "client.py", host, str(port), "ann"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=PROJECT,
        check=False,
    )

    assert ended.returncode == 1
    assert re.fullmatch(rb"cannot connect to .*, \d+: [^\n]*\n", ended.stderr)


def test_pipe_with_a_lost_server(server: ServerProcess) -> None:
    """A server that goes in the middle is one line on the standard error, and status 1."""
    with piped(server) as process:
        server.stop()

        assert process.wait(100) == 1
        assert process.stderr
        assert process.stderr.read() == "the server is going down\n"


def test_server_that_goes_instead_of_answering() -> None:
    """A server that is lost while the program waits for an answer is one line as well."""
    with BriefServer(instead={"who": [raw({"code": "users", "users": []}), None]}) as brief:
        ended = pipe(brief, "ann", "who\n" + "*|more\n" * 10)

    assert ended.returncode == 1
    assert re.fullmatch("line 1: not sent, nor what follows: the connection was lost: [^\n]*\n", ended.stderr)


def test_server_that_sends_fields_of_its_own() -> None:
    """Optional fields of another type, as a server of dataclasses sends them, change nothing."""
    odd = {"ref": None, "features": "none", "limits": None, "server": {"v": 1}, "name": None}
    users = raw({"code": "users", "users": ["ann"], "ref": None}, incoming("hi") | {"ref": None})
    with (
        BriefServer(instead={"hello": [raw({"code": "welcome"} | odd)], "who": [users]}) as brief,
        joined(brief) as terminal,
    ):
        terminal.wait_for("bob to you: hi")


REFUSALS = [{"code": "error", "message": "taken, sorry"}, {"code": "name_in_use", "reason": "taken, sorry"}]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_name_refused_by_another_server(refusal: dict[str, str]) -> None:
    """A refusal in a server's own words is shown, and another name is asked for; so are later ones."""
    instead: dict[str, list[bytes | None]] = {"hello": [raw(refusal)], "outgoing_broadcast": [raw(refusal)]}
    with BriefServer(instead=instead) as brief, Terminal(brief, "ann") as terminal:
        terminal.wait_for('the name "ann" was refused: taken, sorry')
        terminal.type("bea\r")
        terminal.wait_for(PROMPT)
        terminal.type("*|x\r")
        brief.wait_for("outgoing_broadcast")
        terminal.wait(lambda lines: "taken, sorry" in lines)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_name_refused_by_another_server_in_a_pipe(refusal: dict[str, str]) -> None:
    """In a pipe the refusal is the end."""
    with BriefServer(instead={"hello": [raw(refusal)]}) as brief:
        ended = pipe(brief, "ann", "*|x\n")

    assert ended.returncode == 1
    assert ended.stderr == 'the name "ann" was refused: taken, sorry\n'
