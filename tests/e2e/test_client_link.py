"""The client's side of the link: naive servers, servers that know more or less, and connections that break."""

import asyncio
import contextlib
import json
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from chatroom import (
    AsyncClient,
    CannotConnect,
    Client,
    ConnectionLost,
    Disconnected,
    ErrorReply,
    Incoming,
    IncomingBroadcast,
    NameTaken,
    OutcomeUnknown,
    Reconnected,
    Refused,
    Unconfirmed,
)
from chatroom.client import core, link
from conftest import ServerProcess, plain
from e2e.brief_server import BriefServer, incoming, raw

pytestmark = pytest.mark.slow

LIMITED = ["--limit", "exempt=192.0.2.0/24"]
"""Loopback is limited like any other peer."""
DATA_SEGMENTS_IN = struct.Struct("152xI")
"""Where `struct tcp_info` of Linux counts the segments with data that came in."""


class ScriptedServer:
    """Takes connections one after the other, and leaves each to a function of its own."""

    host = "127.0.0.1"

    def __init__(self, *scripts: Callable[["Peer"], None]) -> None:
        self._scripts = scripts
        self._listening = socket.create_server((self.host, 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        if self._failure is not None and exception[0] is None:
            raise self._failure

    def _serve(self) -> None:
        try:
            for script in self._scripts:
                try:
                    connection, _ = self._listening.accept()
                except OSError:
                    return  # the test is over
                with connection:
                    connection.settimeout(20)
                    script(Peer(connection))
        except BaseException as failure:  # noqa: BLE001 - raised where the test sees it
            self._failure = failure


class Peer:
    """One client of a scripted server."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._unread = b""

    def read(self) -> dict[str, Any]:
        """Return the next request; {} at the end."""
        while b"\n" not in self._unread:
            data = self.connection.recv(65536)
            if not data:
                return {}
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        return dict(json.loads(line))

    def expect(self, code: str) -> dict[str, Any]:
        request = self.read()
        assert request.get("code") == code, request
        return request

    def send(self, *messages: dict[str, Any]) -> None:
        self.connection.sendall(raw(*messages, delimiter="\n"))

    def welcome(self) -> dict[str, Any]:
        """Be a server that knows more than the brief."""
        hello = self.expect("hello")
        self.send({"code": "welcome", "features": hello["features"], "ref": hello["ref"]})
        return hello

    def wait_for_end(self) -> None:
        """Pass over all that comes, until the client quits or is gone."""
        with contextlib.suppress(ConnectionError):
            while self.read().get("code", "quit") != "quit":
                pass


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect without a pause."""
    monkeypatch.setattr(link, "FIRST_DELAY", 0.001)


def hold(peer: Peer) -> None:
    """Welcome the client, and stay until it leaves."""
    peer.welcome()
    peer.wait_for_end()


def naive(*, knows: tuple[str, ...], segments: queue.Queue[int]) -> Callable[[Peer], None]:
    """Return a server that sends no line break, and counts the segments of what comes behind `hello`."""

    def script(peer: Peer) -> None:
        connection = peer.connection
        hello = json.loads(connection.recv(1024))
        if set(hello) - {"code", "name"} and not knows:
            return
        connection.sendall(b'{"code": "welcome"}')
        before = DATA_SEGMENTS_IN.unpack_from(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))[
            0
        ]
        read = b""
        while not read.endswith(b'{"code":"quit"}\n'):
            read += connection.recv(65536)
        after = DATA_SEGMENTS_IN.unpack_from(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))[0]
        assert read.count(b"\n") == 6
        segments.put(after - before)

    return script


@pytest.mark.parametrize("knows", [(), ("features",)])
async def test_naive_server(knows: tuple[str, ...]) -> None:
    """A server that reads one message a `recv()` gets each in a segment of its own, `quit` last."""
    segments: queue.Queue[int] = queue.Queue()
    script = naive(knows=knows, segments=segments)
    with ScriptedServer(script, script) as server:
        async with await AsyncClient.open(server.host, server.port) as client:
            await client.hello("ann")
            for number in range(5):
                await client.broadcast(str(number), confirm=False)

    assert segments.get(timeout=10) >= 6  # some may have been sent again


