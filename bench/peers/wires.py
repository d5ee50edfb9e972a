"""How the peers are spoken to."""

import base64

from chatroom.bench.wire import MARK

NEVER = b"\0never\0"


class RedisWire:
    """Publish and subscribe, in RESP: one channel for all, and one for each reader."""

    senders_hear = False
    refusal = b"-ERR"
    has_pings = False
    at_once = 100

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Subscribe to both channels."""
        return [(_resp(b"SUBSCRIBE", b"all", b"r%05d" % number), b":2\r\n")]

    def send(self, number: int) -> list[tuple[bytes, bytes]]:  # noqa: ARG002 - nobody is called anything
        """Only see that it answers."""
        return [(_resp(b"PING"), b"+PONG\r\n")]

    def broadcast(self, text: str) -> bytes:
        """Publish to all."""
        return _resp(b"PUBLISH", b"all", text.encode())

    def direct(self, number: int, text: str) -> bytes:
        """Publish to the reader's own channel."""
        return _resp(b"PUBLISH", b"r%05d" % number, text.encode())


class NatsWire:
    """Publish and subscribe, in the NATS protocol: one subject for all, and one for each reader."""

    senders_hear = False
    refusal = b"-ERR"
    has_pings = True  # one, two seconds after connecting
    at_once = 100
    _connect = b'CONNECT {"verbose":false,"pedantic":false}\r\n'

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Subscribe to both subjects."""
        return [(self._connect + b"SUB all 1\r\nSUB r%05d 2\r\nPING\r\n" % number, b"PONG\r\n")]

    def send(self, number: int) -> list[tuple[bytes, bytes]]:  # noqa: ARG002 - nobody is called anything
        """Connect."""
        return [(self._connect + b"PING\r\n", b"PONG\r\n")]

    def broadcast(self, text: str) -> bytes:
        """Publish to all."""
        return b"PUB all %d\r\n%b\r\n" % (len(text), text.encode())

    def direct(self, number: int, text: str) -> bytes:
        """Publish to the reader's own subject."""
        return b"PUB r%05d %d\r\n%b\r\n" % (number, len(text), text.encode())


class IrcWire:
    """A channel, and nicknames (RFC 2812)."""

    senders_hear = True
    refusal = b"ERROR :"
    has_pings = False
    at_once = 1000  # InspIRCd lets in whoever waits, once a second

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Register and join the channel."""
        return self._join(b"r%05d" % number)

    def send(self, number: int) -> list[tuple[bytes, bytes]]:
        """Register and join the channel."""
        return self._join(b"s%05d" % number)

    def broadcast(self, text: str) -> bytes:
        """Write to the channel."""
        return b"PRIVMSG #all :%b\r\n" % text.encode()

    def direct(self, number: int, text: str) -> bytes:
        """Write to the nickname."""
        return b"PRIVMSG r%05d :%b\r\n" % (number, text.encode())

    def _join(self, nick: bytes) -> list[tuple[bytes, bytes]]:
        register = b"NICK %b\r\nUSER %b 0 * :%b\r\n" % (nick, nick, nick)
        return [(register, b" 422 "), (b"JOIN #all\r\n", b" 366 ")]


class WebSocketWire:
    """The 20-line WebSocket server beside this file: the path is one's name, `@name text` writes to one."""

    senders_hear = True
    refusal = NEVER
    has_pings = False
    at_once = 100

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Open the connection."""
        return self._open(b"r%05d" % number)

    def send(self, number: int) -> list[tuple[bytes, bytes]]:
        """Open the connection."""
        return self._open(b"s%05d" % number)

    def broadcast(self, text: str) -> bytes:
        """One text frame."""
        return _frame(text.encode())

    def direct(self, number: int, text: str) -> bytes:
        """One text frame with a name before it."""
        return _frame(b"@r%05d %b" % (number, text.encode()))

    def _open(self, name: bytes) -> list[tuple[bytes, bytes]]:
        key = base64.b64encode(b"0123456789abcdef")
        lines = [
            b"GET /%b HTTP/1.1" % name,
            b"Host: localhost",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: %b" % key,
            b"",
            b"",
        ]
        return [(b"\r\n".join(lines), b"welcome")]


def _resp(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _frame(text: bytes) -> bytes:
    """Return a masked text frame; the mask is zero, which leaves the text as it is (RFC 6455, 5.3)."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    assert MARK not in length  # noqa: S101 - it would be counted
    return b"\x81" + length + b"\0\0\0\0" + text
