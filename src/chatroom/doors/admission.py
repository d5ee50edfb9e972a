"""Who may come in: so many connections in all, so many from one address, so many new ones a second."""

from enum import Enum, auto
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from chatroom.doors.bucket import Bucket
from chatroom.hub.ports import Timing
from chatroom.protocol.limits import Limits

WAITING_ROOM = 100
"""Connections beyond the limit that wait to be told so; any more are closed at once."""


REMEMBERED = 4096
"""Addresses of which it is remembered whether they are exempt."""


class Verdict(Enum):
    """What is to be done with a new connection."""

    WELCOME = auto()
    FULL = auto()
    TOO_MANY = auto()


class _Address:
    """One address, or network of 64 bits: its connections, and its allowance of new ones."""

    __slots__ = ("bucket", "connections")

    def __init__(self, bucket: Bucket) -> None:
        self.connections = 0
        self.bucket = bucket


class Admission:
    """Counts connections, and says of each new one whether it may stay.

    Every connection that is not `TOO_MANY` must be given back by `leave()`.
    """

    def __init__(self, limits: Limits, max_connections: int, timing: Timing) -> None:
        self._limits = limits
        self._max_connections = max_connections
        self._timing = timing
        self._exempt = [ip_network(network) for network in limits.exempt]
        # A few addresses come again and again; to parse one takes longer than all else here.
        self.is_exempt = lru_cache(REMEMBERED)(self._is_exempt)
        """Whether limits per address and on floods do not hold for a host."""
        self._addresses: dict[str, _Address] = {}
        self._purge_at = 1024
        self.connections = 0

    @property
    def is_full(self) -> bool:
        """Whether the next one will be told that there is no room."""
        return self.connections >= self._max_connections

    def _is_exempt(self, host: str) -> bool:
        address = _parsed(host)
        return address is None or any(
            address.version == network.version and address in network for network in self._exempt
        )

    def enter(self, host: str) -> Verdict:
        """Count a new connection."""
        if self.connections >= self._max_connections + WAITING_ROOM:
            return Verdict.TOO_MANY
        if not self.is_exempt(host):
            entry = self._entry(host)
            if entry.connections >= self._limits.max_per_address or entry.bucket.wait(1) > 0:
                return Verdict.TOO_MANY
            entry.bucket.take(1)
            entry.connections += 1
        full = self.is_full
        self.connections += 1
        return Verdict.FULL if full else Verdict.WELCOME

    def leave(self, host: str) -> None:
        """Count a connection no longer."""
        self.connections -= 1
        if not self.is_exempt(host):
            self._addresses[_key(host)].connections -= 1

    def _entry(self, host: str) -> _Address:
        key = _key(host)
        entry = self._addresses.get(key)
        if entry is None:
            if len(self._addresses) >= self._purge_at:
                self._purge()
            rate = self._limits.rate_per_address
            entry = self._addresses[key] = _Address(Bucket(max(1.0, rate), rate, self._timing))
        return entry

    def _purge(self) -> None:
        """Forget addresses that have gone and whose allowance is whole again."""
        gone = [key for key, entry in self._addresses.items() if not entry.connections and entry.bucket.is_full]
        for key in gone:
            del self._addresses[key]
        self._purge_at = max(1024, 2 * len(self._addresses))


def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:  # no network address
        return None
    return (address.version == 6 and address.ipv4_mapped) or address


def _key(host: str) -> str:
    """Return what is counted as one: an IPv4 address, or the IPv6 network that one customer is given."""
    address = _parsed(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