def test_naive_server_and_blocking_client() -> None:
    """The same with the blocking client, though its messages are to be confirmed."""
    segments: queue.Queue[int] = queue.Queue()
    script = naive(knows=(), segments=segments)
    with (
        ScriptedServer(script, script) as server,
        Client.connect(server.host, server.port, "ann") as client,
    ):
        for number in range(5):
            client.send("bob", str(number))

    assert segments.get(timeout=10) >= 6  # some may have been sent again


@pytest.mark.parametrize("is_silent", [False, True])
async def test_server_that_knows_only_the_brief(monkeypatch: pytest.MonkeyPatch, *, is_silent: bool) -> None:
    """If a `hello` that asks for more ends the connection, or is not answered, exactly the brief's is said."""
    monkeypatch.setattr(link, "FEATURES_TIMEOUT", 0.05)
    hellos: list[dict[str, Any]] = []

    def strict(peer: Peer) -> None:
        hellos.append(peer.read())
        if is_silent:
            peer.wait_for_end()

    def brief(peer: Peer) -> None:
        hellos.append(peer.read())
        peer.send({"code": "error", "error": "name_taken", "message": "?", "suggestion": "ann2"})
        hellos.append(peer.read())
        peer.send({"code": "welcome"})
        assert peer.read() == {"code": "who"}
        peer.send({"code": "users", "users": ["ann2"]})
        peer.wait_for_end()

    with ScriptedServer(strict, brief) as server:
        async with await AsyncClient.open(server.host, server.port) as client:
            with pytest.raises(NameTaken):
                await client.hello("ann")
            await client.hello("ann2")
            assert await client.users() == ["ann2"]

    asked = {"code": "hello", "name": "ann", "features": ["notices", "ping", "stamps"], "ref": "1"}
    assert hellos == [asked, {"code": "hello", "name": "ann"}, {"code": "hello", "name": "ann2"}]


def test_before_hello(server: ServerProcess) -> None:
    """What needs a name is refused before `hello`, and that shifts no answers."""
    with Client.open(server.host, server.port) as client:
        for _ in range(2):
            with pytest.raises(Refused, match="hello_first"):
                client.users()
        client.hello("ann")
        assert client.users() == ["ann"]


def test_refs_are_used(server: ServerProcess) -> None:
    """A client tells its confirmations from errors of unconfirmed messages."""
    with Client.connect(server.host, server.port, "ann") as client:
        client.send("nobody", "x", confirm=False)
        client.broadcast("y")
        assert client.users() == ["ann"]
        assert [message.error for message in [client.receive()] if isinstance(message, ErrorReply)] == [
            "unknown_user"
        ]


@pytest.fixture
def limited(tmp_path: Any, loop: str) -> Iterator[ServerProcess]:
    """A server for which loopback is anybody, and which is quick about it: 1,000 requests a second."""
    rates = ["message_rate=1000", "message_burst=50", "slow_down_after=0.2", "flood_timeout=10"]
    arguments = [word for rate in rates for word in ("--limit", rate)]
    process = ServerProcess(*LIMITED, *arguments, log=tmp_path / "server.log", loop=loop)
    yield process
    assert process.stop() == 0


async def test_a_thousand_lines(limited: ServerProcess) -> None:
    """A loop that does not wait for confirmations is slowed down to the server's rate, and delivers all."""
    async with await AsyncClient.connect(limited.host, limited.port, "bob") as bob:
        async with await AsyncClient.open(limited.host, limited.port) as ann:
            await ann.hello("ann")
            for number in range(1000):
                await ann.broadcast(str(number), confirm=False)
        errors = [message async for message in ann]
        received = [plain(await anext(bob)) for _ in range(1000)]

    assert errors == []
    assert received == [IncomingBroadcast("ann", str(number)) for number in range(1000)]


def test_a_thousand_confirmed_lines(limited: ServerProcess) -> None:
    """So does a loop of the blocking client that waits for each."""
    with (
        Client.connect(limited.host, limited.port, "bob") as bob,
        Client.connect(limited.host, limited.port, "ann") as ann,
    ):
        ids = [sent.id for number in range(1000) if (sent := ann.broadcast(str(number)))]
        received = [plain(bob.receive(timeout=20)) for _ in range(1000)]

    assert ids == sorted(set(ids))
    assert received == [IncomingBroadcast("ann", str(number)) for number in range(1000)]


