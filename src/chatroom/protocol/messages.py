"""Every message that travels, as a type.

A request comes from a client, a reply goes to one; both are JSON objects whose `code` tells which
type they are. The codes and fields of the base protocol stand here exactly as it names them. All else is
sent only to those who asked for it: `ref` comes back only to whoever sent one.
"""

import json
from enum import StrEnum
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

MAX_OBJECT = 64 * 1024
"""Bytes of one JSON object, from `{` to `}`."""
MAX_DEPTH = 32
"""Objects and arrays inside one another."""
MAX_REF = 64
"""Characters of a `ref`."""
MAX_FIND = 256
"""Characters of a text to look for."""
MAX_PAGE = 200
"""Messages in one `history`."""
MAX_REASON = 256
"""Characters of why somebody is kicked, muted or banned."""
MINUTES = 60
"""Minutes for which somebody is muted or banned, if the request does not say."""
MAX_MINUTES = 60 * 24 * 3660
"""Minutes for which somebody can be muted or banned: ten years; longer is for good."""

SECRETS = frozenset({"old", "password", "session"})
"""Fields of requests that nobody may see: not in a log either."""
FEATURES = frozenset({"notices", "ping", "presence", "resume", "stamps"})
"""What a client can ask to be sent beyond the base protocol."""

Ref = Annotated[str, Meta(max_length=MAX_REF)]
Name = str
"""A name or a room's, as somebody gives it; bounded where it is read, before anything is done with it."""
Id = Annotated[str, Meta(max_length=MAX_REF)]
"""A message's: opaque, of one length, compared as text. The server's own have 16 hexadecimal digits."""


Minutes = Annotated[int, Meta(ge=0, le=MAX_MINUTES)]
"""60 if not given; 0: for good."""
Reason = Annotated[str, Meta(max_length=MAX_REASON)]


