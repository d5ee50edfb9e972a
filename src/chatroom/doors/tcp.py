"""JSON over TCP: one `Connection` each, and the `Door` they come in by."""

import asyncio
import contextlib
import logging
import socket
from enum import Enum, auto
from typing import cast

from chatroom.doors.deadlines import Deadlines
from chatroom.doors.outbox import Outbox
from chatroom.hub.hub import Hub
from chatroom.hub.session import Session
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import Fault, Word
from chatroom.protocol.scanner import ObjectScan
from chatroom.protocol.stream import REQUESTS, StreamDecoder

log = logging.getLogger("chatroom")

LINGER = 1.0
"""Seconds that a peer has to close its side after we have closed ours."""

# A peer that is gone without a word is noticed: keepalive when idle (s, s, probes), and the user time-out
# (ms) while data is unacknowledged, for which keepalive alone would never care. RFC 9293, section 3.9.1.
_ALIVE = {
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,
}


_TCP_CLOSE = 7
"""The state of a connection that is no more, as the first byte of Linux's `tcp_info`."""


class Wait(Enum):
    """What a connection may be waited for."""

    OBJECT = auto()  # the end of an object that it began
    CLOSE = auto()  # its own end, after ours


class Door:
    """Where connections come in: a protocol factory for the event loop, and all who came."""

    def __init__(self, hub: Hub, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.hub = hub
        self.limits = limits
        self.loop = loop
        self.connections: set[Connection] = set()
        self.deadlines: Deadlines[tuple[Connection, Wait]] = Deadlines(loop, lambda key: key[0].missed(key[1]))
        self.all_gone = asyncio.Event()
        """Set whenever the last connection ends."""

    def __call__(self) -> "Connection":
        """Let one in."""
        return Connection(self)

    def close(self) -> None:
        """End every connection in good order."""
        for connection in list(self.connections):
            connection.leave("draining")

    def abort(self) -> None:
        """End every connection now."""
        for connection in list(self.connections):
            connection.give_up("draining")


class Connection(asyncio.Protocol):
    """One peer: its bytes become requests to the hub, and errors of all three kinds find their end here."""

    __slots__ = (
        "_begun",
        "_decoder",
        "_door",
        "_is_finished",
        "_outbox",
        "_peer_is_done",
        "_reason",
        "_session",
        "_transport",
    )

    _transport: asyncio.Transport
    _outbox: Outbox
    _session: Session

    def __init__(self, door: Door) -> None:
        self._door = door
        self._decoder = StreamDecoder(REQUESTS, door.limits.max_object)
        self._begun: ObjectScan | None = None
        self._peer_is_done = False
        self._is_finished = False
        self._reason = "vanished"

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._outbox = Outbox(
            self._transport,
            self,
            self._door.loop,
            limit=self._door.limits.max_backlog,
            peer=f"{peer[0]}:{peer[1]}" if peer else "unknown",
        )
        self._session = self._door.hub.connect(self._outbox)
        self._door.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Do what the bytes ask for."""
        if self._session.is_leaving:
            return
        try:
            self._receive(data)
        except Exception:
            log.exception("a bug of ours ends the connection of %s", self._outbox.peer)
            self.give_up("bug")

    def eof_received(self) -> bool:
        """End the session as `quit` does: the peer may still read what was queued for it."""
        self._peer_is_done = True
        self.leave("closed")
        return not self._is_finished

    def pause_writing(self) -> None:
        """Hold what is to be sent."""
        self._outbox.pause()

    def resume_writing(self) -> None:
        """Send what was held."""
        self._outbox.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the peer."""
        self._outbox.drop()
        self._door.hub.disconnect(self._session, "reset" if exc else self._reason)
        for wait in Wait:
            self._door.deadlines.clear((self, wait))
        self._door.connections.discard(self)
        if not self._door.connections:
            self._door.all_gone.set()

    # What the outbox calls

    def finish(self) -> None:
        """Close our side; then the peer closes its own, or is not waited for any longer.

        To close both at once would make TCP throw away what is on its way, if the peer is still sending.
        """
        self._is_finished = True
        if self._transport.is_closing():
            return
        if self._peer_is_done or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
            self._door.deadlines.set((self, Wait.CLOSE), LINGER)

    def give_up(self, reason: str) -> None:
        """End the connection now."""
        self._reason = reason
        self._outbox.drop()
        self._transport.abort()

    def is_dead(self) -> bool:
        """Whether TCP has given the connection up: reset by the peer, or timed out."""
        if self._transport.is_closing():
            return True
        peer = self._transport.get_extra_info("socket")
        if peer is None or not hasattr(socket, "TCP_INFO"):
            return False
        return bool(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)

    # What the door calls

    def leave(self, reason: str) -> None:
        """End the session in good order."""
        self._door.hub.leave(self._session, reason)

    def missed(self, wait: Wait) -> None:
        """Something did not happen in time."""
        if wait is Wait.OBJECT:
            text = f"an object was not finished within {self._door.limits.object_timeout:g} s"
            self._door.hub.fault(self._session, Fault(error=Word.BAD_JSON, message=text))
            self.leave("idle")
        else:
            self._transport.abort()

    def _receive(self, data: bytes) -> None:
        messages = self._decoder.feed(data)
        if self._decoder.newline_seen:
            self._outbox.speak_lines()
        if self._decoder.begun is not self._begun:
            self._begun = self._decoder.begun
            if self._begun is None:
                self._door.deadlines.clear((self, Wait.OBJECT))
            else:
                self._door.deadlines.set((self, Wait.OBJECT), self._door.limits.object_timeout)
        self._door.hub.handle(self._session, messages)


def keep_alive(listening: socket.socket) -> None:
    """Have the connections that this socket accepts notice when their peer is gone.

    Accepted sockets inherit these options; a system that lacks one does without.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _ALIVE.items():
        with contextlib.suppress(AttributeError, OSError):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
