"""Every message that travels, as a type.

A request comes from a client, a reply goes to one; both are JSON objects whose `code` tells which
type they are. The codes and fields of the base protocol stand here exactly as it names them. All else is
sent only to those who asked for it: `ref` comes back only to whoever sent one.
"""

import json
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

MAX_OBJECT = 64 * 1024
"""Bytes of one JSON object, from `{` to `}`."""
MAX_DEPTH = 32
"""Objects and arrays inside one another."""
MAX_REF = 64
"""Characters of a `ref`."""

Ref = Annotated[str, Meta(max_length=MAX_REF)]


class Request(Struct, tag_field="code", kw_only=True, gc=False, repr_omit_defaults=True):
    """What a client asks for. Its `ref`, if there is one, comes back in the replies to it."""

    ref: Ref | UnsetType = UNSET


class Hello(Request, tag="hello", gc=False):
    """I am here, and want to be called `name`; `features` are what I want beyond the base protocol."""

    name: str
    features: list[Ref] | UnsetType = UNSET


class Who(Request, tag="who", gc=False):
    """Who is here?"""


class Outgoing(Request, tag="outgoing", gc=False):
    """A message to one."""

    to: str
    content: str


class OutgoingBroadcast(Request, tag="outgoing_broadcast", gc=False):
    """A message to everybody else."""

    content: str


class Quit(Request, tag="quit", gc=False):
    """I am leaving."""


class Ping(Request, tag="ping", gc=False):
    """Is anybody there?"""


class Pong(Request, tag="pong", gc=False):
    """I am here: the answer to `PingEvent`."""


AnyRequest = Ping | Pong | Hello | Who | Outgoing | OutgoingBroadcast | Quit


class Reply(Struct, tag_field="code", kw_only=True, gc=False, repr_omit_defaults=True):
    """What the server sends: an answer, with the `ref` of its request, or something that happened."""

    ref: str | UnsetType = UNSET


class Welcome(Reply, tag="welcome", gc=False):
    """The answer to `Hello`: the name is yours.

    Who named features is told more: the name, the features that were granted, the server and its limits.
    """

    name: str | UnsetType = UNSET
    features: list[str] | UnsetType = UNSET
    server: str | UnsetType = UNSET
    limits: dict[str, int] | UnsetType = UNSET


class Users(Reply, tag="users", gc=False):
    """The answer to `Who`: the names of all, the asker's too, in the order in which they came."""

    users: list[str]


class Sent(Reply, tag="sent", gc=False):
    """The answer to a message that had a `ref`.

    `id` grows from message to message; `time` is when the server took it, in seconds since 1970, UTC.
    """

    id: int
    time: float


class Incoming(Reply, tag="incoming", gc=False):
    """Somebody's message to you."""

    from_: str = field(name="from")
    content: str


class IncomingBroadcast(Reply, tag="incoming_broadcast", gc=False):
    """Somebody's message to everybody else."""

    from_: str = field(name="from")
    content: str


class PongReply(Reply, tag="pong", gc=False):
    """The answer to `Ping`."""


class PingEvent(Reply, tag="ping", gc=False):
    """To be answered by `Pong`; sent to those with the feature `ping`."""


class Closing(Reply, tag="closing", gc=False):
    """The last message before the server ends the connection; sent to those with the feature `notices`.

    `reason` is one of `draining`, `idle`, `flood`, `too_many_errors`, or, if the client ended the connection,
    `quit` or `closed`; `reconnect` says whether to come back.
    """

    reason: str
    reconnect: bool


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
    UNKNOWN_USER = "unknown_user"
    SLOW_DOWN = "slow_down"
    SERVER_FULL = "server_full"


TEMPORARY = frozenset({ErrorCode.NAME_TAKEN, ErrorCode.SLOW_DOWN, ErrorCode.SERVER_FULL})
"""What may succeed later, unchanged."""


class ErrorReply(Reply, tag="error", gc=False):
    """A request was refused. The connection lives on.

    `error` is for programs and `message` for people; `temporary` says that the same request may succeed
    later. A taken name comes with a free one as `suggestion`, and what is refused for the time being with
    the seconds until it may be asked again.
    """

    error: str
    message: str
    temporary: bool = False
    suggestion: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET


class Fault(ErrorReply, tag="error", gc=False):
    """An error in the bytes themselves: there was no request to refuse."""


AnyReply = PongReply | PingEvent | Closing | Welcome | Users | Sent | Incoming | IncomingBroadcast | ErrorReply

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


def opening(kind: type[Incoming | IncomingBroadcast], sender: str) -> bytes:
    """Return what all messages of this kind from one sender begin with, up to their content."""
    return encode(kind(from_=sender, content="")).removesuffix(b'""}\n')


def complete(opening: bytes, content: str) -> bytes:
    """Return the whole line of a message: the same as `encode` would, at half the cost."""
    text = _encoder.encode(content)
    if not text.isascii():
        text = json.dumps(content).encode("ascii")
    return opening + text + b"}\n"
