"""Who may come in: so many connections in all, so many from one address, so many new ones a second."""

from enum import Enum, auto

from chatroom.hub.bucket import Bucket
from chatroom.hub.networks import Origins
from chatroom.hub.ports import Timing
from chatroom.protocol.limits import Limits

WAITING_ROOM = 100
"""Connections that may not stay, and wait to be told so; any more are closed at once."""
WAITING_OF_ONE = 8
"""Of these, from one address that has too many."""


class Verdict(Enum):
    """What is to be done with a new connection."""

    WELCOME = auto()
    FULL = auto()  # may wait to be told that the server is full
    CROWDED = auto()  # may wait to be told that its address has too many
    CLOSE = auto()


class _Address:
    """One address, or network of 64 bits: its connections, and its allowance of new ones."""

    __slots__ = ("bucket", "connections", "waiting")

    def __init__(self, bucket: Bucket) -> None:
        self.connections = 0
        self.waiting = 0
        self.bucket = bucket

    @property
    def is_idle(self) -> bool:
        """Whether it is as if it had never come."""
        return not (self.connections or self.waiting) and self.bucket.is_full


class Admission:
    """Counts connections, and says of each new one whether it may stay.

    Every connection whose verdict is not `CLOSE` must be given back by `leave()`.
    """

    def __init__(self, limits: Limits, max_connections: int, timing: Timing) -> None:
        self._limits = limits
        self._max_connections = max_connections
        self._timing = timing
        self.origin = Origins(limits.exempt).of
        """The network that a host is counted with; empty if it is exempt."""
        self._addresses: dict[str, _Address] = {}
        self._purge_at = 1024
        self.connections = 0
        """Those that may stay."""
        self._waiting = 0

    def enter(self, host: str) -> Verdict:
        """Count a new connection."""
        verdict = self._verdict(host)
        if verdict is not Verdict.CLOSE:
            self._count(host, verdict, 1)
        return verdict

    def leave(self, host: str, verdict: Verdict) -> None:
        """Count a connection no longer that came in with this verdict."""
        self._count(host, verdict, -1)

    def _verdict(self, host: str) -> Verdict:
        has_room = self._waiting < WAITING_ROOM
        if origin := self.origin(host):
            entry = self._entry(origin)
            if entry.connections >= self._limits.max_per_address or entry.bucket.wait(1) > 0:
                return Verdict.CROWDED if has_room and entry.waiting < WAITING_OF_ONE else Verdict.CLOSE
            entry.bucket.take(1)
        if self.connections < self._max_connections:
            return Verdict.WELCOME
        return Verdict.FULL if has_room else Verdict.CLOSE

    def _count(self, host: str, verdict: Verdict, more: int) -> None:
        if verdict is Verdict.WELCOME:
            self.connections += more
        else:
            self._waiting += more
        if origin := self.origin(host):
            entry = self._entry(origin)
            if verdict is Verdict.CROWDED:
                entry.waiting += more
            else:
                entry.connections += more

    def _entry(self, origin: str) -> _Address:
        entry = self._addresses.get(origin)
        if entry is None:
            if len(self._addresses) >= self._purge_at:
                self._purge()
            rate = self._limits.rate_per_address
            entry = self._addresses[origin] = _Address(Bucket(max(1.0, rate), rate, self._timing))
        return entry

    def _purge(self) -> None:
        """Forget addresses that have gone and whose allowance is whole again."""
        gone = [key for key, entry in self._addresses.items() if entry.is_idle]
        for key in gone:
            del self._addresses[key]
        self._purge_at = max(1024, 2 * len(self._addresses))
