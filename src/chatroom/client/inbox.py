"""Messages that came in, until somebody takes them."""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import astuple

from chatroom.protocol.messages import ErrorReply, Forgotten, Incoming, IncomingBroadcast, Presence

MAX_MESSAGES = 10_000
MAX_CHARACTERS = 16 * 1024 * 1024
"""Of all their texts together: a server can make a sender, a reason or a code as long as a content."""


class Unconfirmed(Struct, frozen=True):
    """A message sent with `confirm=False`, to one or to all (None), whose confirmation did not come.

    The connection was lost, or 30 seconds passed: it may have been taken, or not. It is not sent again: with
    `reconnect`, it has been, unless the server did not continue the session.
    If the server confirms nothing, what left within the last second before the loss is reported, unless a later
    `who` was answered; what got lost before that, as over a dead network, the client cannot know.
    """

    to: str | None
    content: str
    ref: str
    """What the client's `last_ref` was once it had been sent."""


class OwnMessage(Struct, frozen=True):
    """What another connection of one's own account has said: to one, or (`to` is None) to all.

    In the lobby (`room` is None) or in a room. It is of a type of its own, so that no program answers itself.
    """

    from_: str
    content: str
    to: str | None
    room: str | None
    id: str
    time: float | None


class Disconnected(Struct, frozen=True):
    """The connection was lost, for this reason; from now on the client tries to reconnect."""

    reason: str


class Reconnected(Struct, frozen=True):
    """The client is connected again, and welcome under this name."""

    name: str


class Gap(Struct, frozen=True):
    """Messages may be missing here: those of a room, or (None) of the lobby and those to this client alone.

    While the connection was lost, more than 1,000 came, or the server does not have them all any longer, or it
    does not know this client's session any longer, which takes 60 seconds. What follows has no gap.
    """

    room: str | None


Message = (
    Incoming
    | IncomingBroadcast
    | OwnMessage
    | Forgotten
    | Presence
    | ErrorReply
    | Unconfirmed
    | Disconnected
    | Reconnected
    | Gap
)
"""What comes unasked: messages of others, errors that belong to no confirmed request, news of the connection.

`Disconnected`, `Reconnected` and `Gap` come only to a client with `reconnect=True`, `Presence` only to one with
`presence=True`, `OwnMessage` only to an account. `Forgotten` says that somebody took back the message with this
`id`.
"""


class Inbox:
    """Messages in the order in which they came.

    It refuses nothing, but says when it `is_full`: then nothing more is read from the server until it
    `has_room` again. So it holds at most what one read brings above its limits. One thread may put while
    another one takes.
    """

    def __init__(self) -> None:
        # Each with the number of characters that came before it, so that taking one changes nothing else.
        self._messages: deque[tuple[Message, int]] = deque()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read."""
        return self._is_filled(1.0)

    @property
    def has_room(self) -> bool:
        """Whether reading should go on: it is not half full."""
        return not self._is_filled(0.5)

    def put(self, messages: Iterable[Message]) -> None:
        """Keep these, behind the others."""
        for message in messages:
            before = self._characters
            self._characters += size(message)  # first: it must never be less than what another thread sees
            self._messages.append((message, before))

    def take(self) -> Message:
        """Return the first; if an exception comes between, out of a signal handler, it stays the first."""
        first = self._messages[0]
        try:
            del self._messages[0]
            return first[0]
        except BaseException:
            if not self._messages or self._messages[0] is not first:
                self._messages.appendleft(first)
            raise

    def _is_filled(self, part: float) -> bool:
        try:
            characters = self._characters - self._messages[0][1]
        except IndexError:
            return False
        return len(self._messages) >= part * MAX_MESSAGES or characters >= part * MAX_CHARACTERS


def size(message: Message) -> int:
    """Return the number of characters in all its texts."""
    return sum(len(text) for text in astuple(message) if isinstance(text, str))
