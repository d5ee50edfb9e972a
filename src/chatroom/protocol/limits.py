"""What the server bounds, and how tightly: one frozen object that hub and doors are given."""

from typing import Annotated

from msgspec import Meta, Struct

from chatroom.protocol.messages import MAX_OBJECT

Bytes = Annotated[int, Meta(ge=64, le=2**40)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Rate = Annotated[float, Meta(gt=0, le=10_000_000)]


class Limits(Struct, frozen=True, kw_only=True):
    """Every limit that can be set, with its default."""

    max_object: Annotated[int, Meta(ge=256, le=16 * 1024 * 1024)] = MAX_OBJECT
    """Bytes of one JSON object."""
    max_content: Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)] = 16 * 1024
    """Bytes of UTF-8 of one message's content."""
    object_timeout: Seconds = 10.0
    """Seconds to finish an object that has begun."""
    max_faults: Count = 20
    """Wrong objects, or runs of garbage, in a row before the connection ends."""

    hello_timeout: Seconds = 10.0
    """Seconds from the start of a connection to an accepted `hello`."""
    hello_retry: Seconds = 60.0
    """Seconds from the first refused `hello` to an accepted one."""
    max_hellos: Count = 20
    """Refused `hello`s before the connection ends."""
    stranger_in: Bytes = 4 * 1024
    """Bytes that may come in before an accepted `hello`."""
    stranger_out: Bytes = 1024
    """Bytes of errors that answer anything but `hello` before it was accepted."""

    max_connections: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    """Connections at a time; 0: the open-file limit less 200."""
    max_per_address: Count = 64
    """Connections at a time from one address, or one IPv6 network of 64 bits."""
    rate_per_address: Rate = 20.0
    """New connections a second from one address."""
    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks that are exempt from the limits per address and on floods."""

    message_burst: Rate = 50.0
    """Requests that may come at once; a broadcast to a thousand counts as two."""
    message_rate: Rate = 20.0
    """Requests a second after that; a peer that sends more is read more slowly."""
    slow_down_after: Seconds = 5.0
    """Seconds for which input piles up unread before requests are refused."""
    flood_timeout: Seconds = 30.0
    """Seconds for which input piles up unread before the connection ends."""

    max_backlog: Bytes = 1024 * 1024
    """Bytes that may wait for one connection before it ends."""
    max_backlogs: Bytes = 128 * 1024 * 1024
    """Bytes that may wait for all connections together; what waits for many counts once."""
    stall_timeout: Seconds = 30.0
    """Seconds without progress before a connection that does not read ends."""

    keepalive_idle: Annotated[int, Meta(ge=1, le=32_767)] = 15
    keepalive_interval: Annotated[int, Meta(ge=1, le=32_767)] = 5
    keepalive_count: Annotated[int, Meta(ge=1, le=127)] = 3
    """Seconds of silence, seconds between probes, and probes until the peer is gone (RFC 1122, 4.2.3.6)."""
    user_timeout: Seconds = 10.0
    """Seconds without an answer to data or probes after which others may take the peer's name."""
    ping_interval: Seconds = 20.0
    """Seconds of silence until a client with the feature is pinged, and again until it is disconnected."""

    max_rooms: Count = 10_000
    """Rooms that there may be at a time, beside the lobby."""
    max_rooms_each: Count = 100
    """Rooms that one session may be in at a time."""

    history_days: Annotated[float, Meta(ge=0, le=36_500)] = 90.0
    """Days that messages are kept; 0: none is."""

    register: bool = True
    """Whether guests may register; if not, accounts are added on the command line only."""
    guests: bool = True
    """Whether one is let in without an account."""
    max_accounts: Count = 100_000
    """Accounts that there may be."""
    register_burst: Count = 40
    """Accounts that may be registered from one address at once: a class."""
    register_per_day: Rate = 5.0
    """Accounts a day that may be registered from one address after that."""
    account_idle: Annotated[float, Meta(gt=0, le=36_500)] = 365.0
    """Days after which an account that nobody uses is removed and its name is free, but for operators'."""

    drain_timeout: Annotated[float, Meta(gt=0, le=300)] = 4.5
    """Seconds in which a stopping server sends what is queued."""
