"""Outgoing bytes of one connection.

A room may hold thousands of people, and one of them may read slowly. So nobody waits here: what the
operating system does not take is kept, up to a limit, and whoever reaches it is let go.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from chatroom.doors.backlog import Backlog
from chatroom.doors.pacing import PACE, Dialect, Pacer
from chatroom.hub.ports import Timing

PATIENCE = 1.0
"""Seconds that a bare peer which was welcomed has for its first request, before others' messages are pushed."""


class Owner(Protocol):
    """The connection whose outbox this is."""

    def finish(self) -> None:
        """All that was pushed is with the transport; the connection may end."""

    def give_up(self, reason: str) -> None:
        """The peer cannot be served any longer."""

    def is_dead(self) -> bool:
        """Whether the peer is provably gone."""

    def fail(self, bug: Exception) -> None:
        """End the connection for a bug of ours."""

    def wait(self) -> None:
        """Do and read nothing more until told to go on."""

    def go_on(self) -> None:
        """Do what waits."""

    def pass_over(self) -> None:
        """Do nothing more that the peer asks for: the session has ended."""


class Transport(Protocol):
    """What an outbox needs of an asyncio transport."""

    def write(self, data: bytes, /) -> None:
        """Send, or keep what cannot be sent now."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are kept."""


class Outbox:
    """Frames for one connection: the hub's `Sink`.

    `push` keeps four promises, on which the hub relies:
    1. it never waits;
    2. it never calls the hub, which hears later of a connection that was given up, and raises nothing but the
       `RuntimeError` of a transport whose connection has just broken;
    3. frames leave in the order in which they came; to a bare peer, answers ahead of what others said;
    4. a transport that keeps more than it likes is handed nothing.

    It is an attribute that changes with the state, so that a broadcast need not ask for it; as a rule it is the
    transport's own `write`.
    """

    __slots__ = (
        "_answers_end",
        "_backlog",
        "_dialect",
        "_given",
        "_held",
        "_held_bytes",
        "_is_closing",
        "_is_dropped",
        "_owner",
        "_pacer",
        "_timing",
        "_transport",
        "is_bare",
        "is_congested",
        "is_private",
        "origin",
        "peer",
        "push",
    )

    push: Callable[[bytes], None]

    def __init__(
        self,
        transport: Transport,
        owner: Owner,
        timing: Timing,
        backlog: Backlog,
        dialect: Dialect,
        *,
        peer: str,
        origin: str,
        is_private: bool,
    ) -> None:
        """`backlog`: counts what all hold. `dialect`: how bare peers get frames. The rest: see `Sink`."""
        self._backlog = backlog
        self._dialect = dialect
        self.peer = peer
        self.origin = origin
        self.is_private = is_private
        self.push = self._pace
        self._transport = transport
        self._owner = owner
        self._timing = timing
        self.is_bare = True
        """Whether the peer has sent no line break yet."""
        self._is_closing = False
        self.is_congested = False
        """Whether the transport keeps more than it likes."""
        self._is_dropped = False
        self._pacer: Pacer | None = None  # made when first needed
        self._held: deque[bytes] | None = None  # only while the transport is congested
        self._held_bytes = 0
        self._given = 0  # of those held, the bytes that the transport has been given
        self._answers_end: int | None = None  # what `_given` must reach for the answers to have left

    # What the connection says

    def speak_lines(self) -> None:
        """The peer finds the ends of messages by itself: from now on at full speed."""
        self.is_bare = False
        self._choose()
        pacer, self._pacer = self._pacer, None
        while pacer is not None and pacer.has_any():
            data, piece = pacer.take_piece()
            self._drop_piece(piece)
            self._forward(data)
        if self._answers_end is not None and not self.is_congested:
            self._answers_end = None
            self._say_that_answers_left()
        self._finish_if_empty()

    def await_request(self) -> None:
        """The peer has just been welcomed: push nothing to a bare one until it asks for something."""
        if self.is_bare:
            self._the_pacer().is_waited_for = True
            self._timing.call_later(PATIENCE, self.request_came)

    def request_came(self) -> None:
        """It has asked, or has had its time; what waits goes behind the answer."""
        if self._pacer is not None and self._pacer.is_waited_for:
            self._pacer.is_waited_for = False
            self._timing.call_soon(self._send)

    def pause(self) -> None:
        """The transport keeps more than it likes: hold what comes."""
        self.is_congested = True
        self._choose()
        self._backlog.keep(self, self._transport.get_write_buffer_size())

    def resume(self) -> None:
        """The transport takes more again: all but a little of what it was given has left."""
        if self._answers_end is not None and self._given >= self._answers_end:
            self._answers_end = None
            self._say_that_answers_left()
        self.is_congested = False
        self._backlog.keep(self, 0)
        self._choose()
        held, self._held = self._held, None
        while held:
            data = held.popleft()
            self._drop_piece(data)
            self._given += len(data)
            self._forward(data)
            if self.is_congested:  # again: what is left stays ahead of what comes
                self._held = held
                break
        self._send()
        self._finish_if_empty()

    def owes_answers(self) -> bool:
        """Whether answers that were pushed have not left yet; if so, the owner will be told when they have."""
        if self._pacer is not None and self._pacer.answers:
            self._answers_end = self._given
        if self.is_congested and self._answers_end is None:
            self._answers_end = self._given + self._held_bytes
        return self._answers_end is not None

    def close(self) -> None:
        """End the connection when all that was pushed has gone out."""
        self._is_closing = True
        self._choose()
        self._owner.pass_over()
        if self._pacer is not None and self._pacer.is_waited_for:
            self.request_came()
        self._finish_if_empty()

    def is_dead(self) -> bool:
        """Whether the peer is provably gone, though its end has not been reported yet."""
        return self._owner.is_dead()

    def fail(self, exception: Exception) -> None:
        """`push` or `close` has raised this: the connection has just ended, or it ends for a bug of ours."""
        if not self._owner.is_dead():
            self._owner.fail(exception)

    def wait(self) -> None:
        """What the peer has asked for takes time."""
        self._owner.wait()

    def go_on(self) -> None:
        """The session's turn has come."""
        self._owner.go_on()

    def give_up(self, reason: str) -> None:
        """End the connection now."""
        self._owner.give_up(reason)

    def let_go(self) -> None:
        """Give up a peer that does not read."""
        self._owner.give_up("slow_consumer")

    def drop(self) -> None:
        """Forget everything: the connection has ended, or is about to."""
        self._is_closing = self._is_dropped = True
        self.is_congested = False
        pacer, self._pacer = self._pacer, None
        while pacer is not None and pacer.has_any():
            self._drop_piece(pacer.take_piece()[1])
        while self._held:
            self._drop_piece(self._held.popleft())
        self._backlog.keep(self, 0)
        self._answers_end = None
        self._choose()

    # Where frames go

    def _choose(self) -> None:
        """Let `push` be what the state asks for."""
        if self._is_closing:
            self.push = _ignore
        elif self.is_bare:
            self.push = self._pace
        elif self.is_congested:
            self.push = self._hold
        else:
            self.push = self._transport.write

    def _forward(self, data: bytes) -> None:
        """Send what was held, or hold it again."""
        if self.is_congested and not self._is_dropped:
            self._hold(data)
        elif not self._is_dropped:
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            self._transport.write(data)
        except RuntimeError:
            # uvloop's way to say that the connection has just ended; `connection_lost` is on its way
            self.drop()

    def _hold(self, data: bytes) -> None:
        if self._held is None:
            self._held = deque()
        self._held.append(data)
        self._keep_piece(data)

    def _keep_piece(self, piece: bytes) -> None:
        self._held_bytes += len(piece)
        self._backlog.hold(self, piece)
        if self._held_bytes + self._transport.get_write_buffer_size() > self._backlog.of_one:
            self.let_go()

    def _drop_piece(self, piece: bytes) -> None:
        self._held_bytes -= len(piece)
        self._backlog.release(self, piece)

    def _say_that_answers_left(self) -> None:
        self._timing.call_soon(self._owner.go_on)

    def _finish_if_empty(self) -> None:
        if self._is_closing and not self._held and not (self._pacer is not None and self._pacer.has_any()):
            self._owner.finish()

    # At a pace

    def _the_pacer(self) -> Pacer:
        if self._pacer is None:
            self._pacer = Pacer()
        return self._pacer

    def _pace(self, data: bytes) -> None:
        pacer = self._the_pacer()
        whole = self._dialect.spoken(data)
        is_welcome = pacer.is_waited_for and not whole.is_pushed  # it is the only answer until then
        for part in whole.parts():
            pacer.put(part, is_welcome=is_welcome)
            self._keep_piece(part.data)
            if self._is_dropped:
                return  # that was too much
        if pacer.is_waited_for and self._held_bytes > self._backlog.of_one // 4:
            pacer.is_waited_for = False  # a busy room
        if not pacer.is_timed:
            self._send()

    def _send(self) -> None:
        """Send the next message, if it is time; see to it that the one behind it will be sent."""
        pacer, now = self._pacer, self._timing.time()
        if pacer is None:
            return
        if len(pacer) > pacer.most:
            while len(pacer) and not self.is_congested:
                data, piece = pacer.take_piece()
                self._drop_piece(piece)
                self._write(data)
            pacer.next = now + PACE
        elif now >= pacer.next and len(pacer) and not self.is_congested:
            message, gone = pacer.take()
            if gone is not None:
                self._drop_piece(gone)
            pacer.next = now + PACE
            self._write(message)
        if self._answers_end is not None and not pacer.answers and not self.is_congested:
            self._answers_end = None
            self._say_that_answers_left()
        if self._pacer is pacer and len(pacer) and not self.is_congested and not pacer.is_timed:
            pacer.is_timed = True
            self._timing.call_later(pacer.next - now, self._send_on_time)
        self._finish_if_empty()

    def _send_on_time(self) -> None:
        if self._pacer is not None:
            self._pacer.is_timed = False
            if not self.is_congested:
                self._send()


def _ignore(data: bytes) -> None:
    """Push to a connection that is ending."""
