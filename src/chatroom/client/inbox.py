"""Messages that came in, until somebody takes them."""

from collections import deque
from collections.abc import Iterable

from chatroom.protocol.messages import Error, Incoming, IncomingBroadcast

Message = Incoming | IncomingBroadcast | Error
"""What comes unasked: messages of others, and errors that belong to no confirmed request."""

MAX_MESSAGES = 10_000
MAX_CHARACTERS = 16 * 1024 * 1024
"""Of their contents, all together."""


class Inbox:
    """Messages in the order in which they came.

    It refuses nothing, but says when it `is_full`: then nothing more is read from the server until somebody has
    taken some. So it holds at most what one read brings above its limits.
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read."""
        return len(self._messages) >= MAX_MESSAGES or self._characters >= MAX_CHARACTERS

    def put(self, messages: Iterable[Message]) -> None:
        """Keep these, behind the others."""
        for message in messages:
            self._messages.append(message)
            self._characters += _size(message)

    def take(self) -> Message:
        """Return the first."""
        message = self._messages.popleft()
        self._characters -= _size(message)
        return message


def _size(message: Message) -> int:
    return len(message.message if isinstance(message, Error) else message.content)
