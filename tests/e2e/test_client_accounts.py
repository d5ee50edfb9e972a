"""The library with a server that keeps accounts: passwords, sessions, other devices, operators."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatroom import (
    AsyncClient,
    BadArgument,
    BadPassword,
    Banned,
    BanRecord,
    ChatroomError,
    Client,
    ConnectionLost,
    Disconnected,
    ErrorReply,
    Incoming,
    IncomingBroadcast,
    Muted,
    NameReserved,
    OutcomeUnknown,
    OwnMessage,
    Reconnected,
    Refused,
)
from chatroom.client import link, wire
from chatroom.client.wire import is_this_machine
from chatroom.protocol.messages import Hello, Register
from conftest import PROJECT
from e2e.account_server import AccountServer, refusal
from e2e.brief_server import BriefServer

pytestmark = pytest.mark.slow

SECRET = "correct horse"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to reconnect follow each other closely."""
    monkeypatch.setattr(link, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(link, "LAST_DELAY", 0.05)


def connect(server: AccountServer, name: str = "ann", **options: Any) -> Client:
    return Client.connect(server.host, server.port, name, **options)


def stamped(code: str, content: str, *, sender: str = "ann", **fields: Any) -> dict[str, Any]:
    return {
        "code": code,
        "from": sender,
        "content": content,
        "id": f"{hash(content) % 2**64:016x}",
        "time": 1.5,
    } | fields


def test_password() -> None:
    """A reserved name is opened by its password, and by nothing else; another may be tried at once."""
    with AccountServer(accounts={"ann": SECRET}) as server:
        client = Client.open(server.host, server.port)
        with pytest.raises(NameReserved) as reserved:
            client.hello("ann")
        with pytest.raises(BadPassword):
            client.hello("ann", password="wrong horse")
        assert not client.is_account
        client.hello("ann", password=SECRET)

        assert reserved.value.suggestion == "ann2"
        assert not reserved.value.temporary
        assert client.is_account
        assert client.session == "session 1"
        client.close()
        with connect(server, "bob") as guest:
            assert (guest.session, guest.is_account, guest.is_operator) == (None, False, False)


async def test_register() -> None:
    """A name becomes one's own; its password is changed for another, which is used at the return.

    So is the session that came with it: the server knows the ones from before no longer.
    """
    with AccountServer() as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)
        await client.register(SECRET)
        assert client.is_account
        with pytest.raises(Refused, match="not_allowed"):
            await client.register("battery staple")
        with pytest.raises(BadPassword):
            await client.register("battery staple", old="wrong horse")
        await client.register("battery staple", old=SECRET)
        assert client.session == "session 3"
        server.sessions.clear()
        server.wait_for("hello")
        server.hang_up()
        back = [await client.receive(timeout=100) for _ in range(2)]

        hello = server.wait_for("hello")
        assert (hello["password"], hello["session"]) == ("battery staple", "session 3")
        assert back[1] == Reconnected("ann")
        await client.close()


def test_register_is_not_repeated() -> None:
    """If the connection breaks before the answer, nobody knows which password counts; it is not asked again."""
    with AccountServer() as server, connect(server, reconnect=True) as client:
        server.wait_for("hello")
        server.instead["register"] = [None]
        with pytest.raises(OutcomeUnknown):
            client.register(SECRET)
        client.users()

        assert server.codes().count("register") == 1
        slow = refusal("slow_down", temporary=True, retry_after=5.0)
        server.instead["register"] = [slow]
        with pytest.raises(Refused, match="slow_down"):  # and nothing else waits until it may be
            client.register(SECRET)


