"""TLS between a connection and its transport.

The event loops' own TLS begins its handshake before anybody can say no to it, and closes both ways at once when
the peer has closed one, so that answers to what came last are lost. Here admission comes first, as it does on a
plain port, and a half-closed connection is one: all rules are those of `Connection`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, cast

from chatroom.doors.connection import Connection
from chatroom.doors.door import Door

RAW = 16 * 1024
"""Bytes that are read, or encrypted, at a time: OpenSSL's buffers keep the size that they once had."""
_PLAIN_TEXT = {"wrong version number", "http request", "https proxy request"}
"""What OpenSSL says of first bytes that are no TLS."""
BARREN = 64 * 1024
"""Bytes that may come in without anything to hand on, such as updates of keys."""


class TlsDoor:
    """The factory of a port that speaks TLS."""

    def __init__(self, door: Door, context: ssl.SSLContext) -> None:
        self.context = context
        """For connections to come."""
        self._door = door
        self._buffer = memoryview(bytearray(RAW))

    def __call__(self) -> "Tls":
        """Let one in."""
        return Tls(self._door(), self.context, self._buffer)


class Tls(asyncio.BufferedProtocol):
    """The protocol of a TCP transport, and the transport of a connection.

    It keeps these promises:
    1. before the connection has been admitted, nothing is read;
    2. what has been decrypted and is not wanted yet is no more than one read;
    3. what is written before `write_eof()` arrives ahead of the end, whatever the peer has closed.
    """

    def __init__(self, connection: Connection, context: ssl.SSLContext, buffer: memoryview) -> None:
        self._buffer = buffer
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._barren = 0  # bytes that came in and were nothing to hand on
        self._is_ready = False  # the handshake is done
        self._has_ended = False  # nothing more comes in
        self._is_closing = False  # nothing more goes out
        self._is_paused = False
        self._transport: asyncio.Transport

    # The protocol of the TCP transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the connection says whether to go on."""
        self._transport = cast("asyncio.Transport", transport)
        self._connection.connection_made(cast("asyncio.BaseTransport", self))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - we know better
        """Return where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt what came in."""
        if not (self._has_ended or self._is_closing):
            self._incoming.write(self._buffer[:nbytes])
            self._barren += nbytes
            self._advance()
            if self._barren > BARREN:
                self._fail("too much data without a message")
            elif nbytes == RAW and not self._is_paused:
                self.pause_reading()  # the others' turn comes first
                self.resume_reading()

    def eof_received(self) -> bool:
        """Take what came before the end, and go on writing."""
        if not (self._has_ended or self._is_closing):
            self._incoming.write_eof()
            self._advance()
        return not self._transport.is_closing()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._connection.connection_lost(exc, self._decrypted)

    # The transport of the connection

    def write(self, data: bytes) -> None:
        """Encrypt, and send or keep what cannot be sent now."""
        pieces: list[bytes] = []
        try:
            for start in range(0, 0 if self._is_closing else len(data), RAW):
                self._tls.write(data[start : start + RAW])
                pieces.append(self._outgoing.read())
        except ssl.SSLError as error:  # the peer has begun something of TLS, and not finished it
            self._fail(_reason(error))
        else:
            if pieces:
                self._transport.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are kept."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Hand on nothing more."""
        if not self._is_paused:
            self._is_paused = True
            if not self._has_ended:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Hand on what has come in meanwhile, and read on."""
        if self._is_paused:
            self._is_paused = False
            asyncio.get_running_loop().call_soon(self._read_on)

    def can_write_eof(self) -> bool:
        """Whether one side can be closed."""
        return True

    def write_eof(self) -> None:
        """Close our side, with TLS's own sign and with TCP's."""
        self._say_that_it_ends()
        self._transport.write_eof()

    def close(self) -> None:
        """Close both sides, behind what was written."""
        self._say_that_it_ends()
        self._transport.close()

    def abort(self) -> None:
        """Close both sides now."""
        self._is_closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is over, or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the TCP transport knows, and what is TLS's own."""
        return self._tls if name == "ssl_object" else self._transport.get_extra_info(name, default)

    # TLS itself

    def _advance(self) -> None:
        """Go on with the handshake, then hand on what has been decrypted."""
        try:
            if not self._is_ready:
                self._tls.do_handshake()
                self._is_ready = True
            self._hand_on()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError as error:
            self._fail(_reason(error))
        else:
            self._send()

    def _hand_on(self) -> None:
        """Give the connection what has been decrypted, a buffer at a time, as long as it reads."""
        while not (self._is_paused or self._has_ended or self._is_closing):
            buffer = self._connection.get_buffer(-1)
            size = 0
            try:
                while size < len(buffer):
                    # Typed as bytearray only; a memoryview is written to just as well.
                    got = self._tls.read(len(buffer) - size, cast("bytearray", buffer[size:]))
                    if not got:
                        raise ssl.SSLZeroReturnError
                    size += cast("int", got)
            except ssl.SSLWantReadError:
                if not size:
                    return
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self._has_ended = True
            if size:
                self._barren = max(0, self._barren - 64 * size)
                self._connection.buffer_updated(size)
        if self._has_ended and not self._is_closing and not self._connection.eof_received():
            self.close()

    def _read_on(self) -> None:
        if self._transport.is_closing() or self._is_paused:
            return
        if self._has_ended:
            self._transport.resume_reading()
            return
        self._advance()
        if not self._is_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _decrypted(self, unread: bytes) -> Iterator[bytes]:
        """Decrypt what was left when the connection was lost, as much at a time as is read; nothing is sent."""
        for start in range(0, len(unread) + 1, RAW):
            piece = b""
            with contextlib.suppress(ssl.SSLError):  # a message that was cut, or one behind the end
                self._incoming.write(unread[start : start + RAW])
                while got := self._tls.read(RAW):
                    piece += got
            if piece:
                yield piece

    def _say_that_it_ends(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if self._is_ready:
                with contextlib.suppress(ssl.SSLError):  # the peer's own sign has not come, nor is waited for
                    self._tls.unwrap()
            self._send()

    def _send(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    def _fail(self, reason: str) -> None:
        """End the connection; TLS's alert goes out if it need not wait for the peer to read."""
        if self._is_closing:
            return
        self._is_closing = True
        if not self._transport.get_write_buffer_size():
            self._send()
        reason = f"TLS: {reason}" if self._is_ready else _failed(reason)
        # uvloop writes behind this callback.
        asyncio.get_running_loop().call_soon(self._connection.give_up, reason)


def _failed(reason: str) -> str:
    """Say why there was no handshake, for an operator who does not know OpenSSL's words."""
    if reason in _PLAIN_TEXT:
        return "plain text on the TLS port"
    if reason.startswith("unexpected eof"):
        reason = "the peer left (does it trust the certificate?)"
    elif " alert " in reason:
        reason = f"the peer says {reason}"
    return f"TLS handshake failed: {reason}"


def _reason(error: ssl.SSLError) -> str:
    return (getattr(error, "reason", None) or "an unfinished message").replace("_", " ").lower()
