"""Names with a password, several devices and operators, as a person sees them; a password is never seen."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from conftest import PROJECT
from e2e.account_server import AccountServer, refusal
from e2e.brief_server import BriefServer
from e2e.terminal import PROMPT, Terminal, joined

pytestmark = pytest.mark.slow

SECRET = "correct horse"
QUESTION = "password (Enter for another name):"
NEW = "new password (8 to 128 characters):"


def without_times(lines: list[str]) -> list[str]:
    return [
        re.sub(r"^\d\d\d\d-\d\d-\d\d |^\d\d:\d\d ", "", re.sub(r"^\S+ \d\d:\d\d ", "", line)) for line in lines
    ]


def pipe(
    server: AccountServer | BriefServer, text: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "client.py", server.host, str(server.port), "ann", *options],
        input=text,
        cwd=PROJECT,
        env={**os.environ, "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_password_is_asked_for() -> None:
    """A reserved name's password is asked for until it is right, and nothing of it is shown."""
    with AccountServer(accounts={"ann": SECRET}) as server, Terminal(server, "ann") as terminal:
        terminal.wait_for(QUESTION)
        terminal.type("wrong horse\r")
        terminal.wait_for("no: bad_password")
        terminal.wait(lambda lines: lines[-1] == QUESTION)
        terminal.type(SECRET)
        terminal.type("\x12\r")  # Ctrl-R would show what is searched for
        terminal.wait_for(PROMPT)
        terminal.type("\x1b[A\x1b[A*|hi\r")
        asked = [server.wait_for("hello").get("password") for _ in range(3)]
        assert server.wait_for("outgoing_broadcast")["content"] == "hi"
        terminal.type("quit\r")

        assert terminal.status() == 0
        assert asked == [None, "wrong horse", SECRET]
        assert "horse" not in terminal.raw
        assert "****" not in terminal.raw


def test_another_name_instead() -> None:
    """Who does not know the password takes another name."""
    with AccountServer(accounts={"ann": SECRET}) as server, Terminal(server, "ann") as terminal:
        terminal.wait_for(QUESTION)
        terminal.type("wrong horse\r")
        terminal.wait_for("no: bad_password")
        terminal.wait(lambda lines: lines[-1] == QUESTION)
        terminal.type("\r")
        terminal.wait(lambda lines: lines[-1] == "your name: ann2")
        terminal.type("\r")
        terminal.wait_for(PROMPT)

        assert [server.wait_for("hello")["name"] for _ in range(3)] == ["ann", "ann", "ann2"]
        assert terminal.flat().count("no: name_reserved") == 1
        assert terminal.flat().count("no: bad_password") == 1  # it is not said again
        assert "was refused" not in terminal.flat()


def test_name_that_no_password_opens() -> None:
    """If nobody has registered a reserved name, as one that was removed, another name is asked for."""
    reserved = refusal("name_reserved", suggestion="ann2")
    with AccountServer(instead={"hello": [reserved]}) as server, Terminal(server, "ann") as terminal:
        terminal.wait_for(QUESTION)
        terminal.type(f"{SECRET}\r")
        terminal.wait(lambda lines: lines[-1] == "your name: ann2")
        terminal.type("\r")
        terminal.wait_for(PROMPT)

        assert "password" not in [server.wait_for("hello") for _ in range(3)][-1]


@pytest.mark.parametrize("given", [{}, {"CHATROOM_PASSWORD": SECRET}])
def test_account_where_guests_are_banned(given: dict[str, str]) -> None:
    """Who is banned as a guest can come with an account's password."""
    with (
        AccountServer(accounts={"ann": SECRET}, instead={"hello": [refusal("banned")]}) as server,
        Terminal(server, "ann", environment=given) as terminal,
    ):
        if not given:
            terminal.wait_for("no: banned; if you have an account, enter its password")
            terminal.wait_for(QUESTION)
            terminal.type(f"{SECRET}\r")
        terminal.wait_for(PROMPT)

        assert [server.wait_for("hello").get("password") for _ in range(2)] == [None, SECRET]