class Request(Struct, tag_field="code", kw_only=True, gc=False):
    """What a client asks for. Its `ref`, if there is one, comes back in the replies to it."""

    ref: Ref | UnsetType = UNSET

    def __repr__(self) -> str:
        """Show what is in it, but for secrets."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        shown = {
            name: "…" if name in SECRETS else repr(value) for name, value in given.items() if value is not UNSET
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in shown.items())})"


class Hello(Request, tag="hello", gc=False):
    """I am here, and want to be called `name`; `features` are what I want to be sent beyond the base protocol.

    With a `session` I was here before, and want to go on; `after` is the id of the last message I have of the
    lobby or of those sent to me alone. With a `password` the name is mine.
    """

    name: str
    features: list[Ref] | UnsetType = UNSET
    session: Ref | UnsetType = UNSET
    password: str | UnsetType = UNSET
    after: Id | UnsetType = UNSET


class Who(Request, tag="who", gc=False):
    """Who is here, or in a room?"""

    room: Name | UnsetType = UNSET


class Join(Request, tag="join", gc=False):
    """I want to hear this room; `after` is the id of the last message I have of it."""

    room: Name
    after: Id | UnsetType = UNSET


class Leave(Request, tag="leave", gc=False):
    """I want to hear this room no more."""

    room: Name


class Rooms(Request, tag="rooms", gc=False):
    """Which rooms are there?"""


class History(Request, tag="history", gc=False, rename={"with_": "with"}):
    """What was said: in the lobby, in a `room`, or between me and somebody (`with`; `*` is anybody).

    `before` or `after` an id, the newest if neither; at most `limit`; only what contains `find`.
    """

    room: Name | UnsetType = UNSET
    with_: Name | UnsetType = UNSET
    before: Id | UnsetType = UNSET
    after: Id | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] | UnsetType = UNSET
    find: Annotated[str, Meta(min_length=1, max_length=MAX_FIND)] | UnsetType = UNSET


class Forget(Request, tag="forget", gc=False):
    """Take back the message with this id, which I wrote."""

    id: Id


class Register(Request, tag="register", gc=False):
    """My name is to be mine alone, with this password; or, with the `old` one, this is the new one.

    How long a password may be is checked before anything is done with it.
    """

    password: str
    old: str | UnsetType = UNSET


class Kick(Request, tag="kick", gc=False):
    """End all connections of this user."""

    name: Name
    reason: Reason | UnsetType = UNSET


class Mute(Request, tag="mute", gc=False):
    """Let this user read, but not write."""

    name: Name
    minutes: Minutes | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET


class Unmute(Request, tag="unmute", gc=False):
    """Let this user write again."""

    name: Name


class Ban(Request, tag="ban", gc=False):
    """Let this user in no more."""

    name: Name
    minutes: Minutes | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET


class Unban(Request, tag="unban", gc=False):
    """Let this user in again."""

    name: Name


class Bans(Request, tag="bans", gc=False):
    """Who is banned or muted?"""


class Outgoing(Request, tag="outgoing", gc=False):
    """A message to one."""

    to: str
    content: str


class OutgoingBroadcast(Request, tag="outgoing_broadcast", gc=False):
    """A message to everybody else, in the lobby or in a room."""

    content: str
    room: Name | UnsetType = UNSET


class Quit(Request, tag="quit", gc=False):
    """I am leaving."""


class Ping(Request, tag="ping", gc=False):
    """Is anybody there?"""


class Pong(Request, tag="pong", gc=False):
    """I am here: the answer to `PingEvent`."""


AnyRequest = (
    Ping
    | Pong
    | Hello
    | Who
    | Outgoing
    | OutgoingBroadcast
    | Join
    | Leave
    | Rooms
    | History
    | Forget
    | Register
    | Kick
    | Mute
    | Unmute
    | Ban
    | Unban
    | Bans
    | Quit
)


class Reply(Struct, tag_field="code", kw_only=True, gc=False, omit_defaults=True, repr_omit_defaults=True):
    """What the server sends: an answer, with the `ref` of its request, or something that happened.

    What is None is not sent.
    """

    ref: str | None = None


class Welcome(Reply, tag="welcome", gc=False):
    """The answer to `Hello`: the name is yours.

    Who named features is told more: the name, the features that were granted, the server and its limits. With
    the feature `resume`, also the secret to come back with; and if it came with one, whether all behind `after`
    comes next, and the rooms it was in. Who came to an account is told that (`account`), the account's rooms,
    and `operator` if it is one.
    """

    name: str | None = None
    features: list[str] | None = None
    server: str | None = None
    limits: dict[str, int] | None = None
    session: str | None = None
    recovered: bool | None = None
    rooms: list[str] | None = None
    account: bool | None = None
    operator: bool | None = None


class Registered(Reply, tag="registered", gc=False):
    """The answer to `Register`; `session`: what a session that can come back does so with from now on."""

    session: str | None = None


class Done(Reply, tag="done", gc=False):
    """The answer to what operators ask for; `others`, of a ban: how many more are on the same addresses."""

    others: int | None = None


class BanRecord(Struct, gc=False, omit_defaults=True):
    """Somebody who is banned, or muted; times are in seconds since 1970, UTC."""

    kind: str
    """`ban` or `mute`."""
    name: str
    by: str
    """The operator's name; empty if it was done on the command line."""
    time: float
    until: float | None = None
    """None: for good."""
    reason: str | None = None


class BansReply(Reply, tag="bans", gc=False):
    """The answer to `Bans`."""

    bans: list[BanRecord]


class Users(Reply, tag="users", gc=False):
    """The answer to `Who`: the names of all, the asker's too, in the order in which they came."""

    users: list[str]
    room: str | None = None


class Joined(Reply, tag="joined", gc=False):
    """The answer to `Join`; `recovered`, if `after` was given: whether all behind it comes next."""

    room: str
    recovered: bool | None = None


class Left(Reply, tag="left", gc=False):
    """The answer to `Leave`."""

    room: str


