"""How fast one connection's requests are done: what comes too fast waits; a flood is refused, then ended.

Whoever waits for answers, or sends a thousand lines and then nothing, is only slowed, however long that takes.
A flood is one whose input keeps piling up unread: whoever does not wait for anything has three times as much
in the kernel's buffers as `PILE`.
"""

from collections.abc import Callable
from enum import Enum, auto

from chatroom.hub.bucket import Bucket
from chatroom.hub.ports import Timing
from chatroom.protocol.limits import Limits

PILE = 16 * 1024
"""Bytes unread in the kernel, at each look, that make a flood."""
INSTANT = 1e-6
"""Seconds that are not waited: what is left by rounding."""
ON_ITS_WAY = 1.0
"""Seconds after a read in which nobody looks: what the peer sends when its window opens takes its time."""


class Pace(Enum):
    """What becomes of the next request."""

    DO = auto()
    WAIT = auto()
    REFUSE = auto()
    END = auto()


class Throttle:
    """The allowance of one connection."""

    __slots__ = ("_bucket", "_limits", "_read_at", "_since", "_timing", "_unread")

    def __init__(self, limits: Limits, timing: Timing, unread: Callable[[], int]) -> None:
        """`unread` tells how many bytes have come in that nobody has read."""
        self._limits = limits
        self._timing = timing
        self._unread = unread
        self._bucket = Bucket(limits.message_burst, limits.message_rate, timing)
        self._since: float | None = None  # when input was first seen piled up, and has been at each look after
        self._read_at = timing.time()

    def next(self, cost: float) -> tuple[Pace, float]:
        """Say what becomes of a request of this cost, and how many seconds it waits, if it does."""
        if not cost:
            return Pace.DO, 0.0
        wait = self._bucket.wait(cost)
        if wait < INSTANT:
            return (Pace.REFUSE if self._piled_for() >= self._limits.slow_down_after else Pace.DO), 0.0
        if self._timing.time() - self._read_at >= ON_ITS_WAY:
            self.look()
        return (Pace.END if self._piled_for() >= self._limits.flood_timeout else Pace.WAIT), wait

    def look(self) -> None:
        """See whether input piles up; to be called before more is read, too."""
        if self._unread() <= PILE:
            self._since = None
        elif self._since is None:
            self._since = self._timing.time()

    def read(self) -> None:
        """More has been read."""
        self._read_at = self._timing.time()

    def debt(self) -> float:
        """Return for how many seconds the allowance is overdrawn."""
        return self._bucket.wait(0)

    def take(self, cost: float) -> None:
        """A request of this cost has been done, or refused."""
        self._bucket.take(cost)

    def _piled_for(self) -> float:
        return 0.0 if self._since is None else self._timing.time() - self._since