def test_blocking_client_comes_back() -> None:
    """A blocking client with `reconnect` says that it was disconnected, waits in its calls, and is back."""
    with BriefServer(delimiter="\n") as brief:
        client = Client.connect(brief.host, brief.port, "ann", reconnect=True)
        brief.wait_for("hello")
        brief.send(incoming("before"))
        brief.hang_up()
        brief.wait_for("hello")
        assert client.users() == ["bob", "ann"]
        brief.send(incoming("after"))

        assert [client.receive(timeout=10) for _ in range(4)] == [
            Incoming("bob", "before"),
            Disconnected("the server closed the connection"),
            Reconnected("ann"),
            Incoming("bob", "after"),
        ]
        client.close()
        assert brief.strange[0]["features"] == ["notices", "ping", "stamps", "resume"]


async def test_what_is_unknown_is_reported() -> None:
    """What was not confirmed when the connection broke is reported and not sent again; the rest waits."""

    def first(peer: Peer) -> None:
        peer.welcome()
        for _ in range(8):
            peer.expect("outgoing_broadcast")

    def second(peer: Peer) -> None:
        peer.welcome()
        sent = peer.expect("outgoing_broadcast")
        assert sent["content"] == "waits"
        peer.send({"code": "sent", "id": "1", "time": 1.5, "ref": sent["ref"]})
        peer.wait_for_end()

    with ScriptedServer(first, second) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)
        refs: list[str] = []
        for number in range(7):
            await client.broadcast(str(number), confirm=False)
            refs.append(client.last_ref)
        confirmed = asyncio.create_task(client.broadcast("confirmed"))
        await asyncio.sleep(0)  # it is before the next
        waits = asyncio.create_task(client.broadcast("waits"))

        with pytest.raises(OutcomeUnknown):
            await confirmed
        assert (await waits) is not None
        assert [await anext(client) for _ in range(9)] == [
            *(Unconfirmed(None, str(number), refs[number]) for number in range(7)),
            Disconnected("the server closed the connection"),
            Reconnected("ann"),
        ]
        await client.close()


async def test_what_was_under_way_to_a_server_of_the_brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just left when the connection is lost is reported too, though no confirmation was due."""
    monkeypatch.setattr(core, "UNDER_WAY", 100.0)
    with BriefServer(delimiter="\n") as brief:
        client = await AsyncClient.connect(brief.host, brief.port, "ann", reconnect=True)
        await client.broadcast("perhaps", confirm=False)
        ref = client.last_ref
        brief.hang_up()

        assert [await anext(client) for _ in range(3)] == [
            Unconfirmed(None, "perhaps", ref),
            Disconnected("the server closed the connection"),
            Reconnected("ann"),
        ]
        await client.close()


@pytest.mark.parametrize("delimiter", ["", "\n"])
async def test_pace_towards_a_server_of_the_brief(monkeypatch: pytest.MonkeyPatch, delimiter: str) -> None:
    """A client whose server does not grant more than the brief waits between messages: line breaks or none."""
    monkeypatch.setattr(core, "PACE", 1000.0)
    with BriefServer(delimiter=delimiter) as brief:
        client = await AsyncClient.open(brief.host, brief.port)
        await client.hello("ann")
        wire = client._link.wire
        call = wire.core.send(None, "x", confirm=False)
        wire.pump()

        assert not call.has_left
        client._link.abort()


async def test_own_server_gets_full_speed(server: ServerProcess) -> None:
    """A server that has granted features is sent what there is at once."""
    async with await AsyncClient.open(server.host, server.port) as client:
        await client.hello("ann")
        wire = client._link.wire
        calls = [wire.core.send(None, str(number), confirm=False) for number in range(core.WINDOW)]
        wire.pump()

        assert all(call.has_left for call in calls)


def test_end_that_is_meant() -> None:
    """A server that says not to come back is believed."""

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.send({"code": "closing", "reason": "flood", "reconnect": False})

    with ScriptedServer(script) as server:
        client = Client.connect(server.host, server.port, "ann", reconnect=True)

        for _ in range(2):
            with pytest.raises(ConnectionLost, match="ended the connection: flood"):
                client.receive(timeout=10)
        client.close()


async def test_server_that_restarts() -> None:
    """Temporary refusals, and ends without an answer, do not end the attempts."""
    full = {"code": "error", "error": "server_full", "message": "?", "temporary": True, "retry_after": 0.01}

    def drain(peer: Peer) -> None:
        peer.welcome()
        peer.send({"code": "closing", "reason": "draining", "reconnect": True})

    def refuse(peer: Peer) -> None:
        peer.send(full | {"ref": peer.expect("hello")["ref"]})

    def vanish(peer: Peer) -> None:
        peer.expect("hello")

    with ScriptedServer(drain, refuse, vanish, vanish, hold) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)

        assert [await anext(client) for _ in range(2)] == [
            Disconnected("the server ended the connection: draining"),
            Reconnected("ann"),
        ]
        await client.close()


def test_server_that_asks_for_a_rest_of_years(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the server wants us to stay away is heeded within bounds."""
    monkeypatch.setattr(link, "LONGEST_REST", 0.01)
    full = {"code": "error", "error": "server_full", "message": "?", "temporary": True, "retry_after": 1e9}

    def refuse(peer: Peer) -> None:
        peer.send(full | {"ref": peer.expect("hello")["ref"]})

    with ScriptedServer(leave, refuse, hold) as server:
        client = Client.connect(server.host, server.port, "ann", reconnect=True)

        assert [type(client.receive(timeout=10)) for _ in range(2)] == [Disconnected, Reconnected]
        client.close()


