"""The blocking client against scripted servers: time limits, limits of memory, interruptions."""

import gc
import itertools
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import chatroom.client
from chatroom.client import inbox
from chatroom.client.errors import ConnectionLost, InboxFull
from chatroom.client.sync import Client
from chatroom.protocol.messages import Incoming
from e2e.brief_server import BriefServer, incoming, raw

WHO = b'{"code":"who"}\n'
LIBRARY = str(Path(chatroom.client.__file__).parent)


class Peer:
    """The other end of a client's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.connection.settimeout(10)

    def send(self, *messages: dict[str, Any]) -> None:
        self.connection.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def say(self, *contents: str) -> None:
        self.send(*(incoming(content) for content in contents))

    def wait_for(self, data: bytes) -> None:
        """Read exactly this."""
        got = b""
        while len(got) < len(data):
            got += self.connection.recv(len(data) - len(got))
        assert got == data


@pytest.fixture
def pair() -> Iterator[tuple[Client, Peer]]:
    """A client with a short patience, without a name, and its server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = Client.open("127.0.0.1", listening.getsockname()[1], timeout=0.05)
        connection, _ = listening.accept()
    with connection:
        yield client, Peer(connection)
        connection.shutdown(socket.SHUT_WR)
        client.close()


@contextmanager
def meanwhile(function: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread."""
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def contents(client: Client, count: int) -> list[str]:
    return [message.content for message in itertools.islice(client, count) if isinstance(message, Incoming)]


def test_receive_without_waiting(pair: tuple[Client, Peer]) -> None:
    """With a time limit of 0, what is there is returned, and nothing is waited for."""
    client, peer = pair
    with pytest.raises(TimeoutError):
        client.receive(timeout=0)

    peer.say("1", "2")

    assert client.receive(timeout=10) == Incoming("bob", "1")
    assert client.receive(timeout=0) == Incoming("bob", "2")
    with pytest.raises(TimeoutError):
        client.receive(timeout=0)


def test_late_answer(pair: tuple[Client, Peer]) -> None:
    """An answer that comes after its time is not taken for the next one's."""
    client, peer = pair
    with pytest.raises(TimeoutError, match="in time"):
        client.users()
    client._link._timeout = 100

    def answer() -> None:
        peer.send({"code": "users", "users": ["late"]})
        peer.wait_for(WHO * 2)
        peer.send({"code": "users", "users": ["in time"]})

    with meanwhile(answer):
        assert client.users() == ["in time"]


def test_full_inbox(pair: tuple[Client, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind too many messages an answer is not waited for; once they are taken, it works again."""
    monkeypatch.setattr(inbox, "MAX_MESSAGES", 4)
    client, peer = pair
    client._link._timeout = 1000

    def fill() -> None:
        peer.wait_for(WHO)
        peer.say("1", "2", "3", "4")

    with meanwhile(fill), pytest.raises(InboxFull, match="4 messages wait"):
        client.users()

    def answer() -> None:
        peer.send({"code": "users", "users": ["late"]})
        peer.wait_for(WHO)
        peer.send({"code": "users", "users": ["in time"]})

    assert client.broadcast("x", confirm=False) is None
    peer.wait_for(b'{"code":"outgoing_broadcast","content":"x"}\n')
    assert contents(client, 4) == ["1", "2", "3", "4"]
    with meanwhile(answer):
        assert client.users() == ["in time"]


def test_closing_takes_no_more_than_fits(pair: tuple[Client, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not stop sending cannot hold up the end, nor fill the memory."""
    monkeypatch.setattr(inbox, "MAX_MESSAGES", 3)
    client, peer = pair
    client._link._timeout = 1000
    peer.say("1", "2", "3")

    client.close()

    assert contents(client, 9) == ["1", "2", "3"]


def test_after_closing(pair: tuple[Client, Peer]) -> None:
    """A closed client says so; it can be closed again; the peer was told."""
    client, peer = pair
    client.close()
    client.close()

    for use in (client.users, client.receive, lambda: client.broadcast("x", confirm=False)):
        with pytest.raises(ConnectionLost, match="this client has been closed"):
            use()
    assert list(client) == []
    peer.wait_for(b'{"code":"quit"}\n')


def test_client_that_is_forgotten(pair: tuple[Client, Peer]) -> None:
    """A client that nobody has any longer does not keep its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = Client.open("127.0.0.1", listening.getsockname()[1])
        connection, _ = listening.accept()
    with connection:
        connection.settimeout(10)
        del client
        gc.collect()

        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""


def test_busy_program(pair: tuple[Client, Peer]) -> None:
    """While the program does something else, the server's pings are answered, and what comes is taken."""
    client, peer = pair
    peer.send({"code": "ping"}, incoming("1"))
    peer.wait_for(b'{"code":"pong"}\n')

    assert client.receive(timeout=0) == Incoming("bob", "1")


def test_interrupted_while_waiting() -> None:
    """Ctrl-C ends the wait for an answer; the client goes on, and no answer is mixed up."""
    with (
        BriefServer(delimiter="\n", instead={"who": [b""]}) as brief,
        Client.connect(brief.host, brief.port, "ann", timeout=1000) as client,
    ):

        def interrupt() -> None:
            brief.wait_for("who")
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            client.users()
        client.broadcast("x", confirm=False)
        assert not client._link._waiting  # for the answer, in the thread
        brief.send(incoming("1"), {"code": "users", "users": ["late"]})

        assert client.users() == ["bob", "ann"]
        assert next(client) == Incoming("bob", "1")


class Talkative(BriefServer):
    """Numbers its messages, and says three before it answers `who`."""

    said = 0

    def _answer(self, request: dict[str, Any]) -> bool:
        if request["code"] == "who":
            self.send(*(incoming(str(number)) for number in range(self.said, self.said + 3)))
            self.said += 3
        return super()._answer(request)


@pytest.mark.parametrize(
    ("event", "observe"), [("line", sys.settrace), ("call", sys.setprofile), ("c_return", sys.setprofile)]
)
def test_interrupted_anywhere(event: str, observe: Callable[[Any], None]) -> None:
    """Ctrl-C at any line of the library, or behind any call, loses no message, and brings none twice."""
    received: list[str] = []
    interruptions = 0

    def receive(client: Client, *, timeout: float) -> None:
        with suppress(TimeoutError):
            while True:
                message = client.receive(timeout)
                assert isinstance(message, Incoming)
                received.append(message.content)

    with Talkative(delimiter="\n") as brief, Client.connect(brief.host, brief.port, "ann") as client:
        for places in itertools.count(1):
            to_go = places

            def interrupt(frame: FrameType, happening: str, _: object) -> Any:
                nonlocal to_go
                if not frame.f_code.co_filename.startswith(LIBRARY):
                    return None
                if happening == event:
                    to_go -= 1
                    if not to_go:
                        signal.raise_signal(signal.SIGINT)
                return interrupt

            observe(interrupt)
            try:
                client.users()
                receive(client, timeout=0)
            except KeyboardInterrupt:
                interruptions += 1
            finally:
                observe(None)
            receive(client, timeout=0)
            if to_go > 0:
                break
        client.users()  # behind all that was said
        receive(client, timeout=0)

    assert received == [str(number) for number in range(brief.said)]
    assert interruptions == places - 1 > 10


def test_interrupted_again_and_again(pair: tuple[Client, Peer]) -> None:
    """A storm of Ctrl-C while messages come in loses none."""
    client, peer = pair
    count = 20_000
    received: list[Any] = []
    caught = 0

    def interrupt(_: int, frame: FrameType | None) -> None:
        # What the test itself does with a message is not the library's affair.
        if frame is not None and frame.f_code.co_filename.startswith(LIBRARY):
            raise KeyboardInterrupt

    is_over = threading.Event()

    def storm() -> None:
        while not is_over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    threads = [
        threading.Thread(target=peer.connection.sendall, args=[raw(*map(incoming, map(str, range(count))))]),
        threading.Thread(target=storm),
    ]
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        for thread in threads:
            thread.start()
        while len(received) < count:
            try:
                received.append(client.receive(timeout=10))
            except KeyboardInterrupt:
                caught += 1
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        signal.signal(signal.SIGINT, before)

    assert [message.content for message in received] == [str(number) for number in range(count)]
    assert caught
