"""Accounts from end to end: the program and the library with a server that keeps them in a file."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatroom import Banned, Client, ConnectionLost, Incoming, Muted, NameReserved, OwnMessage
from conftest import PROJECT, ServerProcess
from e2e.terminal import PROMPT, Terminal, joined

pytestmark = pytest.mark.slow

SECRET = "correct horse"
QUESTION = "password (Enter for another name):"


@pytest.fixture
def keeper(tmp_path: Path, loop: str) -> Iterator[ServerProcess]:
    """A server that keeps accounts; no password is in its log."""
    process = ServerProcess("--data", str(tmp_path / "chat.db"), log=tmp_path / "server.log", loop=loop)
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.log(), process.log()
    assert "horse" not in process.log()


def make_operator(name: str, folder: Path) -> None:
    command = [sys.executable, "-m", "chatroom", "account", "operator", name, "--data", str(folder / "chat.db")]
    subprocess.run(command, check=True, cwd=PROJECT, stdout=subprocess.DEVNULL)


def test_a_name_of_ones_own(keeper: ServerProcess, tmp_path: Path) -> None:
    """It is registered, asked for, kept until the next start, and shared by two devices."""
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with joined(keeper, "ann") as terminal:
        terminal.type(f"/register\r{SECRET}\r{SECRET}\r")
        terminal.wait_for("the name is yours now")
        terminal.type(f"/register\r{SECRET}\r{SECRET}!\r{SECRET}!\r")
        terminal.wait_for("the password has been changed")
        terminal.type("quit\r")
        assert terminal.status() == 0
    with Terminal(keeper, "ann", "--stay", environment=state) as terminal:
        terminal.wait_for(QUESTION)
        terminal.type(f"{SECRET}\r")
        terminal.wait_for("this is not the password")
        terminal.wait(lambda lines: lines[-1] == QUESTION)
        terminal.type(f"{SECRET}!\r")
        terminal.wait_for(PROMPT)
        terminal.type("quit\r")
        assert terminal.status() == 0
        assert "horse" not in terminal.raw
    with Client.connect(keeper.host, keeper.port, "bob") as bob:
        bob.send("ann", "while you were away")
        with joined(keeper, "ann", "--stay", environment=state) as terminal:
            terminal.wait_for("bob to you: while you were away")
            other = Client.connect(keeper.host, keeper.port, "ann", password=f"{SECRET}!")
            other.send("bob", "back again")
            other.close()
            terminal.wait_for("ann to bob: back again")
            terminal.type("bob|from here\r")
            assert [one.content for _ in range(2) if isinstance(one := bob.receive(100), Incoming)] == [
                "back again",
                "from here",
            ]


def test_order_in_the_house(keeper: ServerProcess, tmp_path: Path) -> None:
    """An operator mutes, kicks and bans; who it is done to is told so, and why."""
    with Client.connect(keeper.host, keeper.port, "ann") as ann:
        ann.register(SECRET)
    make_operator("ann", tmp_path)
    bob = Client.connect(keeper.host, keeper.port, "bob", reconnect=True)
    with joined(keeper, "ann", environment={"CHATROOM_PASSWORD": SECRET}) as terminal:
        terminal.type("/mute bob 5 too loud\r")
        terminal.wait_for("bob is muted for 5 minutes: too loud")
        with pytest.raises(Muted, match="too loud"):
            bob.broadcast("x")
        terminal.type("/unmute bob\r")
        terminal.wait_for("bob is no longer muted")
        bob.broadcast("thank you")
        terminal.wait_for("bob to all: thank you")
        terminal.type("/ban bob 0 spam\r")
        terminal.wait_for("bob is banned for good: spam")
        with pytest.raises(ConnectionLost, match="banned: spam"):
            bob.receive(100)
        with pytest.raises(Banned):
            Client.connect(keeper.host, keeper.port, "bob")
        terminal.type("/bans\r")
        terminal.wait(lambda lines: bool(re.search("bob banned by ann .* for good: spam", " ".join(lines))))
        terminal.type("/unban bob\r")
        terminal.wait_for("bob is no longer banned")
        with Client.connect(keeper.host, keeper.port, "bob") as bob:
            terminal.type("/kick bob\r")
            terminal.wait_for("bob was disconnected")
            with pytest.raises(ConnectionLost, match="kicked"):
                bob.receive(100)
    with pytest.raises(NameReserved):
        Client.connect(keeper.host, keeper.port, "ann")


def test_bots_that_run_twice(keeper: ServerProcess) -> None:
    """Two bots of one account both hear what they are told, and neither answers the other."""
    with Client.connect(keeper.host, keeper.port, "robot") as robot:
        robot.register(SECRET)
    robots = [Client.connect(keeper.host, keeper.port, "robot", password=SECRET) for _ in range(2)]
    with Client.connect(keeper.host, keeper.port, "ann") as ann:
        assert ann.users() == ["robot", "ann"]
        ann.send("robot", "hi")
        for robot in robots:
            while isinstance(message := robot.receive(100), OwnMessage):
                pass
            assert isinstance(message, Incoming)
            robot.send(message.from_, "you said hi")
        heard = [ann.receive(100) for _ in robots]
        elsewhere = robots[0].receive(100)

    assert {one.content for one in heard if isinstance(one, Incoming)} == {"you said hi"}
    assert isinstance(elsewhere, OwnMessage)
    for robot in robots:
        robot.close()


def test_readme_example_with_a_name(keeper: ServerProcess, tmp_path: Path) -> None:
    """The README's program with a name of its own runs as printed, but for the port."""
    examples = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    script = tmp_path / "herald.py"
    script.write_text(examples[3].replace("7777", str(keeper.port)))
    with Client.connect(keeper.host, keeper.port, "ann") as ann:
        subprocess.run([sys.executable, str(script)], check=True)

        assert "hear, hear" in str(ann.receive(100))
