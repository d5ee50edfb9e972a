"""One message per segment, for clients that read one message per `recv()`.

Many a client of the brief calls `json.loads(sock.recv(1024))`: two messages that arrive together break
it. Such a client sends without line breaks too, so a session that has never sent one is served at a pace
that keeps TCP from putting two of its messages into one read.
"""

from collections import deque
from collections.abc import Callable

from chatroom.hub.ports import Timing

PACE = 0.005
"""Seconds between two messages. On loopback 2 ms apart broke under 1 % of reads, 5 ms none of 600."""
MAX_WAITING = 64
"""Messages that may wait; if there are more, they go together after all. TCP promised nothing."""

_USERS = b'{"code":"users"'


class Pacer:
    """Messages waiting for their turn on one connection.

    A reply to `who` goes ahead of those that wait: a naive client takes what it reads next for it.
    """

    __slots__ = ("_is_timed", "_next", "_timing", "_waiting", "_write")

    def __init__(self, write: Callable[[bytes], None], timing: Timing) -> None:
        self._write = write
        self._timing = timing
        self._waiting: deque[bytes] = deque()
        self._next = 0.0  # when the next message may go
        self._is_timed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, frames: bytes) -> None:
        """Take whole frames, one line each."""
        for frame in frames.splitlines(keepends=True):
            if frame.startswith(_USERS):
                self._waiting.appendleft(frame)
            else:
                self._waiting.append(frame)
        if len(self._waiting) > MAX_WAITING:
            self._write(self.take_all())
            self._next = self._timing.time() + PACE
        elif not self._is_timed:
            self._send()

    def take_all(self) -> bytes:
        """Return what waits, as one piece, and wait for nothing more."""
        together = b"".join(self._waiting)
        self._waiting.clear()
        return together

    def _send(self) -> None:
        """Send one message, if it is time; see to it that the next will be sent."""
        self._is_timed = False
        if not self._waiting:
            return
        now = self._timing.time()
        if now >= self._next:
            self._next = now + PACE
            self._write(self._waiting.popleft())
        # Also when nothing waits now: what comes next finds the timer running.
        self._is_timed = True
        self._timing.call_later(self._next - now, self._send)
