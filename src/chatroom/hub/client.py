"""One connection's part in the chat: what it may ask for, and what it is to be sent."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chatroom.hub.ports import Sink

if TYPE_CHECKING:
    from chatroom.hub.room import Room
    from chatroom.hub.session import Session

Handlers = Mapping[type, Callable[..., None]]
"""What each kind of request does."""
_NOTHING_ASKED: frozenset[str] = frozenset()  # one for all: an empty one is not shared by itself


class Client:
    """Somebody who is connected here, and may be named.

    `own` are this turn's frames for this client alone. They go out at the flush in one write, joined.
    """

    __slots__ = (
        "_turn",
        "answered",
        "begun",
        "changes",
        "closing",
        "error_bytes",
        "faults",
        "features",
        "handlers",
        "has_stamps",
        "hellos",
        "incoming",
        "incoming_broadcast",
        "is_held",
        "is_leaving",
        "name",
        "own",
        "pings",
        "session",
        "sink",
        "standing",
        "turned_away",
        "under_way",
    )

    session: "Session"
    """What it is in the house, while it has a name."""

    def __init__(self, sink: Sink, turn: list["Client"], handlers: Handlers) -> None:
        """`turn`: the hub's list of the clients that have frames of their own this turn."""
        self.handlers = handlers
        """What each kind of request does, as things stand with this client in this turn."""
        self.standing = handlers
        """The same, if nothing had to wait."""
        self.is_held = False
        """It waits: for its turn to add to what others get, or for an answer that takes time."""
        self.pings = 0
        """Pings of ours that it has not answered."""
        self.answered = 0
        """Bytes of answers since it last had to wait for them to leave."""
        self.turned_away: Exception | None = None
        """Why it may not stay, if so."""
        self.sink = sink
        self.name: str | None = None
        """Whose it is; None before an accepted `hello`, and behind the end."""
        self.incoming = self.incoming_broadcast = b""
        """What its messages begin with; made with the first of each kind."""
        self.begun: tuple[Room, bytes] | None = None
        """The room in which it spoke last, beside the lobby, and what its messages there begin with."""
        self.changes = (-1, 0)
        """In which turn rooms were flushed for it last, and how often."""
        self.closing = b""
        """The last that it is sent, if it asked for that."""
        self.faults = 0
        """Wrong objects in a row."""
        self.hellos = 0
        """Names that were refused."""
        self.error_bytes = 0
        """Bytes of errors told before it was welcome."""
        self.features = _NOTHING_ASKED
        """What it asked to be sent beyond the base protocol."""
        self.has_stamps = False
        """Whether `stamps` is one of them."""
        self.is_leaving = False
        """It ends with this turn; nothing more is read from it."""
        self.under_way = 0
        """Its messages that are being stored, and then answered."""
        self.own: list[bytes] | tuple[()] = ()
        self._turn = turn

    def ask_for(self, features: frozenset[str]) -> None:
        """Be sent these beyond the base protocol; `resume` implies `stamps`."""
        self.features = features | {"stamps"} if "resume" in features else features or _NOTHING_ASKED
        self.has_stamps = "stamps" in self.features

    def stand(self, handlers: Handlers) -> None:
        """From now on its requests do this."""
        self.handlers = self.standing = handlers

    def take(self, frames: list[bytes]) -> None:
        """Have these frames sent at the end of this turn, behind the ones before."""
        if self.own:
            self.own += frames
        else:
            self.own = frames
            self._turn.append(self)

    def flush(self) -> None:
        """Hand this turn's own frames to the connection, as one piece."""
        frames, self.own = self.own, ()
        try:
            self.sink.push(b"".join(frames))
        except Exception as exception:  # noqa: BLE001 - it is logged there
            self.sink.fail(exception)
