"""Outgoing bytes of one connection.

A room may hold thousands of people, and one of them may read slowly. So nobody waits here: what the
operating system does not take is kept, up to a limit, and whoever reaches it is let go.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from chatroom.doors.backlog import Backlog
from chatroom.doors.pacing import Pacer
from chatroom.hub.ports import Timing


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


class Transport(Protocol):
    """What an outbox needs of an asyncio transport."""

    def write(self, data: bytes, /) -> None:
        """Send, or keep what cannot be sent now."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are kept."""


class Outbox:
    """Frames for one connection: the hub's `Sink`.

    `push` keeps three promises, on which the hub relies:
    1. it never waits;
    2. it never calls the hub, which hears later of a connection that was given up, and raises nothing but the
       `RuntimeError` of a transport whose connection has just broken;
    3. frames leave in the order in which they came.

    It is an attribute that changes with the state, so that a broadcast need not ask for it; as a rule it is the
    transport's own `write`.
    """

    __slots__ = (
        "_backlog",
        "_held",
        "_held_bytes",
        "_is_closing",
        "_limit",
        "_owner",
        "_pacer",
        "_timing",
        "_transport",
        "is_bare",
        "peer",
        "push",
    )

    push: Callable[[bytes], None]

    def __init__(
        self, transport: Transport, owner: Owner, timing: Timing, backlog: Backlog, *, limit: int, peer: str
    ) -> None:
        """`backlog`: counts what all hold. `limit`: bytes that may wait. `peer`: the address, for the log."""
        self._backlog = backlog
        self.peer = peer
        self.push = self._pace
        self._transport = transport
        self._owner = owner
        self._timing = timing
        self._limit = limit
        self.is_bare = True
        """Whether the peer has sent no line break yet."""
        self._is_closing = False
        self._pacer: Pacer | None = None  # made when first needed
        self._held: deque[bytes] | None = None  # only while the transport is congested
        self._held_bytes = 0

    def speak_lines(self) -> None:
        """The peer finds the ends of messages by itself: from now on at full speed."""
        self.is_bare = False
        self._choose()
        if self._pacer:
            self._forward(self._pacer.take_all())

    def pause(self) -> None:
        """The transport has more than it likes: hold what comes."""
        self._held = deque()
        self._choose()
        if self._pacer:
            self._hold(self._pacer.take_all())

    def resume(self) -> None:
        """The transport takes more again."""
        held, self._held, self._held_bytes = self._held, None, 0
        self._choose()
        while held:
            data = held.popleft()
            self._backlog.release(self, data)
            self._forward(data)
        self._finish_if_empty()

    def close(self) -> None:
        """End the connection when all that was pushed has gone out."""
        self._is_closing = True
        self._choose()
        self._finish_if_empty()

    def is_dead(self) -> bool:
        """Whether the peer is provably gone, though its end has not been reported yet."""
        return self._owner.is_dead()

    def fail(self, exception: Exception) -> None:
        """`push` has raised this: the connection has just ended, or else it ends for a bug of ours."""
        if not self._owner.is_dead():
            self._owner.fail(exception)

    def let_go(self) -> None:
        """Give up a peer that does not read."""
        self.drop()
        self._owner.give_up("slow_consumer")

    def drop(self) -> None:
        """Forget everything: the connection has ended, or is about to."""
        self._is_closing = True
        held, self._held, self._held_bytes = self._held, None, 0
        for data in held or ():
            self._backlog.release(self, data)
        if self._pacer:
            self._pacer.take_all()
        self._choose()

    def _choose(self) -> None:
        """Let `push` be what the state asks for."""
        if self._is_closing:
            self.push = _ignore
        elif self._held is not None:
            self.push = self._hold
        elif self.is_bare:
            self.push = self._pace
        else:
            self.push = self._transport.write

    def _forward(self, data: bytes) -> None:
        """Send what was held; hold it again if that congests the transport anew."""
        if self._held is not None:
            self._hold(data)
        elif self.is_bare:
            self._pace(data)
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            self._transport.write(data)
        except RuntimeError:
            # uvloop's way to say that the connection has just ended; `connection_lost` is on its way
            self.drop()

    def _hold(self, data: bytes) -> None:
        if self._held is None:
            return
        self._held.append(data)
        self._held_bytes += len(data)
        self._backlog.hold(self, data)
        if self._held_bytes + self._transport.get_write_buffer_size() > self._limit:
            self.let_go()

    def _pace(self, data: bytes) -> None:
        if self._pacer is None:
            self._pacer = Pacer(self._write_paced, self._timing)
        self._pacer.push(data)

    def _write_paced(self, data: bytes) -> None:
        self._write(data)
        self._finish_if_empty()

    def _finish_if_empty(self) -> None:
        if self._is_closing and self._held is None and not self._pacer:
            self._owner.finish()


def _ignore(data: bytes) -> None:
    """Push to a connection that is ending."""