def test_account_that_is_banned() -> None:
    """Then no other password is tried."""
    banned = refusal("banned")
    with (
        AccountServer(accounts={"ann": SECRET}, instead={"hello": [banned, banned]}) as server,
        Terminal(server, "ann") as terminal,
    ):
        terminal.wait_for(QUESTION)
        terminal.type(f"{SECRET}\r")

        assert terminal.status() == 1
        assert terminal.lines()[-1] == "the server refused: no: banned"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("name_reserved", "no: name_reserved; set CHATROOM_PASSWORD to its password"),
        ("banned", "no: banned; if you have an account, set CHATROOM_PASSWORD to its password"),
        ("slow_down", "the server refused: no: slow_down; try again in 2 seconds"),
    ],
)
def test_refused_in_a_pipe(error: str, said: str) -> None:
    """What is to be done is said."""
    with AccountServer(instead={"hello": [refusal(error, retry_after=1.5)]}) as server:
        done = pipe(server, "")

    assert (done.returncode, done.stderr) == (1, f"{said}\n")


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leave_at_the_question(key: str) -> None:
    """Ctrl-C and Ctrl-D leave, as at each question."""
    with AccountServer(accounts={"ann": SECRET}) as server, Terminal(server, "ann") as terminal:
        terminal.wait_for(QUESTION)
        terminal.type(f"half{key}")

        assert terminal.status() == 1
        assert "half" not in terminal.raw


def test_password_from_the_environment() -> None:
    """The variable answers, on a terminal and in a pipe, but only if the name is reserved."""
    with AccountServer(accounts={"ann": SECRET}) as server:
        with joined(server, environment={"CHATROOM_PASSWORD": SECRET}) as terminal:
            terminal.type("quit\r")
            assert terminal.status() == 0
        done = pipe(server, "*|backup done\n", CHATROOM_PASSWORD=SECRET)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.wait_for("outgoing_broadcast")["content"] == "backup done"
        del server.accounts["ann"]
        server.codes()
        assert pipe(server, "", CHATROOM_PASSWORD=SECRET).returncode == 0
        assert "password" not in server.wait_for("hello")


def test_pipe_with_a_wrong_password() -> None:
    """In a pipe nobody is asked; what is wrong is said, without what was given."""
    with AccountServer(accounts={"ann": SECRET}) as server:
        done = pipe(server, "*|lost\n", CHATROOM_PASSWORD="wrong horse")

        assert done.returncode == 1
        assert done.stderr == "no: bad_password; it was taken from CHATROOM_PASSWORD\n"
        assert "outgoing_broadcast" not in server.codes()


def test_wrong_password_from_the_environment() -> None:
    """On a terminal, somebody is asked when the variable has the wrong one."""
    with (
        AccountServer(accounts={"ann": SECRET}) as server,
        Terminal(server, "ann", environment={"CHATROOM_PASSWORD": "wrong horse"}) as terminal,
    ):
        terminal.wait_for("no: bad_password")
        terminal.wait_for(QUESTION)
        terminal.type(f"{SECRET}\r")
        terminal.wait_for(PROMPT)

        assert "horse" not in terminal.raw


def test_register() -> None:
    """`/register` asks twice; what comes meanwhile stands above the question, and what is typed ahead waits."""
    with AccountServer() as server, joined(server) as terminal:
        terminal.type("/register\r")
        terminal.wait(lambda lines: lines[-1] == NEW)
        terminal.type("corr")
        server.send({"code": "incoming_broadcast", "from": "bob", "content": "hello", "id": "1", "time": 1.5})
        terminal.wait(lambda lines: lines[-1] == NEW and "bob to all: hello" in lines[-2])
        terminal.type(f"ect horse\r{SECRET}\r*|typed ahead\r")
        terminal.wait_for("the name is yours now: nobody can use it without its password")
        assert server.wait_for("register")["password"] == SECRET
        assert server.wait_for("outgoing_broadcast")["content"] == "typed ahead"
        terminal.type("/register\r")
        terminal.wait(lambda lines: lines[-1] == "current password:")
        terminal.type(f"{SECRET}\r{SECRET}!\r{SECRET}!\r")
        terminal.wait_for("your other sessions have ended")
        assert server.accounts == {"ann": f"{SECRET}!"}
        terminal.type(f"/register\r{SECRET}!\rone horse\ranother horse\r")
        terminal.wait_for("the two passwords differ")
        terminal.type("/register\r\r*|the end\r")
        server.wait_for("outgoing_broadcast")
        server.send({"code": "incoming_broadcast", "from": "bob", "content": "bye", "id": "2", "time": 1.5})
        terminal.wait_for("bye")
        terminal.type("\x1b[A\x1b[A\x1b[A")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}*|typed ahead")

        assert "horse" not in terminal.raw


