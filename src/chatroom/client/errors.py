"""What can go wrong for a client, as exceptions.

```
ChatroomError
├── Refused                     the server said no
│   ├── NameTaken
│   ├── NameReserved
│   ├── BadPassword
│   ├── Muted
│   └── Banned
├── CannotConnect               also a ConnectionError
├── ConnectionLost              also a ConnectionError
│   ├── NotAChatroom
│   └── OutcomeUnknown
├── TimedOut                    also a TimeoutError
├── InboxFull
└── BadArgument                 also a ValueError
```
"""

from chatroom.protocol.foreign import shown
from chatroom.protocol.messages import ErrorCode, ErrorReply


class ChatroomError(Exception):
    """The base of all that the library raises, but for `TypeError`."""


class BadArgument(ChatroomError, ValueError):
    """No server takes this; the text names the parameter. Nothing was sent."""


class TimedOut(ChatroomError, TimeoutError):
    """Nothing came in time; the connection stays as it is."""


class Refused(ChatroomError):
    """The server answered a request with an error.

    `code` is for programs (`unknown_user`, …), `message` for people; `temporary` says that the same request
    may succeed later, and `retry_after` in how many seconds, if the server says so; `suggestion` is a free name
    in the place of one that was refused, if the server knows one. A server that is not ours may refuse in its
    own way: then `code` is its own, or `error`, and `message` what words there were.
    """

    def __init__(self, error: ErrorReply) -> None:
        hint = "" if error.suggestion is None else f" (try {error.suggestion})"
        super().__init__(f"{error.error}: {error.message}{hint}")
        self.error = error
        self.code = error.error
        self.message = error.message
        self.temporary = error.temporary
        self.retry_after = error.retry_after
        self.suggestion = error.suggestion


class NameTaken(Refused):
    """Somebody has that name; `suggestion` is a free one, or None if the server knows none."""


class NameReserved(Refused):
    """That name, or one that looks like it, belongs to an account: only its password, or a session, opens it.

    `suggestion` is a free name, or None. Trying again does not help.
    """


class BadPassword(Refused):
    """The password is not that of the name, or none that there can be: too short or too long."""


class Muted(Refused):
    """An operator has taken away the right to write; reading goes on."""


class Banned(Refused):
    """An operator does not let this user in."""


class CannotConnect(ChatroomError, ConnectionError):
    """There is no connection; the text says why, and `__cause__` is the system's or the TLS library's error."""


class ConnectionLost(ChatroomError, ConnectionError):
    """The server cannot be reached any longer."""


class NotAChatroom(ConnectionLost):
    """What answered is no server of this protocol; `answer` is how it began, `SHOWN` bytes at most."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(f"this is no chatroom server: it answered {shown(answer)}")
        self.answer = answer


class OutcomeUnknown(ConnectionLost):
    """The connection was lost before the server confirmed a message: it may have been taken, or not.

    With `reconnect`, this comes only if the server did not continue the session, or if five connections have
    broken behind the message. Else it is sent again, and delivered once.
    """


class InboxFull(ChatroomError):
    """An answer cannot be waited for: too many messages stand before it, which nobody takes."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} messages wait to be received: take them first")


_KINDS: dict[str, type[Refused]] = {
    ErrorCode.NAME_TAKEN: NameTaken,
    ErrorCode.NAME_RESERVED: NameReserved,
    ErrorCode.BAD_PASSWORD: BadPassword,
    ErrorCode.MUTED: Muted,
    ErrorCode.BANNED: Banned,
}


def refused(error: ErrorReply) -> Refused:
    """Return the exception for an error of the server."""
    return _KINDS.get(error.error, Refused)(error)
