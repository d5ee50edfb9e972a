"""Our library and program with servers of the brief, as students write them."""

import json
import re
import socket
import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

from chatroom import AsyncClient, Client, ConnectionLost, Incoming, IncomingBroadcast, NotAChatroom
from chatroom.client import link
from chatroom.terminal.plain import PROGRESS
from chatroom.terminal.program import chat
from conftest import run
from e2e.brief_server import BriefServer, raw
from e2e.naive_server import NaiveServer
from e2e.terminal import PROMPT, Terminal, joined, pipe

pytestmark = pytest.mark.slow

SERVERS: list[dict[str, Any]] = [
    {},
    {"delimiter": "\n"},
    {"one_a_read": True},
    {"one_a_read": True, "delimiter": "\n"},
    {"typed": True},
    {"typed": True, "one_a_read": True},
    {"quits": False, "indent": 4},
]


@pytest.mark.parametrize("reconnect", [False, True])
@pytest.mark.parametrize("quirks", SERVERS)
def test_library_with_its_defaults(quirks: dict[str, Any], *, reconnect: bool) -> None:
    """Each message arrives once and nothing is raised; nothing but the brief is asked behind `hello`."""
    with NaiveServer(**quirks) as server:
        with (
            Client.connect(server.host, server.port, "bob") as bob,
            Client.connect(server.host, server.port, "ann", reconnect=reconnect) as ann,
        ):
            assert ann.users() == ["bob", "ann"]
            for number in range(3):
                assert ann.send("bob", f"to you {number}") is None
                assert ann.broadcast(f"to all {number}") is None
            assert ann.users() == ["bob", "ann"]
            received = [bob.receive(timeout=100) for _ in range(6)]

        assert received == [
            kind("ann", f"{to} {number}")
            for number in range(3)
            for kind, to in ((Incoming, "to you"), (IncomingBroadcast, "to all"))
        ]
        assert server.fields == {"code", "to", "content"}
        assert list(ann) == list(bob) == []


@pytest.mark.parametrize("quirks", SERVERS)
async def test_asyncio_library_with_its_defaults(quirks: dict[str, Any]) -> None:
    """So it is with asyncio."""
    with NaiveServer(**quirks) as server:
        async with (
            await AsyncClient.connect(server.host, server.port, "bob") as bob,
            await AsyncClient.connect(server.host, server.port, "ann") as ann,
        ):
            assert await ann.send("bob", "1") is None
            assert await ann.broadcast("2") is None

            assert await anext(bob) == Incoming("ann", "1")
            assert await anext(bob) == IncomingBroadcast("ann", "2")


@pytest.mark.parametrize("quirks", SERVERS)
def test_pipe(quirks: dict[str, Any]) -> None:
    """The program gets all its lines through, and leaves at once."""
    with NaiveServer(**quirks) as server:
        ended = pipe(server, "ann", "bob|1\n*|2\nwho\n*|3\n")

        assert (ended.returncode, ended.stderr) == (0, "")
        assert server.received == [("ann", str(number)) for number in (1, 2, 3)]
        assert server.fields == {"code", "to", "content"}


def test_server_that_waits_for_the_end() -> None:
    """A server that does not know `quit` sees the end of the stream, behind all that was sent."""
    with NaiveServer(quits=False) as server:
        client = Client.connect(server.host, server.port, "ann", timeout=1000)
        for number in range(3):
            client.broadcast(str(number))
        client.close()

        assert server.received == [("ann", str(number)) for number in range(3)]


def test_server_that_knows_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever neither knows `quit` nor sees the end is left once it has all, long before the time limit."""
    monkeypatch.setattr(link, "LEAVE_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw({"code": "welcome"}))
                is_over.wait(100)

        is_over = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        client = Client.connect("127.0.0.1", listening.getsockname()[1], "ann", timeout=1000)
        begun = time.monotonic()
        client.close()
        took = time.monotonic() - begun
        is_over.set()
        thread.join()

    assert took < 500


def test_slow_server_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server has not taken yet leaves before the connection is given up, however long that takes."""
    monkeypatch.setattr(link, "LEAVE_TIMEOUT", 0.1)
    text = (
        "x" * 40_000
    )  # more than fits into the kernels' buffers, less than what stops the client from writing
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        read: list[bytes] = []
        leaving = threading.Event()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw({"code": "welcome"}))
                leaving.wait(100)
                threading.Event().wait(10 * link.LEAVE_TIMEOUT)  # the client must not give up meanwhile
                while data := connection.recv(65536):
                    read.append(data)

        thread = threading.Thread(target=serve)
        thread.start()
        with Client.connect("127.0.0.1", listening.getsockname()[1], "ann", timeout=100) as client:
            connection = client._link.wire.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.broadcast(text)
            leaving.set()
        thread.join()

    assert [json.loads(line).get("content") for line in b"".join(read).splitlines()] == [text, None]


