"""One peer: its bytes become requests to the hub, and errors of all three kinds find their end here."""

import asyncio
import errno
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from chatroom.doors.admission import Verdict
from chatroom.doors.first_bytes import other_protocol
from chatroom.doors.intake import INPUT, Intake
from chatroom.doors.kernel import Kernel
from chatroom.doors.outbox import Outbox
from chatroom.doors.throttle import Throttle
from chatroom.hub.client import Client
from chatroom.hub.networks import host_of, is_loopback
from chatroom.protocol.messages import ErrorCode, ErrorReply, Fault
from chatroom.protocol.stream import Asked, StreamDecoder

if TYPE_CHECKING:
    from chatroom.doors.door import Door

log = logging.getLogger("chatroom")

LINGER = 1.0
"""Seconds that a peer has to close its side when all that it was sent is acknowledged; if it is turned away, to
ask for something."""
FIRST_READS = 64
"""Reads that are acknowledged at once, unless answered, of whoever sends line breaks; of bare peers, all are.
Each costs a system call, which whoever sends fast and for long is not to pay."""
_NOTHING: Iterator[bytes] = iter(())
_NOTHING_YET: tuple[float, float] = (-math.inf, 0.0)  # taken, and when: until somebody has looked


class Wait(Enum):
    """What a connection may be waited for."""

    HELLO = auto()  # an accepted hello
    OBJECT = auto()  # the end of an object that it began
    SIGN = auto()  # a sign of life
    CLOSE = auto()  # that it takes what is left, and closes its side after ours


