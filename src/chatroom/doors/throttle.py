"""How fast one connection's requests are done: what comes too fast waits, then is refused, then is the end."""

from collections import deque
from enum import Enum, auto

from chatroom.doors.bucket import Bucket
from chatroom.hub.ports import Timing
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import Fault
from chatroom.protocol.stream import Asked


class Pace(Enum):
    """What becomes of the next request."""

    DO = auto()
    WAIT = auto()
    REFUSE = auto()
    END = auto()


class Throttle:
    """Requests of one connection that wait for their turn.

    While any wait, nothing more is read from the connection: its own TCP window fills, and nobody else
    notices. So what waits is bounded by what one read brings.
    """

    __slots__ = ("_bucket", "_limits", "_since", "_timing", "waiting")

    def __init__(self, limits: Limits, timing: Timing) -> None:
        self._limits = limits
        self._timing = timing
        self._bucket = Bucket(limits.message_burst, limits.message_rate, timing)
        self._since: float | None = None  # when it had to wait first, and has not been calm after
        self.waiting: deque[Asked | Fault] = deque()

    def next(self, cost: float) -> tuple[Pace, float]:
        """Say what becomes of a request of this cost, and how many seconds it waits, if it does."""
        now = self._timing.time()
        if self._bucket.is_half_full:
            self._since = None
        wait = self._bucket.wait(cost)
        if wait > 0:
            if self._since is None:
                self._since = now
            return (Pace.END if now - self._since >= self._limits.flood_timeout else Pace.WAIT), wait
        self._bucket.take(cost)
        if self._since is not None and now - self._since >= self._limits.slow_down_after:
            return Pace.REFUSE, 0.0
        return Pace.DO, 0.0