class RoomSize(Struct, gc=False):
    """A room, and how many are in it."""

    room: str
    users: int


class RoomsReply(Reply, tag="rooms", gc=False):
    """The answer to `Rooms`: the largest thousand, those with most people first."""

    rooms: list[RoomSize]


class Message(Struct, gc=False, omit_defaults=True, repr_omit_defaults=True):
    """What was said, in a `HistoryReply`; `to` if it was said to one, else None."""

    id: str
    time: float
    from_: str = field(name="from")
    content: str
    to: str | None = None


class HistoryReply(Reply, tag="history", gc=False):
    """The answer to `History`, oldest first; `complete`: there is nothing more that way.

    `before`: where to go on, if a search came to the end of what one request may look through.
    """

    messages: list[Message]
    complete: bool
    before: str | None = None


class Forgotten(Reply, tag="forgotten", gc=False):
    """The answer to `Forget`, and for those with the feature `stamps` who got the message."""

    id: str


class Sent(Reply, tag="sent", gc=False):
    """The answer to a message that had a `ref`: it is in the history.

    `id` grows from message to message; `time` is when the server took it, in seconds since 1970, UTC.
    """

    id: str
    time: float


class Incoming(Reply, tag="incoming", gc=False):
    """Somebody's message to you; `id` and `time` with the feature `stamps`.

    With `to`, it is your own, sent to that user from another of your account's connections.
    """

    from_: str = field(name="from")
    content: str
    to: str | None = None
    id: str | None = None
    time: float | None = None


class IncomingBroadcast(Reply, tag="incoming_broadcast", gc=False):
    """Somebody's message to everybody else, in the lobby (`room` is None) or in a room.

    `id` and `time` with the feature `stamps`.
    """

    from_: str = field(name="from")
    content: str
    room: str | None = None
    id: str | None = None
    time: float | None = None


class Presence(Reply, tag="presence", gc=False):
    """Who came into the lobby or a room, and who left it; to those with the feature `presence`.

    In a crowd of more than 500, only how many there are: `users`.
    """

    room: str | None = None
    joined: list[str] | None = None
    left: list[str] | None = None
    users: int | None = None


class PongReply(Reply, tag="pong", gc=False):
    """The answer to `Ping`."""


class PingEvent(Reply, tag="ping", gc=False):
    """To be answered by `Pong`; sent to those with the feature `ping`."""


class Closing(Reply, tag="closing", gc=False):
    """The last message before the server ends the connection; sent to those with the feature `notices`.

    `reason` is one of `draining`, `idle`, `flood`, `too_many_errors`, `replaced`, `kicked`, `banned`, or, if
    the client ended the connection, `quit` or `closed`; `reconnect` says whether to come back. `message` is
    what an operator said who kicked or banned the client, or what became of its account.
    """

    reason: str
    reconnect: bool
    message: str | None = None


class ErrorCode(StrEnum):
    """What went wrong, for programs: the `error` of an error reply."""

    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    UNKNOWN_CODE = "unknown_code"
    TOO_BIG = "too_big"
    TOO_DEEP = "too_deep"
    HELLO_FIRST = "hello_first"
    ALREADY_WELCOME = "already_welcome"
    BAD_NAME = "bad_name"
    NAME_TAKEN = "name_taken"
    NAME_RESERVED = "name_reserved"
    BAD_PASSWORD = "bad_password"  # noqa: S105 - no password
    MUTED = "muted"
    BANNED = "banned"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_ROOM = "unknown_room"
    NOT_IN_ROOM = "not_in_room"
    NOT_ALLOWED = "not_allowed"
    NOT_STORED = "not_stored"
    UNAVAILABLE = "unavailable"
    SLOW_DOWN = "slow_down"
    SERVER_FULL = "server_full"


TEMPORARY = frozenset(
    {
        ErrorCode.NAME_TAKEN,
        ErrorCode.NOT_STORED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.SLOW_DOWN,
        ErrorCode.SERVER_FULL,
    }
)
"""What may succeed later, unchanged."""