def test_register_is_given_up() -> None:
    """Ctrl-C at the question drops it, and the chat goes on."""
    with AccountServer() as server, joined(server) as terminal:
        terminal.type("/register\r")
        terminal.wait_for(NEW)
        terminal.type("half\x03")
        terminal.type("*|still here\r")

        assert server.wait_for("outgoing_broadcast")["content"] == "still here"
        assert "half" not in terminal.raw
        assert not server.accounts


def test_leave_while_the_password_is_on_its_way() -> None:
    """Ctrl-C leaves too while there is no editor to take it, since the server does not answer."""
    with AccountServer(instead={"register": [{}]}) as server, joined(server) as terminal:
        terminal.type(f"/register\r{SECRET}\r{SECRET}\r")
        server.wait_for("register")
        terminal.type("\x03")

        assert terminal.status() == 0
        assert server.wait_for("quit")
        assert "did not answer" not in terminal.flat()  # it was not waited for
        assert "horse" not in terminal.raw


def test_register_without_a_connection() -> None:
    """If the connection is lost at the question, nothing is waited for."""
    with AccountServer(instead={"hello": []}) as server, joined(server) as terminal:
        terminal.type("/register\r")
        terminal.wait_for(NEW)
        server.instead["hello"] = [None] * 1000
        server.hang_up()
        terminal.wait_for("reconnecting")
        terminal.type(f"{SECRET}\r{SECRET}\r")
        terminal.wait(lambda lines: lines[-1] == "offline>")
        terminal.wait_for("not sent: you are offline")


def spawn(server: AccountServer, name: str) -> pexpect.spawn:
    """Start the program on a terminal that can only print."""
    command = f"TERM=dumb {sys.executable} client.py {server.host} {server.port} {name}"
    return pexpect.spawn("sh", ["-c", command], cwd=PROJECT, encoding="utf-8", timeout=100)


def test_terminal_that_can_only_print(tmp_path: Path) -> None:
    """There too the password is asked for without echo, at the start and by `/register`."""
    log = tmp_path / "log"
    with AccountServer(accounts={"ann": SECRET}) as server, log.open("w") as seen:
        process = spawn(server, "ann")
        process.logfile_read = seen
        process.expect_exact(QUESTION)
        process.waitnoecho()
        process.sendline(SECRET)
        process.expect_exact(PROMPT)
        process.sendline("/register")
        for question, answer in (
            ("current password:", SECRET),
            (NEW, "new horse"),
            ("once more:", "new horse"),
        ):
            process.expect_exact(question)
            process.waitnoecho()
            process.sendline(answer)
        process.expect_exact("the password has been changed")
        process.sendline("*|seen")
        process.expect_exact("*|seen")  # it is echoed again
        process.sendline("/register")
        process.expect_exact("current password:")
        process.sendeof()
        process.expect(pexpect.EOF)
        process.close()

    assert process.exitstatus == 0
    assert server.accounts == {"ann": "new horse"}
    assert "horse" not in log.read_text()


def test_stay(tmp_path: Path) -> None:
    """With `--stay` the next start needs no password; only the person can read the file."""
    state = {"XDG_STATE_HOME": str(tmp_path)}
    with AccountServer(accounts={"ann": SECRET}) as server:
        with Terminal(server, "ann", "--stay", environment=state) as terminal:
            terminal.wait_for(QUESTION)
            terminal.type(f"{SECRET}\r")
            terminal.wait_for(PROMPT)
            terminal.type("quit\r")
            assert terminal.status() == 0
        assert server.codes()[-1] == "end"
        assert "quit" not in server.codes()
        with joined(server, "ann", "--stay", environment=state) as terminal:
            hello = server.wait_for("hello")
            assert hello["session"] == "session 1"
            assert "password" not in hello
            terminal.process.kill(signal.SIGHUP)
            server.wait_for("end")
        (file,) = (tmp_path / "chatroom").iterdir()
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert json.loads(file.read_text()) == {
            "host": server.host,
            "port": server.port,
            "name": "ann",
            "session": "session 1",
        }
        with joined(server, "bob", "--stay", environment=state):
            assert "session" not in server.wait_for("hello")
            assert len([*file.parent.iterdir()]) == 2
        server.codes()
        with Terminal(server, "ann", environment=state) as terminal:
            terminal.wait_for(QUESTION)  # without --stay, nothing is kept or used
            assert "session" not in server.wait_for("hello")


