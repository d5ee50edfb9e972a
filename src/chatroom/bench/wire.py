"""How a server is spoken to, as bytes: all that the generator needs to know of a protocol."""

import json
from typing import Protocol

MARK = b"^"
"""Stands once in each message, and nowhere else: counting it counts deliveries, however they are cut."""


class BenchError(Exception):
    """The run cannot be made, or proved that the server lost something; the text says so."""


def payload(sender: int, number: int, size: int) -> str:
    """Return a text of `size` characters (20 at least) that tells who sent it, and as its how-manieth."""
    return f"^{sender:04d}:{number:09d}:".ljust(size, "x")


class Wire(Protocol):
    """One protocol. A step of a handshake is what to send, and what ends the answer to it."""

    senders_hear: bool
    """Whether a sender is a member of the room, and so hears the other senders."""
    refusal: bytes
    """What an answer contains if the server refuses."""

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

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Say hello."""
        return [(_line(code="hello", name=f"r{number}"), b'"welcome"}\n')]

    def send(self, number: int) -> list[tuple[bytes, bytes]]:
        """Say hello."""
        return [(_line(code="hello", name=f"s{number}"), b'"welcome"}\n')]

    def broadcast(self, text: str) -> bytes:
        """As the brief has it."""
        return b'{"code":"outgoing_broadcast","content":"%b"}\n' % text.encode()

    def direct(self, number: int, text: str) -> bytes:
        """As the brief has it."""
        return b'{"code":"outgoing","to":"r%d","content":"%b"}\n' % (number, text.encode())


def _line(**fields: str) -> bytes:
    return json.dumps(fields).encode() + b"\n"