def test_session_of_another_process() -> None:
    """Who leaves without `quit` comes back by the session alone; if it has expired, the password counts."""
    with AccountServer(accounts={"ann": SECRET}) as server:
        client = connect(server, password=SECRET)
        client.broadcast("bye")
        session = client.session
        client.close(stay=True)
        assert server.codes()[-2:] == ["outgoing_broadcast", "end"]
        with connect(server, session=session) as client:
            hello = server.wait_for("hello")
            assert (client.session, client.is_account, hello["session"]) == (session, True, session)
            assert hello["features"][-1] == "resume"
            assert not {"password", "after"} & set(hello)
        assert server.codes()[-2:] == ["quit", "end"]
        with pytest.raises(NameReserved):
            connect(server, session=session)
        with connect(server, session=session, password=SECRET) as client:
            assert client.session not in {None, session}


def test_nothing_is_missing_for_another_process() -> None:
    """A program that comes back by a session has had nothing yet: no gap is told, and nothing is held."""
    with AccountServer(sessions={"s": "ann"}) as server, connect(server, session="s", reconnect=True) as client:
        server.wait_for("hello")
        server.send(stamped("incoming", "while you were away", sender="bob"))

        assert isinstance(client.receive(timeout=100), Incoming)


def test_stay_without_a_session() -> None:
    """Where there is no session that could live on, `quit` is said as ever."""
    with BriefServer() as brief:
        client = Client.connect(brief.host, brief.port, "ann", password=SECRET, session="s")
        client.close(stay=True)
        assert brief.wait_for("quit") == {"code": "quit"}


def test_readme_example(tmp_path: Path) -> None:
    """The README's program with a name of its own runs as printed, but for the port."""
    examples = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    script = tmp_path / "herald.py"
    with AccountServer() as server:
        script.write_text(examples[3].replace("7777", str(server.port)))
        subprocess.run([sys.executable, str(script)], check=True)

        assert server.codes() == [
            "hello",
            "register",
            "quit",
            "end",
            "hello",
            "outgoing_broadcast",
            "quit",
            "end",
        ]


@pytest.mark.parametrize("error", ["name_reserved", "bad_password", "banned"])
def test_no_return(error: str) -> None:
    """These end the attempts to come back, and are told in the place of a message."""
    kinds: dict[str, type[Refused]] = {
        "name_reserved": NameReserved,
        "bad_password": BadPassword,
        "banned": Banned,
    }
    with AccountServer() as server, connect(server, reconnect=True) as client:
        server.wait_for("hello")
        server.instead["hello"] = [refusal(error)]
        server.hang_up()

        assert isinstance(client.receive(timeout=100), Disconnected)
        with pytest.raises(kinds[error]):
            client.receive(timeout=100)
        assert not client.is_connected


@pytest.mark.parametrize("reason", ["kicked", "banned"])
def test_shown_the_door(reason: str) -> None:
    """Whoever is kicked or banned does not come back, and is told why."""
    with AccountServer() as server, connect(server, reconnect=True) as client:
        server.wait_for("hello")
        server.send({"code": "closing", "reason": reason, "reconnect": False, "message": "no spam here"})
        server.hang_up()

        with pytest.raises(ConnectionError, match=f"{reason}: no spam here"):
            client.receive(timeout=100)


def test_muted() -> None:
    """Who is muted is told with each message; not confirmed, among the messages."""
    muted = refusal("muted")
    with AccountServer(instead={"outgoing_broadcast": [muted, muted]}) as server, connect(server) as client:
        with pytest.raises(Muted):
            client.broadcast("x")
        client.broadcast("x", confirm=False)

        message = client.receive(timeout=100)
        assert isinstance(message, ErrorReply)
        assert (message.error, message.ref) == ("muted", client.last_ref)


