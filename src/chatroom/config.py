"""The server's settings: one frozen object."""

from msgspec import Struct, field

from chatroom.protocol.limits import Limits

DEFAULT_PORT = 7777


class Settings(Struct, frozen=True, kw_only=True):
    """What `chatroom serve` can be told."""

    host: str = "127.0.0.1"
    """The address to listen on; `0.0.0.0` or `::` lets others in."""
    port: int = DEFAULT_PORT
    """0 takes any free one."""
    limits: Limits = field(default_factory=Limits)
