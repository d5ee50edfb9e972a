"""The blocking client over a pair of sockets: time limits, limits of memory, interruptions."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from chatroom.client import inbox, sync
from chatroom.client.errors import ConnectionLost, InboxFull
from chatroom.client.sync import Client
from chatroom.protocol.messages import Incoming


class Peer:
    """The other end of a client's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, *messages: dict[str, Any]) -> None:
        self.connection.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def say(self, *contents: str) -> None:
        self.send(*({"code": "incoming", "from": "bob", "content": content} for content in contents))


@pytest.fixture
def pair() -> Iterator[tuple[Client, Peer]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Client(ours, timeout=0.05), Peer(theirs)


def test_receive_without_waiting(pair: tuple[Client, Peer]) -> None:
    """With a time limit of 0, what is there is returned, and nothing is waited for."""
    client, peer = pair
    with pytest.raises(TimeoutError):
        client.receive(timeout=0)

    peer.say("1", "2")

    assert [client.receive(timeout=0), client.receive(timeout=0)] == [
        Incoming("bob", "1"),
        Incoming("bob", "2"),
    ]
    with pytest.raises(TimeoutError):
        client.receive(timeout=0)


def test_late_answer(pair: tuple[Client, Peer]) -> None:
    """An answer that comes after its time is not taken for the next one's."""
    client, peer = pair
    with pytest.raises(TimeoutError, match="in time"):
        client.users()
    peer.send({"code": "users", "users": ["late"]}, {"code": "users", "users": ["in time"]})

    client._timeout = 100
    assert client.users() == ["in time"]


def test_full_inbox(pair: tuple[Client, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind too many messages an answer is not waited for; once they are taken, it works again."""
    monkeypatch.setattr(inbox, "MAX_MESSAGES", 3)
    client, peer = pair
    peer.say("1", "2", "3")

    with pytest.raises(InboxFull, match="3 messages wait"):
        client.users()

    peer.send({"code": "users", "users": ["first"]}, {"code": "users", "users": ["second"]})
    assert [client.receive().content for _ in range(3)] == ["1", "2", "3"]  # type: ignore[union-attr]
    client._timeout = 100
    assert client.users() == ["second"]


def test_closing_takes_no_more_than_fits(pair: tuple[Client, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not stop sending cannot hold up the end, nor fill the memory."""
    monkeypatch.setattr(inbox, "MAX_MESSAGES", 3)
    monkeypatch.setattr(sync, "RECEIVE_SIZE", 10)
    client, peer = pair
    peer.say("1", "2", "3", "4", "5")

    client.close()

    assert [message.content for message in client] == ["1", "2", "3"]  # type: ignore[union-attr]


def test_after_closing(pair: tuple[Client, Peer]) -> None:
    """A closed client says so; it can be closed again; the peer was told."""
    client, peer = pair
    client.close()
    client.close()

    for use in (client.users, client.receive, lambda: client.broadcast("x", confirm=False)):
        with pytest.raises(ConnectionLost, match="this client has been closed"):
            use()
    assert list(client) == []
    assert peer.connection.recv(100) == b'{"code":"quit"}\n'


def test_interrupted_while_waiting(pair: tuple[Client, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a wait harms nothing: the client goes on, and no answer is mixed up."""
    client, peer = pair
    with monkeypatch.context() as patched:
        patched.setattr(client, "_read", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.users()
    peer.say("1")
    peer.send({"code": "users", "users": ["first"]}, {"code": "users", "users": ["second"]})

    client._timeout = 100
    assert client.users() == ["second"]
    assert next(client) == Incoming("bob", "1")


def test_interrupted_while_sending() -> None:
    """Ctrl-C while half a request may have gone out ends the connection: nothing is sent behind it."""

    class HalfSent(socket.socket):
        def sendall(self, *arguments: Any) -> None:
            raise KeyboardInterrupt

    with HalfSent() as half_sent:
        client = Client(half_sent)
        with pytest.raises(KeyboardInterrupt):
            client.broadcast("x")

        with pytest.raises(ConnectionLost, match="interrupted"):
            client.users()
        client.close()


def _interrupt(deadline: float | None) -> None:
    raise KeyboardInterrupt