def test_other_devices() -> None:
    """What one says elsewhere is no message of somebody's: no program answers itself."""
    with AccountServer(accounts={"ann": SECRET}) as server, connect(server, password=SECRET) as client:
        server.wait_for("hello")
        server.send(
            stamped("incoming", "1", to="bob"),
            stamped("incoming_broadcast", "2"),
            stamped("incoming_broadcast", "3", room="chess"),
            stamped("incoming", "4"),  # a note to oneself, of this connection
            stamped("incoming", "5", sender="bob", to="ann"),
        )
        came = [client.receive(timeout=100) for _ in range(5)]

        assert [type(message) for message in came] == [OwnMessage] * 3 + [Incoming] * 2
        own = [message for message in came if isinstance(message, OwnMessage)]
        assert [(one.from_, one.content, one.to, one.room) for one in own] == [
            ("ann", "1", "bob", None),
            ("ann", "2", None, None),
            ("ann", "3", None, "chess"),
        ]


def test_session_of_a_guest() -> None:
    """Whoever comes back by a guest's session has no account: a stranger of that name is somebody else."""
    with AccountServer(sessions={"s": "ann"}) as server, connect(server, session="s") as client:
        server.wait_for("hello")
        server.send(stamped("incoming_broadcast", "1"))

        assert isinstance(client.receive(timeout=100), IncomingBroadcast)
        assert not client.is_account


def test_password_that_is_not_looked_at() -> None:
    """A server that ignores the fields it does not know lets in whoever has a password, but to no account."""
    welcome = {"code": "welcome"}
    with AccountServer(instead={"hello": [welcome, welcome]}) as server:
        for secret in {"password": SECRET}, {"session": "s"}:
            client = connect(server, **secret)
            assert not client.is_account
            client.close()


def test_own_name_without_an_account() -> None:
    """What servers of the brief send back to its sender, or with a `to`, stays what it is."""
    with BriefServer() as brief, Client.connect(brief.host, brief.port, "ann") as client:
        brief.send({"code": "incoming_broadcast", "from": "ann", "content": "x"})
        brief.send({"code": "incoming", "from": "ann", "to": "bob", "content": "x"})

        assert isinstance(client.receive(timeout=100), IncomingBroadcast)
        assert isinstance(client.receive(timeout=100), Incoming)


async def test_operators() -> None:
    """An operator is told so, and asks in the protocol's words."""
    with AccountServer(accounts={"ann": SECRET}, operators=("ann",)) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", password=SECRET)
        assert client.is_operator
        server.wait_for("hello")
        await client.kick("bob", reason="spam")
        await client.mute("bob")
        await client.mute("bob", minutes=0, reason="loud")
        await client.unmute("bob")
        assert await client.ban("bob", minutes=5) == 2
        await client.unban("bob")
        bans = await client.bans()
        await client.close()

        asked = [server.requests.get() for _ in range(7)]
        assert [{key: value for key, value in request.items() if key != "ref"} for request in asked] == [
            {"code": "kick", "name": "bob", "reason": "spam"},
            {"code": "mute", "name": "bob"},
            {"code": "mute", "name": "bob", "minutes": 0, "reason": "loud"},
            {"code": "unmute", "name": "bob"},
            {"code": "ban", "name": "bob", "minutes": 5},
            {"code": "unban", "name": "bob"},
            {"code": "bans"},
        ]
        assert bans == [
            BanRecord("ban", "eve", "ann", 0.0, None, "spam"),
            BanRecord("mute", "bob", "", 0.0, 60.0),
        ]


def test_server_of_the_brief() -> None:
    """It is sent nothing but the brief's, whatever the program wants; a password is kept from it."""
    with BriefServer() as brief:
        client = Client.connect(brief.host, brief.port, "ann", password=SECRET, session="s", reconnect=True)
        brief.requests.get()
        calls: list[Callable[[], object]] = [
            lambda: client.register(SECRET),
            lambda: client.kick("bob"),
            client.bans,
        ]
        for call in calls:
            with pytest.raises(Refused, match="unknown_code: this server has no accounts and no operators"):
                call()
        assert client.session is None
        assert brief.requests.empty()
        brief.hang_up()
        assert isinstance(client.receive(timeout=100), Disconnected)
        assert client.receive(timeout=100) == Reconnected("ann")
        client.close()


