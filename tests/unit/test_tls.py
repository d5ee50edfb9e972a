"""TLS between a connection and its transport: what OpenSSL may raise, and what comes in without a message."""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, cast

import pytest
import trustme

from chatroom.doors.tls import BARREN, RAW, Tls, TlsDoor
from fakes import FakeChat, FakeTransport


class Peer:
    """A client over a fake transport, whose handshake is done."""

    def __init__(self, chat: FakeChat) -> None:
        authority = trustme.CA()
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("chat.example").configure_cert(served)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="chat.example")
        self.transport = FakeTransport(chat.loop, ("192.0.2.7", 5000))
        self.server: Tls = TlsDoor(chat.door, served)()
        self.transport.protocol = cast("Any", self.server)
        self.server.connection_made(cast("asyncio.Transport", self.transport))
        for _ in range(4):
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.exchange()

    def exchange(self) -> None:
        self.transport.unread += self.outgoing.read()
        self.transport.deliver()
        self.incoming.write(b"".join(self.transport.segments))
        self.transport.segments.clear()

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.exchange()


def test_admission_before_the_handshake() -> None:
    """A connection that may not stay is closed before a byte is read."""
    chat = FakeChat(max_per_address=1)
    peers = [Peer.__new__(Peer) for _ in range(12)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for peer in peers:
        peer.transport = FakeTransport(chat.loop, ("192.0.2.7", 5000))
        peer.server = TlsDoor(chat.door, context)()
        peer.server.connection_made(cast("asyncio.Transport", peer.transport))

    assert sum(peer.transport.is_gone for peer in peers) == 3


def test_tls_is_private() -> None:
    """Passwords are taken over TLS, wherever the peer is."""
    chat = FakeChat()

    assert Peer(chat).server._connection._outbox.is_private
    assert not chat.connect("192.0.2.7").connection._outbox.is_private


async def test_trouble_in_a_write(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that OpenSSL refuses, as the peer began a message of TLS, ends that connection."""
    chat = FakeChat()
    peer = Peer(chat)
    peer.say(b'{"code":"hello","name":"ann"}\n')
    chat.loop.turn()

    class Refusing:
        def write(self, data: bytes) -> int:
            raise ssl.SSLWantReadError

    monkeypatch.setattr(peer.server, "_tls", Refusing())
    chat.join("bob").ask(code="outgoing", to="ann", content="x")
    chat.loop.turn()
    await asyncio.sleep(0)
    chat.loop.turn()

    assert peer.transport.is_gone
    assert chat.hub.users() == ["bob"]
    assert not caplog.records


async def test_buffers_stay_small() -> None:
    """However much is written at once, no buffer of OpenSSL's grows with it."""
    chat = FakeChat()
    peer = Peer(chat)
    written: list[int] = []

    class Watched:
        def write(self, data: bytes) -> int:
            written.append(len(data))
            return len(data)

    peer.server._tls = cast("ssl.SSLObject", Watched())
    peer.server.write(b"x" * 200_000)

    assert sum(written) == 200_000
    assert max(written) <= RAW


async def test_nothing_but_handshakes() -> None:
    """Whoever sends much that is no message, such as updates of keys, is let go."""
    chat = FakeChat()
    peer = Peer(chat)
    peer.say(b'{"code":"hello","name":"ann"}\n')
    chat.loop.turn()

    class Barren:
        def read(self, size: int, buffer: object = None) -> int:
            raise ssl.SSLWantReadError

    peer.server._tls = cast("ssl.SSLObject", Barren())
    for _ in range(BARREN // 8000 + 2):
        peer.transport.unread += b"x" * 8000
        peer.transport.deliver()
    await asyncio.sleep(0)
    chat.loop.turn()

    assert peer.transport.is_gone
    assert any("too much data without a message" in entry for entry in chat.observer.lines)


async def test_broken_record_of_whoever_is_behind() -> None:
    """A broken record ends the connection at once, though much waits to be read: nobody waits for that."""
    chat = FakeChat()
    peer = Peer(chat)
    peer.say(b'{"code":"hello","name":"ann"}\n')
    chat.loop.turn()
    peer.transport.is_reading = False
    chat.join("bob").send(b'{"code":"outgoing","to":"ann","content":"%b"}\n' % (b"x" * 16_000) * 8)
    chat.loop.turn()
    assert chat.hub.flow._behind

    peer.transport.unread += b"\x17\x03\x03\x00\x20" + bytes(32)
    peer.transport.deliver()
    await asyncio.sleep(0)
    assert not chat.hub.flow._behind
    chat.loop.turn()

    assert peer.transport.is_gone
    assert chat.hub.users() == ["bob"]


@pytest.mark.parametrize("is_shut", [False, True])
async def test_unread_at_a_reset(is_shut: bool) -> None:
    """What a throttled peer sent before a reset is done, a part in each turn; a message that was cut is not."""
    chat = FakeChat()
    bob, peer = chat.join("bob"), Peer(chat)
    peer.say(b'{"code":"hello","name":"ann"}\n')
    chat.loop.turn()
    line = b'{"code":"outgoing_broadcast","content":"%d"}\n'
    peer.say(b"".join(line % number for number in range(60)))
    for number in range(60, 500):
        peer.tls.write(line % number)
    if is_shut:
        with suppress(ssl.SSLError):  # there are answers that it has not read
            peer.tls.unwrap()
    else:
        peer.tls.write(line % 500)
    unread = peer.outgoing.read()
    assert not peer.transport.is_read
    peer.transport.unread += unread if is_shut else unread[:-1]

    peer.transport.vanish(ConnectionResetError())
    chat.loop.turn()
    decoder = peer.server._connection._decoder
    assert len(decoder.rest) < RAW < len(unread)
    chat.loop.pass_time(60)

    assert [message["content"] for message in bob.take()] == [str(number) for number in range(500)]
    assert not chat.door.admission.connections > 1
