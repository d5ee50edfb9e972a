"""Everything that others hear, or that changes who is where, as plain data.

Requests are checked where they come in, and become entries; entries are done, in one order, and nothing else
changes the house. An entry names sessions by number and rooms by folded name, and its frames are finished
lines: it can be written down, sent to another machine, and done there with the same outcome.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

Keys = tuple[str, str, str, str]
"""What a name is claimed by; see `names.keys`."""
NO_KEYS: Keys = ("", "", "", "")
"""Of who has no name, or of a ban that no name falls under."""

GONE = b"\n"
"""What is left of a line that was taken back."""


class Entry(Struct, array_like=True, gc=False):
    """What happens next."""


class Turned(Entry, tag="turned", gc=False):
    """A turn of the event loop has begun that has entries: its time, in seconds since 1970, UTC."""

    time: float
    least: int
    """No number less than this is given out from now on."""


class Came(Entry, tag="came", gc=False):
    """Somebody new, with a name; `secret` is the hash of what it can come back with.

    Who gave an account's password comes with its number, and with the version that the password was checked
    against.
    """

    name: str
    keys: Keys
    secret: bytes | None = None
    origin: str = ""
    """The network that it comes from, as one is banned: an IPv4 address, or an IPv6 network of 64 bits.

    Empty if that is exempt.
    """
    account: int = 0
    version: int = 0


class Returned(Entry, tag="returned", gc=False):
    """A session has a connection again; it may have another name, unless it is an account's."""

    session: int
    name: str
    keys: Keys
    origin: str = ""


class Dropped(Entry, tag="dropped", gc=False):
    """A session has lost its connection, and may come back."""

    session: int


class Went(Entry, tag="went", gc=False):
    """A session has ended."""

    session: int


class Joined(Entry, tag="joined", gc=False):
    """A session wants to hear a room, by its folded name; `name`, if it is this one who makes the room."""

    session: int
    room: str
    name: str
    most: int
    """Rooms that there may be."""
    most_of_one: int
    """Rooms that one may be in."""


class Left(Entry, tag="left", gc=False):
    """A session wants to hear a room no more."""

    session: int
    room: str


class Post(Entry, gc=False):
    """One message, or a burst of them with consecutive numbers; `number` and `time` are 0 until it is done."""

    number: int
    time: float
    session: int
    frames: bytes
    count: int
    ref: bytes | None
    """A hash of the `ref` of who said it: see `hub.session`."""

    @property
    def last(self) -> int:
        """The number of the last."""
        return self.number + self.count - 1

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Return each message that was not taken back, with its number."""
        for place, line in enumerate(self.frames.splitlines(keepends=True)):
            if line != GONE:
                yield self.number + place, line

    def forget(self, number: int) -> None:
        """Take this message back: an empty line stays, so that those behind keep their numbers."""
        lines = self.frames.splitlines(keepends=True)
        lines[number - self.number] = GONE
        self.frames = b"".join(lines)


class Said(Post, tag="said", gc=False):
    """To a room, or to the lobby if `room` is empty."""

    room: str
    device: int = 0
    """Which of an account's sessions said it, when it is done; 0 if that is not known, as behind a restart."""


class Told(Post, tag="told", gc=False):
    """To a session, which bears the name `to`."""

    receiver: int
    to: str
    device: int = 0
    """As above."""


class Forgot(Entry, tag="forgot", gc=False):
    """A session takes back what it wrote: the message of this number, to a room or to a session."""

    session: int
    number: int
    room: str | None
    receiver: int = 0


class Registered(Entry, tag="registered", gc=False):
    """A session, or (0) the command line, owns a name from now on.

    An account has the number of the session that registers it, so what that wrote is the account's; or of its
    own, if the command line adds it.
    """

    session: int
    name: str
    keys: Keys
    hashed: str
    """The password's hash, with its parameters (PHC string format)."""
    most: int
    """Accounts that there may be."""
    secret: bytes | None = None
    """The hash of what the session can come back with from now on, if it can.

    Others may have read the one from before, while it opened nothing but a guest's session.
    """


class Changed(Entry, tag="changed", gc=False):
    """An account has another password: all its sessions end, but for this one (0: all)."""

    account: int
    version: int
    """That the old password was checked against; 0: the command line need not know it."""
    hashed: str
    session: int = 0
    secret: bytes | None = None
    """As above: whoever has stolen the one from before is out, too."""


class Appointed(Entry, tag="appointed", gc=False):
    """An account is an operator's from now on, or no longer."""

    account: int
    is_operator: bool


class Removed(Entry, tag="removed", gc=False):
    """An account is no more; its name stays reserved, unless it is freed."""

    account: int
    frees: bool


class Erased(Entry, tag="erased", gc=False):
    """The texts of all that an account, or a session, wrote are forgotten; nobody is told."""

    owner: int


class Kicked(Entry, tag="kicked", gc=False):
    """All connections of an account end; or of a guest's session, which ends too."""

    target: int
    by: int
    """An operator's account; 0: the command line."""
    reason: str = ""


class Muted(Entry, tag="muted", gc=False):
    """An account, or a guest's session, may not write for so many minutes (0: for good)."""

    target: int
    by: int
    minutes: int
    reason: str = ""


class Unmuted(Entry, tag="unmuted", gc=False):
    """It may write again."""

    target: int
    by: int


class Banned(Entry, tag="banned", gc=False):
    """An account, or (0) whoever has such a name and none, is let in no more for so many minutes (0: for good).

    Guests who come from one of these networks are not, either.
    """

    account: int
    name: str
    keys: Keys
    by: int
    minutes: int
    origins: tuple[str, ...] = ()
    reason: str = ""


class Unbanned(Entry, tag="unbanned", gc=False):
    """All that was banned with this name, or this network, is let in again."""

    name: str
    keys: Keys
    by: int


class Expired(Entry, tag="expired", gc=False):
    """What was said up to this number has become too old, and is kept no longer."""

    number: int


AnyEntry = (
    Turned
    | Came
    | Returned
    | Dropped
    | Went
    | Joined
    | Left
    | Said
    | Told
    | Forgot
    | Registered
    | Changed
    | Appointed
    | Removed
    | Erased
    | Kicked
    | Muted
    | Unmuted
    | Banned
    | Unbanned
    | Expired
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyEntry] = msgspec.msgpack.Decoder(AnyEntry)


def encode(entry: AnyEntry) -> bytes:
    """Return the entry as it travels."""
    return _encoder.encode(entry)


def decode(data: bytes) -> AnyEntry:
    """Return the entry again. Raises `msgspec.DecodeError`."""
    return _decoder.decode(data)