def test_attempt_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not want to wait for the next attempt to reconnect has it made at once."""
    monkeypatch.setattr(link, "FIRST_DELAY", 1000.0)
    with ScriptedServer(leave, hold) as server:
        client = Client.connect(server.host, server.port, "ann", reconnect=True)
        assert isinstance(client.receive(timeout=10), Disconnected)
        client._do(lambda: asyncio.sleep(0))  # until the link's own task has begun to wait
        waits = client.retry_in
        client.retry_now()

        assert waits is not None
        assert 400 < waits <= 1000
        assert client.receive(timeout=10) == Reconnected("ann")
        assert client.retry_in is None
        client.close()


def leave(peer: Peer) -> None:
    """Welcome the client and be gone."""
    peer.welcome()


def refuse(peer: Peer) -> None:
    """Say that the name is taken."""
    fields = {"message": "?", "temporary": True, "suggestion": "ann2"}
    peer.send({"code": "error", "error": "name_taken", "ref": peer.expect("hello")["ref"]} | fields)
    peer.wait_for_end()


def test_name_that_is_taken_at_the_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once, then that it stays so; and the client may come back with another one."""
    monkeypatch.setattr(link, "NAME_PATIENCE", 0.0)
    with ScriptedServer(leave, refuse, hold) as server:
        client = Client.connect(server.host, server.port, "ann", reconnect=True)
        told = [client.receive(timeout=10), client.receive(timeout=10)]
        for use in (client.receive, client.users):
            with pytest.raises(NameTaken):
                use()
        assert not client.is_connected
        client.hello("ann2")

        assert client.is_connected
        assert client.receive(timeout=10) == Reconnected("ann2")
        client.close()
    assert isinstance(told[0], Disconnected)
    assert isinstance(told[1], ErrorReply)
    assert (told[1].error, told[1].suggestion) == ("name_taken", "ann2")


async def test_name_that_is_free_again() -> None:
    """Whoever holds the name at the return may be our own dead connection: it is said once, and tried on."""
    with ScriptedServer(leave, refuse, refuse, refuse, hold) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)

        kinds = [type(await anext(client)) for _ in range(3)]
        await client.close()

    assert kinds == [Disconnected, ErrorReply, Reconnected]


async def test_session_on_a_bad_link() -> None:
    """A server that has promised to continue the session is never asked as one of the base protocol."""
    hellos: list[dict[str, Any]] = []

    def first(peer: Peer) -> None:
        hello = peer.expect("hello")
        welcome = {"code": "welcome", "features": hello["features"], "session": "S", "ref": hello["ref"]}
        peer.send(welcome)
        assert peer.expect("history")["limit"] == 1

    def vanish(peer: Peer) -> None:
        hellos.append(peer.expect("hello"))

    def last(peer: Peer) -> None:
        hellos.append(peer.welcome())
        peer.wait_for_end()

    with ScriptedServer(first, vanish, vanish, last) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)
        kinds = [type(await anext(client)) for _ in range(2)]
        await client.close()

    assert kinds == [Disconnected, Reconnected]
    assert [hello["session"] for hello in hellos] == ["S"] * 3