def test_connection_that_breaks_at_the_first_hello() -> None:
    """What looks like a server of the brief then, but reserves names, is taken for a bad connection."""
    with AccountServer(accounts={"ann": SECRET}, instead={"hello": [None]}) as server:
        with pytest.raises(ConnectionLost):
            connect(server, password=SECRET)
        server.instead["hello"] = [None]
        client = Client.open(server.host, server.port)
        with pytest.raises(NameReserved):
            client.hello("ann")
        client.hello("ann", password=SECRET)

        assert client.is_account
        client.close()


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address is this machine's."""
    monkeypatch.setattr(wire, "is_this_machine", lambda _: False)


@pytest.mark.usefixtures("_elsewhere")
def test_no_secret_in_the_clear() -> None:
    """Without TLS, no password and no session goes to another machine: nothing is sent at all."""
    with AccountServer() as server:
        for secret in {"password": SECRET}, {"session": "s"}:
            with pytest.raises(BadArgument, match="TLS"):
                connect(server, **secret)
        with connect(server) as client:
            assert not client.is_private
            for old in None, "x":
                with pytest.raises(BadArgument, match="TLS"):
                    client.register(SECRET, old)

        assert server.codes() == ["end", "end", "hello", "quit", "end"]


def test_another_address_at_the_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the host's name has come to stand for another machine, an account does not go there without TLS."""
    accounts = {"ann": SECRET}
    with AccountServer(accounts=accounts) as server, connect(server, password=SECRET, reconnect=True) as client:
        monkeypatch.setattr(wire, "is_this_machine", lambda _: False)
        server.hang_up()

        assert isinstance(client.receive(timeout=100), Disconnected)
        with pytest.raises(BadArgument, match="TLS"):
            client.receive(timeout=100)
        assert server.codes().count("hello") == 1


def test_replies_that_nobody_asked_for() -> None:
    """A server of the brief may send what ours has for accounts: nothing comes of it."""
    with BriefServer() as brief, Client.connect(brief.host, brief.port, "ann") as client:
        brief.send({"code": "done"}, {"code": "registered"}, {"code": "bans", "bans": []})
        brief.send(
            {"code": "error", "error": "muted", "message": "no"},
            {"code": "incoming", "from": "b", "content": ""},
        )

        assert [type(client.receive(timeout=100)) for _ in range(2)] == [ErrorReply, Incoming]
        assert not client.is_account


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("::ffff:192.0.2.1", False),
    ],
)
def test_this_machine(address: str, *, is_loopback: bool) -> None:
    """Only what stays on this machine counts as such, however it is written."""
    assert is_this_machine(address) is is_loopback


def test_secrets_are_not_shown() -> None:
    """No representation, error or attribute of the client has a password in it."""
    hello = Hello(name="ann", password=SECRET, session="s3cret")
    assert repr(hello) == "Hello(name='ann', session=…, password=…)"
    assert repr(Register(password=SECRET, old=SECRET)) == "Register(password=…, old=…)"
    with AccountServer(accounts={"ann": "another one"}) as server:
        with pytest.raises(BadPassword) as wrong:
            connect(server, password=SECRET)
        with pytest.raises(ChatroomError) as odd:
            connect(server, password=f"{SECRET}\ud800")
        assert SECRET not in f"{wrong.value!r} {wrong.value.error!r} {odd.value!r}"


def test_echo() -> None:
    """What sends everything back is shown no further than to where a password would stand."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def echo() -> None:
            for _ in range(2):
                connection, _address = listening.accept()
                with connection:
                    while data := connection.recv(65536):
                        connection.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        with pytest.raises(ChatroomError) as error:
            Client.connect("127.0.0.1", listening.getsockname()[1], "a", password=SECRET, timeout=5.0)

    assert SECRET not in f"{error.value!r} {vars(error.value)}"
