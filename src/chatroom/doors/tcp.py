"""JSON over TCP: one `Connection` each, and the `Door` they come in by."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from enum import Enum, auto
from typing import cast

from chatroom.doors.admission import Admission, Verdict
from chatroom.doors.backlog import Backlog
from chatroom.doors.deadlines import Deadlines
from chatroom.doors.outbox import Outbox
from chatroom.doors.throttle import Pace, Throttle
from chatroom.hub.commands import Refusal
from chatroom.hub.hub import Hub
from chatroom.hub.session import Session
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import ErrorCode, Fault, PingEvent, encode
from chatroom.protocol.scanner import ObjectScan
from chatroom.protocol.stream import REQUESTS, StreamDecoder

log = logging.getLogger("chatroom")

LINGER = 1.0
"""Seconds that a peer has to close its side after we have closed ours, or to hear that the server is full."""
FULL_LOG_INTERVAL = 60.0
"""Seconds between two log lines that say that the server is full."""

_TCP_CLOSE = 7
"""The state of a connection that is no more, as the first byte of Linux's `tcp_info`."""


class Wait(Enum):
    """What a connection may be waited for."""

    HELLO = auto()  # an accepted hello
    OBJECT = auto()  # the end of an object that it began
    READ = auto()  # that it reads what is sent to it
    SIGN = auto()  # a sign of life
    CLOSE = auto()  # its own end, after ours