def test_stay_after_the_session_has_ended(tmp_path: Path) -> None:
    """A session that is not known any longer is replaced by that which the password brings."""
    state = {"XDG_STATE_HOME": str(tmp_path), "CHATROOM_PASSWORD": SECRET}
    with AccountServer(accounts={"ann": SECRET}) as server:
        assert pipe(server, "", "--stay", **state).returncode == 0
        server.sessions.clear()
        assert pipe(server, "", "--stay", **state).returncode == 0
        (file,) = (tmp_path / "chatroom").iterdir()
        kept = json.loads(file.read_text())["session"]

        assert server.sessions == {kept: "ann"}
        assert "quit" not in server.codes()
        assert pipe(server, "", "--stay", XDG_STATE_HOME=str(tmp_path)).returncode == 0


def test_state_that_cannot_be_kept(tmp_path: Path) -> None:
    """What is in the way of the file is said, and one can chat; a file that is none of ours is passed over."""
    (tmp_path / "chatroom").write_text("no folder")
    with AccountServer(accounts={"ann": SECRET}) as server:
        given = {"CHATROOM_PASSWORD": SECRET}
        done = pipe(server, "*|hi\n", "--stay", XDG_STATE_HOME=str(tmp_path), **given)
        assert done.stderr.startswith("your session is not kept: ")
        assert "outgoing_broadcast" in server.codes()
        state = tmp_path / "state"
        assert pipe(server, "", "--stay", XDG_STATE_HOME=str(state), **given).returncode == 0
        (file,) = (state / "chatroom").iterdir()
        for wrong in "", "{", '{"session": 1}', '{"session": "' + 100 * "x" + '"}':
            file.write_text(wrong)
            server.codes()
            assert pipe(server, "", "--stay", XDG_STATE_HOME=str(state), **given).returncode == 0
            assert "session" not in server.wait_for("hello")


def test_other_devices() -> None:
    """What one says elsewhere is shown as one's own; nothing of it is unread, and no bell is rung."""
    with (
        AccountServer(accounts={"ann": SECRET}) as server,
        joined(server, "ann", "--bell", environment={"CHATROOM_PASSWORD": SECRET}) as terminal,
    ):
        own = {"from": "ann", "time": 0.0}
        server.send(
            {"code": "incoming", "from": "bob", "content": "tea?", "id": "1", "time": 0.0},
            {"code": "incoming", "to": "bob", "content": "yes", "id": "2", **own},
            {"code": "incoming_broadcast", "content": "back at five", "id": "3", **own},
            {"code": "incoming_broadcast", "room": "chess", "content": "e4", "id": "4", **own},
            {"code": "forgotten", "id": "3"},
        )
        terminal.wait_for("taken back:")
        shown = without_times(terminal.lines())

        assert [line for line in shown if "ann" in line or "tea" in line][-5:-1] == [
            "bob to you: tea?",
            "ann to bob: yes",
            "ann to all: back at five",
            "#chess ann: e4",
        ]
        assert terminal.raw.count("\x07") == 1
        assert "unread" not in "".join(terminal.lines())


def test_operator() -> None:
    """An operator's commands are in `/help` and can be completed; what was done is said."""
    with (
        AccountServer(accounts={"ann": SECRET}, operators=("ann",)) as server,
        joined(server, environment={"CHATROOM_PASSWORD": SECRET}) as terminal,
    ):
        terminal.type("/help\r")
        terminal.wait_for("/bans")
        terminal.type("/ki\t")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}/kick")
        terminal.type(" bo\t")
        terminal.wait(lambda lines: lines[-1].startswith(f"{PROMPT}/kick bob"))
        terminal.type("too loud\r")
        terminal.wait_for("bob was disconnected: too loud")
        for typed, shown in {
            "/mute bob 1 loud": "bob is muted for 1 minute: loud",
            "/mute bob": "bob is muted for 60 minutes",
            "/unmute bob": "bob is no longer muted",
            '/ban "Zoë Ann" 0': '"Zoë Ann" is banned for good (2 others are on the same addresses)',
            "/ban bob 3 strikes": "bob is banned for 3 minutes (2 others are on the same addresses): strikes",
            "/ban bob 999999999": "bob is banned until 3",
            '/unban "Zoë Ann"': '"Zoë Ann" is no longer banned',
            "/kick": "type /kick NAME",
        }.items():
            terminal.type(f"{typed}\r")
            terminal.wait_for(shown)
        terminal.type("/bans\r")
        terminal.wait_for("bob muted")
        rows = [line for line in " ".join(terminal.lines()).split("  ") if "eve" in line or "bob muted" in line]
        kicked = server.wait_for("kick")

    assert (kicked["name"], kicked["reason"]) == ("bob", "too loud")
    assert server.wait_for("mute")["reason"] == "loud"
    assert "eve banned by ann" in rows[-2]
    assert rows[-2].endswith("for good: spam")


