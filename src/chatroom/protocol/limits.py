"""What the server bounds, and how tightly: one frozen object that hub and doors are given."""

from msgspec import Struct

from chatroom.protocol.messages import MAX_OBJECT


class Limits(Struct, frozen=True, kw_only=True):
    """Every limit there is, with its default."""

    max_object: int = MAX_OBJECT
    """Bytes of one JSON object."""
    object_timeout: float = 10.0
    """Seconds to finish an object that was begun."""
    max_faults: int = 20
    """Wrong objects, or runs of garbage, in a row before the connection ends."""
    max_backlog: int = 1024 * 1024
    """Bytes that may wait for one connection before it ends."""
    drain_timeout: float = 4.5
    """Seconds that a stopping server gives its connections to take what is queued."""
