"""One connection's part in the chat."""

from collections.abc import Callable, Mapping

from chatroom.hub.ports import Sink
from chatroom.protocol.messages import Sent

Handlers = Mapping[type, Callable[..., None]]
"""What each kind of request does."""
_NOTHING_ASKED: frozenset[str] = frozenset()  # one for all: an empty one is not shared by itself
MAX_REFS = 256
"""Messages whose `ref` a session remembers, so that a retry is not delivered twice."""


class Session:
    """Somebody who is connected, and may be named.

    `own` are this turn's frames for this session alone. They go out at the flush in one write, joined.
    """

    __slots__ = (
        "_sent",
        "_turn",
        "answered",
        "error_bytes",
        "faults",
        "features",
        "handlers",
        "hellos",
        "incoming",
        "incoming_broadcast",
        "is_held",
        "is_leaving",
        "keys",
        "name",
        "own",
        "pings",
        "sink",
        "standing",
        "turned_away",
    )

    def __init__(self, sink: Sink, turn: list["Session"], handlers: Handlers) -> None:
        """`turn`: the hub's list of the sessions that have frames of their own this turn."""
        self.handlers = handlers
        """What each kind of request does, as things stand with this session in this turn."""
        self.standing = handlers
        """The same, if nothing had to wait."""
        self.is_held = False
        """It waits for its turn to add to what others get, or to have a name folded."""
        self.pings = 0
        """Pings of ours that it has not answered."""
        self.answered = 0
        """Bytes of answers since it last had to wait for them to leave."""
        self.turned_away: Exception | None = None
        """Why it may not stay, if so."""
        self.sink = sink
        self.name: str | None = None
        """As given in `hello`; None before."""
        self.keys: tuple[str, ...] = ()
        """What the name is compared by."""
        self.incoming = self.incoming_broadcast = b""
        """What its messages begin with; made with the first of each kind."""
        self.faults = 0
        """Wrong objects in a row."""
        self.hellos = 0
        """Names that were refused."""
        self.error_bytes = 0
        """Bytes of errors told before it was welcome."""
        self.features = _NOTHING_ASKED
        """What it asked to be sent beyond the base protocol."""
        self.is_leaving = False
        """It ends with this turn; nothing more is read from it."""
        self.own: list[bytes] | tuple[()] = ()
        self._turn = turn
        self._sent: dict[str, Sent] | None = None

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

    def sent(self, ref: str) -> Sent | None:
        """Return how a message with this `ref` was answered before, if it was."""
        return self._sent.get(ref) if self._sent else None

    def remember(self, ref: str, answer: Sent) -> None:
        """Keep the answer to a message, and forget the oldest beyond `MAX_REFS`."""
        if self._sent is None:
            self._sent = {}
        self._sent[ref] = answer
        if len(self._sent) > MAX_REFS:
            del self._sent[next(iter(self._sent))]