async def test_message_under_way_over_a_long_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the next connection for as long as that takes, is sent again, and its outcome is known."""
    monkeypatch.setattr(link, "FIRST_DELAY", 1000.0)
    refs: list[str] = []

    def serve(peer: Peer) -> None:
        hello = peer.expect("hello")
        welcome = {"code": "welcome", "features": hello["features"], "session": "S", "recovered": True}
        peer.send(welcome | {"ref": hello["ref"]})
        peer.expect("history")
        refs.append(peer.expect("outgoing_broadcast")["ref"])
        if len(refs) == 2:
            peer.send({"code": "sent", "id": "1", "time": 1.5, "ref": refs[1]})
            peer.wait_for_end()

    with ScriptedServer(serve, serve) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)
        client._link._timeout = 0.05
        sending = asyncio.create_task(client.broadcast("x"))
        assert isinstance(await anext(client), Disconnected)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 0.5)
        client._link._timeout = 100.0
        client.retry_now()
        sent = await sending
        await client.close()

    assert sent
    assert sent.id == "1"
    assert refs[0] == refs[1]


async def test_another_name_while_reconnecting() -> None:
    """`hello` may be said while the client tries to come back: with that name, it connects anew."""

    def decide(peer: Peer) -> None:
        hello = peer.expect("hello")
        if hello["name"] == "ann2":
            peer.send({"code": "welcome", "features": [], "ref": hello["ref"]})
        peer.wait_for_end()

    with ScriptedServer(leave, refuse, *[decide] * 9) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)
        assert isinstance(await anext(client), Disconnected)
        assert isinstance(await anext(client), ErrorReply)
        assert not client.is_connected
        await client.hello("ann2")

        assert client.is_connected
        assert await anext(client) == Reconnected("ann2")
        await client.close()


async def test_another_name_is_refused_while_reconnecting() -> None:
    """Then there is still no connection, and the client goes on trying with the old name."""
    is_free = threading.Event()

    def decide(peer: Peer) -> None:
        (hold if is_free.is_set() else refuse)(peer)

    with ScriptedServer(leave, *[decide] * 9) as server:
        client = await AsyncClient.connect(server.host, server.port, "ann", reconnect=True)
        assert isinstance(await anext(client), Disconnected)
        assert isinstance(await anext(client), ErrorReply)
        with pytest.raises(NameTaken):
            await client.hello("ann2")
        assert not client.is_connected
        is_free.set()
        while not isinstance(message := await anext(client), Reconnected):
            assert isinstance(message, ErrorReply)

        assert message.name == "ann"
        await client.close()


def test_black_holed_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on whose side nothing moves any longer is pinged, and then given up."""
    monkeypatch.setattr(core, "PING_AFTER", 0.05)
    monkeypatch.setattr(core, "PONG_WITHIN", 0.05)

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("ping")
        peer.wait_for_end()

    with ScriptedServer(script, hold) as server:
        client = Client.connect(server.host, server.port, "ann", reconnect=True)

        assert client.receive(timeout=10) == Disconnected("the server does not answer any longer")
        assert client.receive(timeout=10) == Reconnected("ann")
        client.close()


async def test_system_s_own_time_limits() -> None:
    """The kernel finds a connection dead, idle or not, in less than 30 s: also with a server of the brief."""
    with BriefServer() as brief, Client.connect(brief.host, brief.port, "ann") as client:
        connection = client._link.wire.transport.get_extra_info("socket")

        def option(name: str) -> int:
            return int(connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)))

        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert option("TCP_KEEPIDLE") + option("TCP_KEEPCNT") * option("TCP_KEEPINTVL") < 30
        assert 0 < option("TCP_USER_TIMEOUT") < 30_000
        assert option("TCP_NODELAY")


async def test_refused_connection() -> None:
    """What the system says is passed on in its own words, and as the cause."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(CannotConnect, match=f"to localhost, port {port}: Connection refused") as caught:
        await AsyncClient.open("localhost", port)

    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