def test_made_an_operator_meanwhile() -> None:
    """Who has an account finds the operators' commands without another login."""
    with (
        AccountServer(accounts={"ann": SECRET}) as server,
        joined(server, environment={"CHATROOM_PASSWORD": SECRET}) as terminal,
    ):
        terminal.type("/help\r")
        terminal.wait_for("for operators:")
        terminal.type("/ki\t")
        terminal.wait(lambda lines: lines[-1] == f"{PROMPT}/kick")
        terminal.type(" bob\r")
        terminal.wait_for("bob was disconnected")


def test_forget_for_others() -> None:
    """An operator takes back the last message of somebody that was shown and has the text, by its id."""
    with (
        AccountServer(accounts={"ann": SECRET}, operators=("ann",)) as server,
        joined(server, environment={"CHATROOM_PASSWORD": SECRET}) as terminal,
    ):
        said = {"code": "incoming_broadcast", "time": 0.0}
        server.send(
            said | {"from": "bob", "content": "all BUY this", "id": "1"},
            said | {"from": "bob", "content": "or that", "id": "2", "room": "chess"},
            said | {"from": "eve", "content": "buy nothing", "id": "3"},
        )
        terminal.wait_for("buy nothing")
        terminal.type("/forget BOB|buy\r")
        terminal.wait_for("taken back:")
        assert server.wait_for("forget")["id"] == "1"
        terminal.type("/forget bob|to all\r")
        terminal.wait_for("you have said nothing like that")
        terminal.type('/forget "bob"|\r')
        terminal.wait(lambda lines: any("#chess bob: or that" in line for line in lines[-3:]))
        assert server.wait_for("forget")["id"] == "2"
        terminal.wait(lambda lines: "unread" not in lines[-2])


def test_guest_and_server_of_the_brief() -> None:
    """Who is no operator finds nothing of that in `/help`; a server of the brief has none of it."""
    with AccountServer() as server, joined(server) as terminal:
        terminal.type("/help\r")
        terminal.wait_for("/register")
        terminal.pause(0.1)
        assert "/kick" not in terminal.flat()
    with BriefServer() as brief, joined(brief, environment={"CHATROOM_PASSWORD": SECRET}) as terminal:
        terminal.type("/register\r")
        terminal.wait_for("unknown command /register: this server has no accounts and no operators")
        terminal.type("/kick bob\r")
        terminal.wait_for("unknown command /kick: this server has no accounts and no operators")
        terminal.type("/help\r/kick|hi\r")
        assert brief.wait_for("outgoing")["to"] == "/kick"
        assert "/register  " not in terminal.flat()


@pytest.mark.parametrize(
    ("closing", "said"),
    [
        ({"reason": "kicked", "message": "no \x1bspam"}, "the server ended the connection: no ␛spam"),
        (
            {"reason": "replaced", "message": "its owner has come"},
            "the server ended the connection: its owner has come",
        ),
        ({"reason": "kicked"}, "an operator ended the connection"),
        ({"reason": "banned", "message": "spam"}, "the server ended the connection: you are banned: spam"),
    ],
)
def test_shown_the_door(closing: dict[str, str], said: str) -> None:
    """Who is kicked or banned is told so, and why, and the program ends."""
    with AccountServer() as server, joined(server) as terminal:
        server.send({"code": "closing", "reconnect": False, **closing})
        server.hang_up()

        assert terminal.status() == 1
        assert said in " ".join(terminal.lines())


def test_name_is_reserved_meanwhile() -> None:
    """Whose name has been given to somebody while the connection was lost takes another one."""
    with AccountServer() as server, joined(server) as terminal:
        server.accounts["ann"] = SECRET
        server.sessions.clear()
        server.hang_up()
        terminal.wait_for("still offline: no: name_reserved; its password is asked for at the start")
        terminal.wait_for("/name ann2 takes another name")
        terminal.type("/name ann2\r")
        terminal.wait_for("connected again, as ann2")