def test_server_that_dies_at_the_first_question() -> None:
    """On a terminal the loss is told, it is tried once more, and then given up."""
    with BriefServer(instead={"who": [None] * 100}) as brief, Terminal(brief, "ann") as terminal:
        assert terminal.status() == 1

    assert terminal.flat().count("reconnecting…") == 1
    assert terminal.flat().count("the server closed the connection") == 2


@pytest.mark.parametrize("reconnect", [False, True])
def test_library_and_a_server_that_dies_of_a_question(*, reconnect: bool) -> None:
    """A question that two connections break behind is not asked again and again."""
    with BriefServer(instead={"who": [None] * 100}) as brief:
        client = Client.connect(brief.host, brief.port, "ann", reconnect=reconnect)
        with pytest.raises(ConnectionLost):
            client.users()
        client.close()

        asked = [brief.requests.get(timeout=100)["code"] for _ in range(4 if reconnect else 2)]
    assert asked.count("who") == (2 if reconnect else 1)


def test_server_that_is_gone_after_hello() -> None:
    """The second connection, for the brief's `hello`, may be refused: that is what is said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            connection, _ = listening.accept()
            listening.close()
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        ended = run("client.py", "127.0.0.1", str(port), "ann")
        thread.join()

    assert ended.returncode == 1
    assert ended.stderr.startswith("the connection was lost: Connection refused")


class Echo(BriefServer):
    """Sends back what it gets."""

    def _talk(self) -> None:
        while data := self._connection.recv(65536):
            self._connection.sendall(data)


class Mail(BriefServer):
    """Speaks first, in lines."""

    def _talk(self) -> None:
        self._connection.sendall(b"220 mail.example ESMTP\r\n")
        while self._connection.recv(65536):
            self._connection.sendall(b"500 what?\r\n")


@pytest.mark.parametrize(("kind", "answer"), [(Echo, '{"code":"hello","na'), (Mail, "(220 mail.*)?500")])
def test_no_chatroom_at_all(kind: type[BriefServer], answer: str) -> None:
    """Something else that answers is named as such: the name is not asked for again."""
    with kind() as server, Terminal(server, "ann") as terminal:
        assert terminal.status() == 1
        assert re.search(f"this is no chatroom server: it answered {answer}", terminal.flat())
        with pytest.raises(NotAChatroom):
            Client.connect(server.host, server.port, "ann")


def test_list_of_users_that_is_none() -> None:
    """One can chat without it, and is told how it looked."""
    strange = raw({"code": "users", "users": "ann,bob"})
    with BriefServer(instead={"who": [strange] * 2}) as brief:
        ended = pipe(brief, "ann", "who\n*|x\n")

        assert ended.returncode == 1
        assert ended.stderr.startswith("line 1: no list of users: its answer is not understood: {")
        assert brief.wait_for("outgoing_broadcast")["content"] == "x"
    hint = '(no list of users: its answer is not understood: {"code": "users", "users": "ann,bob"})'
    assert ended.stdout.splitlines()[1:] == ["current users:", hint, "", PROMPT]


def test_server_without_who(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers `who` can be joined."""
    real = AsyncClient.open
    monkeypatch.setattr(AsyncClient, "open", partial(real, timeout=0.5))
    monkeypatch.setattr(sys, "stdin", None)
    with NaiveServer(knows_who=False) as server:
        assert chat(server.host, server.port, "ann") == 0


def test_replies_that_are_not_understood() -> None:
    """What is of another type is shown as it came; the rest is complained of, once, and the chat goes on."""
    last = b"".join(
        [
            raw({"code": "incoming", "from": "bob", "content": 42}),
            b'{"code": "incoming", "from": "bob", "content": "caf\xe9"}',
            raw({"error": "no such user"}),
            b"{'code': 'incoming'}",
            b"{'code': 'incoming'}",
        ]
    )
    with BriefServer(instead={"quit": [last]}) as brief:
        ended = pipe(brief, "ann", "eve|x\n")

    assert re.findall("bob to you: .*", ended.stdout) == ["bob to you: 42", "bob to you: caf\ufffd"]
    assert ended.stderr.splitlines() == [
        "no such user",
        "something came that is not understood: {'code': 'incoming'}",
    ]


def test_no_progress_where_somebody_types() -> None:
    """On a terminal that knows no cursor no count of lines gets between those that one types."""
    environment = {"TERM": "dumb"}
    with NaiveServer() as server, joined(server, environment=environment) as terminal:
        terminal.type("*|1\r")
        terminal.pause(1.5 * PROGRESS)
        terminal.type("*|2\r*|3\rquit\r")

        assert terminal.status() == 0
        assert "lines sent" not in terminal.raw
