"""Which addresses are one peer's: an IPv4 address, or the IPv6 network that one customer is given.

Whoever has an IPv6 network has all of its addresses, so what is counted or banned by address is by network.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

REMEMBERED = 4096
"""Addresses of which this is remembered: a few come again and again, and to parse one takes long."""


class Origins:
    """The networks that hosts come from, but for those that are exempt."""

    def __init__(self, exempt: Iterable[str]) -> None:
        """`exempt`: networks."""
        self._exempt = [ip_network(each) for each in exempt]
        self.of = lru_cache(REMEMBERED)(self._of)
        """Return the network of a host, as below; empty if it is exempt, or has no address."""

    def _of(self, host: str) -> str:
        address = _parsed(host)
        is_exempt = address is None or any(
            address.version == each.version and address in each for each in self._exempt
        )
        return "" if is_exempt else network(host)


def network(host: str) -> str:
    """Return what is counted as one: an IPv4 address, or an IPv6 network of 64 bits; IPv4 in IPv6 is IPv4."""
    address = _parsed(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return str(address or host)


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3)."""
    address = _parsed(host)
    return address is not None and address.is_loopback


def host_of(peer: str) -> str:
    """Return the host of a `Sink.peer`, which has its port: `192.0.2.1:5000`, or `[2001:db8::1]:5000`."""
    return peer.rpartition(":")[0].strip("[]")


@lru_cache(REMEMBERED)
def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:  # no network address
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