class Connection(asyncio.BufferedProtocol):
    """One peer, over a transport of the event loop or of TLS."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_client",
        "_decoder",
        "_door",
        "_first",
        "_intake",
        "_is_finished",
        "_is_held",
        "_is_in",
        "_is_lost",
        "_is_retrying",
        "_is_stranger",
        "_is_watched",
        "_kernel",
        "_late",
        "_outbox",
        "_peer_is_done",
        "_reads",
        "_reason",
        "_strange_bytes",
        "_take",
        "_taken",
        "_transport",
        "_verdict",
        "_was_pinged",
    )

    _decoder: StreamDecoder[Asked]
    _intake: Intake
    _kernel: Kernel
    _late: Iterator[bytes]
    _outbox: Outbox
    _client: Client
    _take: Callable[[bytes], None]
    _transport: asyncio.Transport

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._begun: object | None = None
        self._buffer = door.strange
        self._first = b""  # bytes, until they tell which protocol this is
        self._is_finished = False
        self._is_held = False  # nothing is read from it
        self._is_in = False
        self._is_lost = False  # and yet what was read is still being done
        self._is_retrying = False
        self._is_stranger = True
        self._is_watched = True  # it is new or bare, or its signs of life are waited for
        self._late = _NOTHING  # what came in and nobody had read when the connection was lost
        self._peer_is_done = False
        self._reads = 0  # the first of them are counted
        self._reason = "vanished"
        self._strange_bytes = 0
        self._taken = _NOTHING_YET  # how much of what was sent, and when that was last more than before
        self._verdict = Verdict.CLOSE
        self._was_pinged = False

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session, if there is room."""
        self._take = _pass_over
        door = self._door
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("unknown", 0)
        host = peer[0]
        name = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
        self._verdict = door.enter(host, name)
        if self._verdict is Verdict.CLOSE:
            self._transport.abort()
            return
        self._is_in = True
        limits = door.limits
        self._kernel = door.kernel(transport.get_extra_info("socket"), limits)
        origin = door.admission.origin(host)
        self._outbox = Outbox(
            self._transport,
            self,
            door.loop,
            door.backlog,
            door.dialect,
            peer=name,
            origin=origin,
            is_private=_is_private(transport, host),
        )
        refusal = door.refusal(self._verdict)
        self._client = door.hub.connect(self._outbox, turned_away=refusal)
        throttle = Throttle(limits, door.loop, self._kernel.unread) if origin else None
        self._intake = Intake(
            door.hub,
            self._client,
            self._outbox,
            self,
            limits=limits,
            timing=door.loop,
            throttle=throttle,
            effort=door.effort,
        )
        self._decoder = self._intake.decoder
        self._take = self._take_first
        door.add(self)
        door.deadlines.set((self, Wait.HELLO), LINGER if refusal else limits.hello_timeout)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - we know better
        """Return where the next bytes go: of a stranger, no more than it may send."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Do what the bytes ask for; a bug of ours ends this connection, and no other."""
        try:
            was_stranger = self._is_stranger
            self._take(self._buffer[:nbytes].tobytes())
            if self._decoder.begun is not self._begun:
                self.decoded()
            if self._is_watched:
                self._watch(nbytes, was_stranger=was_stranger)
            if nbytes >= INPUT:
                self._let_others_go_first()
        except Exception as bug:  # noqa: BLE001 - it is logged there
            self.fail(bug)

    def eof_received(self) -> bool:
        """End the session as `quit` does, once all is done: the peer may still read what is sent to it."""
        if not self._is_in:
            return False
        self._peer_is_done = True
        if not self._intake.is_waiting:
            self.leave("closed")
        return not self._is_finished

    def pause_writing(self) -> None:
        """Hold what is to be sent, and what others send to it."""
        self._outbox.pause()
        if not self._client.is_leaving:
            self._door.hub.flow.fell_behind(self._client)

    def resume_writing(self) -> None:
        """Send what was held."""
        self._door.hub.flow.caught_up(self._client)
        self._outbox.resume()

    def connection_lost(
        self, exc: Exception | None, decrypted: Callable[[bytes], Iterable[bytes]] | None = None
    ) -> None:
        """Forget the peer, once what came from it is done.

        `decrypted` makes pieces for one turn each of what is still with the kernel; None: it is plain.
        """
        if not self._is_in:
            return
        self._outbox.drop()
        if self._reason == "vanished" and not self._client.is_leaving and not self._is_stranger:
            unread = self._kernel.drain(INPUT)
            self._late = iter([unread] if decrypted is None else decrypted(unread))
            self._decoder.rest += next(self._late, b"")
        if isinstance(exc, OSError):
            self._reason = "timed out" if exc.errno == errno.ETIMEDOUT else "reset"
        self._is_lost = True
        self._kernel.forget()
        if self._intake.has_more and not self._client.is_leaving:
            self._stop_waiting(*Wait)
            self._intake.skip_answers()
            self._door.hub.flow.caught_up(self._client)
            self._door.loop.call_soon(self._intake.go_on)
        else:
            self._end()

    # What the outbox and the intake call

    def finish(self) -> None:
        """Close our side; then the peer takes what is left and closes its own.

        To close both at once would make TCP throw away what is on its way, if the peer is still sending.
        """
        if self._is_finished or self._transport.is_closing():
            return
        self._is_finished = True
        try:
            if self._peer_is_done or not self._transport.can_write_eof():
                self._transport.close()
            else:
                self._transport.write_eof()
                self._transport.resume_reading()
        except (OSError, RuntimeError):  # it has just been reset
            self._transport.abort()
            return
        self._taken = _NOTHING_YET
        self._look_at_end()

    def give_up(self, reason: str) -> None:
        """End the connection now; nobody waits for its peer to read any longer."""
        self._turned_away(reason)
        self._reason = reason
        self._door.hub.flow.caught_up(self._client)
        self._outbox.drop()
        self._transport.abort()
        self.pass_over()

    def fail(self, bug: Exception) -> None:
        """A bug of ours ends this connection, and no other."""
        log.error("internal error, closing the connection of %s", self._outbox.peer, exc_info=bug)
        self.give_up("bug")

    def is_dead(self) -> bool:
        """Whether the peer is provably gone: reset, timed out, or silent to all that it was sent."""
        return self._transport.is_closing() or self._kernel.is_dead()

    def wait(self) -> None:
        """Do and read nothing more until told to go on."""
        self._intake.hold()

    def go_on(self) -> None:
        """Do what waits."""
        self._intake.go_on()

    def pass_over(self) -> None:
        """Do nothing more that the peer asks for: the session has ended."""
        self._take = _pass_over
        self._buffer = self._door.buffer
        self._intake.drop()
        self._stop_waiting(Wait.HELLO, Wait.OBJECT, Wait.SIGN)
        if self._is_lost:
            self._end()

    def decoded(self) -> None:
        """More has been decoded: another object may have begun or ended, and a line break have come."""
        if self._is_lost or self._client.is_leaving:
            return
        if self._decoder.begun is not self._begun:
            self._begun = self._decoder.begun
            self._expect_object()
        if self._decoder.newline_seen and self._outbox.is_bare:
            self._outbox.speak_lines()

    def hold(self) -> None:
        """Read nothing more for now: nor is the peer waited for, if it is we who do not read."""
        if not self._is_held:
            self._is_held = True
            if not self._transport.is_closing():
                self._transport.pause_reading()
            for wait in (Wait.HELLO, Wait.OBJECT, Wait.SIGN):
                self._door.deadlines.stop((self, wait))

    def read_on(self) -> None:
        """All that was read has been done, or need not be."""
        if self._is_lost:
            self._do_what_came_late()
            return
        self._is_held = False
        if self._is_stranger:
            self._look_at_stranger()
        else:
            self._outbox.request_came()
        if self._peer_is_done:
            self.leave("closed")
        elif not self._transport.is_closing():
            self._transport.resume_reading()
            for wait in (Wait.HELLO, Wait.OBJECT, Wait.SIGN):
                self._door.deadlines.go_on((self, wait))

    # What the door calls

    def leave(self, reason: str) -> None:
        """End the session in good order."""
        self._turned_away(reason)
        self._door.hub.leave(self._client, reason)
        self.pass_over()

    def hurry(self) -> None:
        """Wait for the store no longer."""
        if self._client.under_way:
            self._door.hub.delivery.end(self._client)

    def missed(self, wait: Wait) -> None:
        """Handle a deadline that has passed."""
        limits, deadlines = self._door.limits, self._door.deadlines
        match wait:
            case Wait.HELLO:
                self.leave("idle")
            case Wait.OBJECT:
                text = f"an object was not finished within {limits.object_timeout:g} s"
                self._door.hub.fault(self._client, Fault(error=ErrorCode.BAD_JSON, message=text))
                self.leave("idle")
            case Wait.SIGN if not self._was_pinged:
                self._was_pinged = True
                self._door.hub.ping(self._client)
                deadlines.set((self, wait), limits.ping_interval)
            case Wait.SIGN:
                self.give_up("idle")
            case Wait.CLOSE:
                self._look_at_end()

    def look(self) -> None:
        """End the connection of a peer that is gone, or takes nothing of what it is sent.

        Progress is what its system acknowledges. Where that is not known (all but Linux), it is what leaves a
        transport that keeps more than it likes.
        """
        if self._is_finished or self._transport.is_closing():
            return
        kept = self._transport.get_write_buffer_size() if self._outbox.is_congested else 0
        owed = self._kernel.unacknowledged() or kept
        if not owed:
            self._taken = _NOTHING_YET
            return
        taken, limit = self._kernel.taken(), self._door.limits.stall_timeout
        if self._has_taken_more(-owed if taken is None else taken):
            return
        if self._kernel.unanswered() > limit - self._door.interval:
            self.give_up("timed out")
        elif self._door.loop.time() - self._taken[1] >= limit:
            self.give_up("slow_consumer")

    def _take_first(self, data: bytes) -> None:
        """Take the first bytes; if the peer means another kind of server, that is the end."""
        self._first += data
        other = other_protocol(self._first)
        if other:
            text = f"{other} is not spoken here: send JSON objects"
            self._door.hub.fault(self._client, Fault(error=ErrorCode.BAD_JSON, message=text))
            self.leave(f"spoke {other}")
            return
        if other is None:
            self._first = b""
            self._take = self._intake.take
        self._intake.take(data)

    def _let_others_go_first(self) -> None:
        """There may be more to read; the others' turn comes first."""
        if not self._is_held and not self._client.is_leaving:
            self.hold()
            self._door.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if self._is_held and not self._intake.is_waiting and not self._is_lost and not self._is_finished:
            self.read_on()

    def _watch(self, size: int, *, was_stranger: bool) -> None:
        """Bytes came from one who is new or bare, or whose signs of life are waited for."""
        if self._decoder.newline_seen and self._outbox.is_bare:
            self._outbox.speak_lines()
            self._reads = min(self._reads, FIRST_READS)
        self._reads += 1
        if self._outbox.is_bare or (self._reads <= FIRST_READS and not self._client.own):
            self._kernel.acknowledge()
        elif self._reads == FIRST_READS + 1:
            self._kernel.delay_acknowledgements()
        if self._client.is_leaving:
            return
        if self._is_stranger:
            self._strange_bytes += size
            self._look_at_stranger()
        if self._is_stranger:
            return
        if not (was_stranger or self._intake.is_waiting):
            self._outbox.request_came()
        self._is_watched = self._outbox.is_bare or self._reads <= FIRST_READS or "ping" in self._client.features
        if "ping" in self._client.features:
            self._was_pinged = False
            self._expect(Wait.SIGN, self._door.limits.ping_interval)

    def _expect_object(self) -> None:
        """The object that was begun must end in time."""
        if self._begun is None:
            self._door.deadlines.clear((self, Wait.OBJECT))
        else:
            self._expect(Wait.OBJECT, self._door.limits.object_timeout)

    def _expect(self, wait: Wait, seconds: float) -> None:
        """Expect something of the peer in this time; while we do not read, no time passes."""
        self._door.deadlines.set((self, wait), seconds)
        if self._is_held:
            self._door.deadlines.stop((self, wait))

    def _look_at_stranger(self) -> None:
        """Bound what comes before an accepted hello; let somebody in who is welcome."""
        limits, client = self._door.limits, self._client
        if client.name is not None:
            self._is_stranger = False
            self._buffer = self._door.buffer
            self._outbox.await_request()
            self._door.deadlines.clear((self, Wait.HELLO))
            if "ping" in client.features:
                self._expect(Wait.SIGN, limits.ping_interval)
            return
        if not client.is_leaving:
            self._buffer = self._door.buffer[: max(1, limits.stranger_in + 1 - self._strange_bytes)]
        if client.is_leaving or self._intake.is_waiting:
            pass
        elif self._strange_bytes > limits.stranger_in:
            text = f"{limits.stranger_in} bytes may come before an accepted hello"
            self._door.hub.answer(self._client, ErrorReply(error=ErrorCode.TOO_BIG, message=text))
            self.leave("flood")
        elif client.hellos and not self._is_retrying:
            self._is_retrying = True  # once: what comes later does not make it longer
            self._door.deadlines.set((self, Wait.HELLO), limits.hello_retry)

    def _turned_away(self, reason: str) -> None:
        """If it was never welcome, and does not go by itself, the log hears of it; once."""
        is_unknown = self._client.name is None and not self._client.is_leaving
        if is_unknown and self._verdict is Verdict.WELCOME and reason not in {"closed", "draining"}:
            self._door.observer.turned_away(self._outbox.peer, reason)

    def _look_at_end(self) -> None:
        """Wait while the peer takes what is left; when it has all, for its own end, but not for long."""
        deadlines = self._door.deadlines
        owed = self._transport.get_write_buffer_size() + self._kernel.unacknowledged()
        if self._has_taken_more(-owed):
            deadlines.set((self, Wait.CLOSE), 0 if owed else LINGER)
        elif self._door.loop.time() - self._taken[1] < (self._door.limits.stall_timeout if owed else LINGER):
            deadlines.set((self, Wait.CLOSE), 0)
        else:
            self._transport.abort()

    def _has_taken_more(self, taken: int) -> bool:
        """Whether that is more than when the peer was last seen to take some."""
        if taken <= self._taken[0]:
            return False
        self._taken = taken, self._door.loop.time()
        return True

    def _do_what_came_late(self) -> None:
        """Do the next piece of what nobody had read when the connection was lost; behind the last, end."""
        piece = b"" if self._client.is_leaving else next(self._late, b"")
        if piece:
            self._decoder.rest += piece
            self._door.loop.call_soon(self._intake.go_on)
        else:
            self._end()

    def _stop_waiting(self, *waits: Wait) -> None:
        for wait in waits:
            self._door.deadlines.clear((self, wait))

    def _end(self) -> None:
        """Give back what the connection had, once."""
        if not self._is_in:
            return
        door = self._door
        self._is_in = False
        self._intake.drop()
        door.hub.disconnect(self._client, self._reason)
        self._stop_waiting(*Wait)
        door.admission.leave(host_of(self._outbox.peer), self._verdict)
        door.connections.discard(self)
        if not door.connections:
            door.all_gone.set()


def _pass_over(data: bytes) -> None:
    """Take nothing of what comes behind the end."""


def _is_private(transport: asyncio.BaseTransport, host: str) -> bool:
    """Whether nobody on the way can read what is sent: it is encrypted, or goes from loopback to loopback."""
    if transport.get_extra_info("ssl_object") is not None:
        return True
    own = transport.get_extra_info("sockname") if is_loopback(host) else None
    return own is not None and is_loopback(own[0])