class ErrorReply(Reply, tag="error", gc=False):
    """A request was refused. The connection lives on.

    `error` is for programs and `message` for people; `temporary` says that the same request may succeed
    later. A taken name comes with a free one as `suggestion`, and what is refused for the time being with
    the seconds until it may be asked again.
    """

    error: str
    message: str
    temporary: bool = field(default_factory=bool)  # no default that is omitted: False is sent, too
    suggestion: str | None = None
    retry_after: float | None = None


class Fault(ErrorReply, tag="error", gc=False):
    """An error in the bytes themselves: there was no request to refuse."""


AnyReply = (
    PongReply
    | PingEvent
    | Closing
    | Welcome
    | Registered
    | Done
    | BansReply
    | Users
    | Joined
    | Left
    | RoomsReply
    | HistoryReply
    | Forgotten
    | Presence
    | Sent
    | Incoming
    | IncomingBroadcast
    | ErrorReply
)

_encoder = msgspec.json.Encoder()


def encode(message: Request | Reply) -> bytes:
    """Return the message as one line of JSON, all ASCII, so that no reader ever cuts a character in two."""
    line = _encoder.encode(message)
    if not line.isascii():
        line = json.dumps(msgspec.to_builtins(message), separators=(",", ":")).encode("ascii")
    return line + b"\n"


def unescaped(line: bytes) -> bytes:
    """Return a line that `encode` made, in UTF-8: shorter, if it is not all ASCII."""
    return _encoder.encode(msgspec.json.decode(line)) + b"\n"


def opening(sender: str, room: str | None = None, *, is_direct: bool = False) -> bytes:
    """Return what all messages from one sender to one, or to a room (None: the lobby), begin with."""
    head = {"code": "incoming" if is_direct else "incoming_broadcast", "from": sender}
    if room is not None:
        head["room"] = room
    return json.dumps(head, separators=(",", ":")).encode("ascii")[:-1] + b',"content":'


def stamped(lines: bytes, number: int, time: float) -> bytes:
    """Return lines of messages with `id`, counted up from this number, and `time` in each.

    The lines are as `complete` or a burst made them, all of one kind: their `code` comes first.
    """
    end = lines.index(b",")
    head, when = lines[:end], _when(time)
    if lines.index(b"\n") + 1 == len(lines):  # as most are, and at half the cost
        return b'%b,"id":"%016x","time":%b%b' % (head, number, when, lines[end:])
    rests = lines[end:-1].split(b"\n" + head)
    made = []
    while rests:  # all that has an id that begins alike in one go
        low = number % 256
        some, rests = rests[: 256 - low], rests[256 - low :]
        fields = [b""] * (2 * len(some))
        fields[::2], fields[1::2] = _ENDS[low : low + len(some)], some
        line = head + b',"id":"%014x' % (number // 256) + b'%b","time":' + when + b"%b\n"
        made.append(line * len(some) % tuple(fields))
        number += len(some)
    return b"".join(made)


_ENDS = [b"%02x" % low for low in range(256)]
"""The last two digits of ids."""


@lru_cache(2)  # many have the same
def _when(time: float) -> bytes:
    return repr(time).encode()


def with_to(lines: bytes, to: str) -> bytes:
    """Return lines of direct messages, as `complete` or a burst made them, with whom they are sent to."""
    kind = b'{"code":"incoming",'  # within a string, its quotation marks would be escaped
    return lines.replace(kind, b'%b"to":%b,' % (kind, json.dumps(to).encode("ascii")))


def ident(number: int) -> str:
    """Return a message's number as its id."""
    return f"{number:016x}"


def complete(opening: bytes, content: str) -> bytes:
    """Return the whole line of a message: the same as `encode` would, at half the cost."""
    text = _encoder.encode(content)
    if not text.isascii():
        text = json.dumps(content).encode("ascii")
    return opening + text + b"}\n"
