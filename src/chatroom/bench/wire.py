"""How a server is spoken to, as bytes: all that the generator needs to know of a protocol."""

import json
from collections.abc import Sequence
from typing import Protocol

MARK = b"^"
"""Stands once in each message, and nowhere else: counting it counts deliveries, however they are cut."""

_NUMBER = len("^0000:")
"""Where a message's number begins, counted from its mark; it has nine digits."""


class BenchError(Exception):
    """The run cannot be made, or proved that the server lost something; the text says so."""


def payload(sender: int, number: int, size: int) -> str:
    """Return a text of `size` characters (20 at least) that tells who sent it, and as its how-manieth."""
    return f"^{sender:04d}:{number:09d}:".ljust(size, "x")


class Numbered:
    """One sender's message, sent again and again, each time with the next number.

    `message` is what the wire makes of a `payload`: only the digits change, so nothing is encoded anew.
    """

    def __init__(self, message: bytes) -> None:
        start = message.index(MARK) + _NUMBER
        self._head = message[:start]
        self._tail = message[start + 9 :]
        self.count = 0
        """How many were taken."""

    def take(self, count: int) -> bytes:
        """Return the next `count` messages in one piece."""
        head, tail, first = self._head, self._tail, self.count
        self.count += count
        return b"".join([b"%b%09d%b" % (head, number, tail) for number in range(first, first + count)])


class Wire(Protocol):
    """One protocol. A step of a handshake is what to send, and what ends the answer to it.

    Names have one length, and so has every delivery of a text of one size: then bytes count deliveries.
    """

    senders_hear: bool
    """Whether a sender is a member of the room, and so hears the other senders."""
    refusal: bytes
    """What an answer contains if the server refuses."""
    has_pings: bool
    """Whether the server sends readers something else than messages, so that bytes do not count deliveries."""
    at_once: int
    """Handshakes that are under way at a time, as many as suit the server best."""

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Return the handshake of reader `number`, who hears broadcasts and direct messages."""

    def send(self, number: int) -> list[tuple[bytes, bytes]]:
        """Return the handshake of sender `number`."""

    def broadcast(self, text: str) -> bytes:
        """Return the bytes that send this text to all."""

    def direct(self, number: int, text: str) -> bytes:
        """Return the bytes that send this text to reader `number`."""


class ChatroomWire:
    """Ours: a JSON object a line."""

    senders_hear = True
    refusal = b'"code":"error"'
    at_once = 100

    def __init__(self, features: Sequence[str] = ()) -> None:
        """`features`: what all ask to be sent beyond the base protocol."""
        self._features = list(features)
        self.has_pings = bool(features)

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Say hello."""
        return self._hello(f"r{number:05d}")

    def send(self, number: int) -> list[tuple[bytes, bytes]]:
        """Say hello."""
        return self._hello(f"s{number:05d}")

    def broadcast(self, text: str) -> bytes:
        """As the base protocol has it."""
        return b'{"code":"outgoing_broadcast","content":"%b"}\n' % text.encode()

    def direct(self, number: int, text: str) -> bytes:
        """As the base protocol has it."""
        return b'{"code":"outgoing","to":"r%05d","content":"%b"}\n' % (number, text.encode())

    def confirmed(self, number: int, ref: str, size: int) -> bytes:
        """Return the bytes that send so much text from sender `number` to itself, to be confirmed."""
        head = b'{"code":"outgoing","to":"s%05d","content":"%b"' % (number, b"x" * size)
        return head + b',"ref":"%b"}\n' % ref.encode()

    def _hello(self, name: str) -> list[tuple[bytes, bytes]]:
        hello = {"code": "hello", "name": name} | ({"features": self._features} if self._features else {})
        return [(json.dumps(hello).encode() + b"\n", b"}\n" if self._features else b'"welcome"}\n')]