class Door:
    """Where connections come in: a protocol factory for the event loop, and all who came."""

    def __init__(
        self,
        hub: Hub,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        max_connections: int,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`note` takes a line for the operator."""
        self.hub = hub
        self.limits = limits
        self.loop = loop
        self.admission = Admission(limits, max_connections, loop)
        self.backlog = Backlog(limits.max_backlogs)
        self.connections: set[Connection] = set()
        self.deadlines: Deadlines[tuple[Connection, Wait]] = Deadlines(loop, lambda key: key[0].missed(key[1]))
        self.all_gone = asyncio.Event()
        """Set whenever the last connection ends."""
        self._note = note
        self._full_noted = float("-inf")

    def __call__(self) -> "Connection":
        """Let one in."""
        return Connection(self)

    def enter(self, host: str) -> Verdict:
        """Count a new connection, and say whether it may stay."""
        verdict = self.admission.enter(host)
        if verdict is Verdict.FULL and self.loop.time() - self._full_noted >= FULL_LOG_INTERVAL:
            self._full_noted = self.loop.time()
            self._note(f"full: {self.admission.connections - 1} connections; more are turned away")
        return verdict

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
        "_host",
        "_is_finished",
        "_is_retrying",
        "_is_stranger",
        "_is_watched",
        "_outbox",
        "_peer_is_done",
        "_reason",
        "_session",
        "_strange_bytes",
        "_throttle",
        "_transport",
        "_unread",
        "_was_pinged",
    )

    _transport: asyncio.Transport
    _outbox: Outbox
    _session: Session

    def __init__(self, door: Door) -> None:
        self._door = door
        self._decoder = StreamDecoder(REQUESTS, door.limits.max_object)
        self._begun: ObjectScan | None = None
        self._host = ""
        self._is_finished = False
        self._is_retrying = False
        self._is_stranger = True
        self._is_watched = True  # a stranger, or one whose signs of life are waited for
        self._peer_is_done = False
        self._reason = "vanished"
        self._strange_bytes = 0
        self._throttle: Throttle | None = None
        self._unread = 0  # bytes in the transport when it was last looked at
        self._was_pinged = False

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session, if there is room."""
        door = self._door
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("unknown", 0)
        self._host = peer[0]
        verdict = door.enter(self._host)
        if verdict is Verdict.TOO_MANY:
            transport.set_protocol(asyncio.Protocol())  # which lets everything pass
            self._transport.abort()
            return
        self._outbox = Outbox(
            self._transport,
            self,
            door.loop,
            door.backlog,
            limit=door.limits.max_backlog,
            peer=f"{peer[0]}:{peer[1]}",
        )
        self._session = door.hub.connect(self._outbox, is_full=verdict is Verdict.FULL)
        door.connections.add(self)
        door.deadlines.set((self, Wait.HELLO), LINGER if verdict is Verdict.FULL else door.limits.hello_timeout)
        if door.admission.is_exempt(self._host):
            self._decoder.finds_bursts = True
        else:
            self._throttle = Throttle(door.limits, door.loop)

    def data_received(self, data: bytes) -> None:
        """Do what the bytes ask for; a bug of ours ends this connection, and no other."""
        session, decoder = self._session, self._decoder
        if session.is_leaving:
            return
        try:
            messages = decoder.feed(data)
            if decoder.newline_seen and self._outbox.is_bare:
                self._outbox.speak_lines()
            if decoder.begun is not self._begun:
                self._begun = decoder.begun
                self._expect_object()
            if self._throttle is None:
                self._door.hub.handle(session, messages)
            else:
                self._throttle.waiting.extend(messages)
                self._go_on(self._throttle)
            if self._is_watched:
                self._watch(len(data))
        except Exception as bug:  # noqa: BLE001 - it is logged there
            self.fail(bug)

    def eof_received(self) -> bool:
        """End the session as `quit` does: the peer may still read what was queued for it."""
        self._peer_is_done = True
        self.leave("closed")
        return not self._is_finished

    def pause_writing(self) -> None:
        """Hold what is to be sent."""
        self._outbox.pause()
        self._unread = self._transport.get_write_buffer_size()
        self._door.deadlines.set((self, Wait.READ), self._door.limits.stall_timeout)

    def resume_writing(self) -> None:
        """Send what was held."""
        self._door.deadlines.clear((self, Wait.READ))
        self._outbox.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the peer."""
        door = self._door
        self._outbox.drop()
        door.hub.disconnect(self._session, "reset" if exc else self._reason)
        for wait in Wait:
            door.deadlines.clear((self, wait))
        door.admission.leave(self._host)
        door.connections.discard(self)
        if not door.connections:
            door.all_gone.set()

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
            self._transport.resume_reading()
            self._door.deadlines.set((self, Wait.CLOSE), LINGER)

    def give_up(self, reason: str) -> None:
        """End the connection now."""
        self._reason = reason
        self._outbox.drop()
        self._transport.abort()

    def fail(self, bug: Exception) -> None:
        """A bug of ours ends this connection, and no other."""
        log.error("a bug of ours ends the connection of %s", self._outbox.peer, exc_info=bug)
        self.give_up("bug")

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
        match wait:
            case Wait.HELLO:
                self.leave("idle")
            case Wait.OBJECT:
                text = f"an object was not finished within {self._door.limits.object_timeout:g} s"
                self._door.hub.fault(self._session, Fault(error=ErrorCode.BAD_JSON, message=text))
                self.leave("idle")
            case Wait.READ:
                before, self._unread = self._unread, self._transport.get_write_buffer_size()
                if self._unread < before:
                    self._door.deadlines.set((self, wait), self._door.limits.stall_timeout)
                else:
                    self.give_up("slow_consumer")
            case Wait.SIGN if not self._was_pinged:
                self._was_pinged = True
                self._door.hub.push(self._session, encode(PingEvent()))
                self._door.deadlines.set((self, wait), self._door.limits.ping_interval)
            case Wait.SIGN:
                self.give_up("idle")
            case Wait.CLOSE:
                self._transport.abort()

    def _watch(self, size: int) -> None:
        """So many bytes came from a stranger, or from one whose signs of life are waited for."""
        if self._is_stranger:
            self._strange_bytes += size
            self._look_at_stranger()
        else:
            self._was_pinged = False
            self._door.deadlines.set((self, Wait.SIGN), self._door.limits.ping_interval)

    def _expect_object(self) -> None:
        """The object that was begun must end in time."""
        if self._begun is None:
            self._door.deadlines.clear((self, Wait.OBJECT))
        else:
            self._door.deadlines.set((self, Wait.OBJECT), self._door.limits.object_timeout)

    def _look_at_stranger(self) -> None:
        """Bound what comes before an accepted hello; let somebody in who is welcome."""
        limits, session = self._door.limits, self._session
        if session.name is not None:
            self._is_stranger = False
            self._is_watched = "ping" in session.features
            self._door.deadlines.clear((self, Wait.HELLO))
            if self._is_watched:
                self._door.deadlines.set((self, Wait.SIGN), limits.ping_interval)
        elif self._strange_bytes > limits.stranger_in:
            self.leave("flood")
        elif session.hellos and not self._is_retrying:
            self._is_retrying = True  # once: what comes later does not make it longer
            self._door.deadlines.set((self, Wait.HELLO), limits.hello_retry)

    def _go_on(self, throttle: Throttle) -> None:
        """Do the requests that wait, as fast as they may be done."""
        hub, session = self._door.hub, self._session
        while throttle.waiting and not session.is_leaving:
            message = throttle.waiting[0]
            pace, wait = throttle.next(hub.cost(message))
            if pace is Pace.WAIT:
                self._transport.pause_reading()
                self._door.deadlines.clear((self, Wait.OBJECT))  # it is we who do not read
                self._door.loop.call_later(max(wait, 0.01), self._wake)
                return
            throttle.waiting.popleft()
            if pace is Pace.DO:
                hub.handle(session, [message])
            elif pace is Pace.REFUSE:
                text = "too many requests: this one was not done"
                hub.refuse(session, Refusal(ErrorCode.SLOW_DOWN, text, retry_after=1.0), message)
            else:
                self.leave("flood")
        throttle.waiting.clear()
        self._transport.resume_reading()
        self._expect_object()
        if self._is_stranger:
            self._look_at_stranger()

    def _wake(self) -> None:
        """Some time has passed for requests that wait."""
        if self._throttle is not None and not self._transport.is_closing():
            try:
                self._go_on(self._throttle)
            except Exception as bug:  # noqa: BLE001 - it is logged there
                self.fail(bug)


def keep_alive(listening: socket.socket, limits: Limits) -> None:
    """Have the connections that this socket accepts notice when their peer is gone without a word.

    Keepalive when idle, and the user time-out while data is unacknowledged, for which keepalive alone would
    never care (RFC 9293, 3.8.3 and 3.8.4). Accepted sockets inherit these options; a system that lacks one
    does without.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in {
        "TCP_KEEPIDLE": limits.keepalive_idle,
        "TCP_KEEPINTVL": limits.keepalive_interval,
        "TCP_KEEPCNT": limits.keepalive_count,
        "TCP_USER_TIMEOUT": int(limits.user_timeout * 1000),
    }.items():
        with contextlib.suppress(AttributeError, OSError):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
