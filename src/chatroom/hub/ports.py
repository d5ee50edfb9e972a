"""What the hub needs from outside, as protocols: whoever runs it plugs these in."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from chatroom.protocol.messages import ErrorReply

if TYPE_CHECKING:
    from chatroom.hub.entries import Entry, Said, Told
    from chatroom.hub.house import Asked
    from chatroom.hub.reading import Page, Query, Stored

AHEAD = 60_000_000
"""By how much the mark is ahead of the numbers that are given out: a minute."""

Clock = Callable[[], float]
"""Seconds since 1970, UTC."""


class Timing(Protocol):
    """An event loop, as far as it tells the time and calls back."""

    def time(self) -> float:
        """Return the time in seconds, of any origin, that never goes back."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call the function after what is being done now: at the end of this turn."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> "Timer":
        """Call the function after this many seconds."""


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Do not make it."""


class Sink(Protocol):
    """One connection, as the hub sees it: where its bytes go.

    Nothing here but `go_on` calls back into the hub before it returns. What raises is given to `fail`.
    """

    peer: str
    """The address, for the log."""

    origin: str
    """The network that it comes from, as one is banned: an IPv4 address, or an IPv6 network of 64 bits.

    Empty if that is exempt.
    """
    is_private: bool
    """Nobody on the way can read it: it uses TLS, or stays on this machine. Only so are passwords taken."""

    @property
    def push(self) -> Callable[[bytes], None]:
        """Take whole frames, to leave in the order in which they came; never wait.

        Raises `RuntimeError`, as event loops do, if the connection has just broken; then call `fail`.
        """

    def fail(self, exception: Exception) -> None:
        """`push` or `close` has raised this: end the connection, and log it if the connection was alive."""

    def give_up(self, reason: str) -> None:
        """End the connection now."""

    def wait(self) -> None:
        """Hand the hub nothing more, and let no time pass for the peer, until told to go on."""

    def go_on(self) -> None:
        """Hand the hub what is left: the session's turn has come."""

    def close(self) -> None:
        """End the connection when all that was pushed has gone out."""

    def is_dead(self) -> bool:
        """Whether the peer is provably gone, though its end has not been reported yet."""


class Observer(Protocol):
    """Who is told what happens; it keeps the log."""

    def joined(self, name: str, peer: str) -> None:
        """Somebody is welcome."""

    def left(self, name: str, peer: str, reason: str) -> None:
        """Somebody has gone."""

    def refused(self, name: str | None, peer: str, error: ErrorReply) -> None:
        """A request was answered with an error. The error's text may quote the request: never log it."""

    def turned_away(self, peer: str, reason: str) -> None:
        """A connection was ended before anybody was welcome on it; the reason is ours, never its text."""

    def decided(self, what: str, name: str, by: str | None) -> None:
        """An operator, or (None) the command line, has had this done to a user, an account or a network."""

    def note(self, text: str) -> None:
        """Something else that the operator should know."""


class Log(Protocol):
    """Where entries are put in order, and from where they are done."""

    def append(self, entry: "Entry", asked: "Asked | None") -> None:
        """Have an entry done; `asked` is the request that is answered then, and never travels.

        Raises a `Refusal` if the entry is done at once and cannot be.
        """


class Hasher(Protocol):
    """Hashes passwords in a thread of its own: each takes some 50 ms. It is asked for one at a time.

    What is called back is called later and in the hub's thread. None: it failed, for a reason that the log has.
    """

    def hash(self, password: str, then: "Callable[[str | None], None]") -> None:
        """Make a hash (PHC string format) and tell `then`."""

    def verify(self, hashed: str, password: str, then: "Callable[[bool | None], None]") -> None:
        """Tell `then` whether this is the password."""


class KnownAccount(NamedTuple):
    """An account, as it is stored."""

    number: int
    name: str
    hashed: str
    """The password's hash (PHC string format); empty: it was removed, but its name stays reserved."""
    version: int
    """Grows with each password."""
    is_operator: bool
    seen: float
    """When somebody came or left with it last, in seconds since 1970, UTC, to the day."""
    has_returned: bool
    """It has been used again since it was made."""
    rooms: tuple[str, ...]
    """Those that its connections joined, as they are spelled."""
    away_since: int
    """The number behind which direct messages wait for it; 0 while it is here."""
    waiting: int
    """How many of them wait."""


class KnownBan(NamedTuple):
    """Somebody who is banned or muted, as it is stored."""

    kind: str
    """`ban`, `network` (a ban of one) or `mute`."""
    account: int
    """The account; of a mute, also a guest's session; 0: guests of this name, or from this network."""
    name: str
    by: str
    """The operator's name; empty: the command line."""
    time: float
    until: float
    """In seconds since 1970, UTC; 0: for good."""
    origins: tuple[str, ...]
    reason: str
    number: int = 0
    """Of a ban: what numbers there were when it came are less. Guests' sessions with these may resume."""


class Order(NamedTuple):
    """What the command line asks for, through the store."""

    number: int
    what: str
    """`add`, `password`, `operator`, `forget`, `remove`, `ban` or `unban`."""
    name: str
    """Of the account or the guest; or a network."""
    hashed: str = ""
    minutes: int = 0
    is_set: bool = False
    """`operator`: whether it becomes one; `remove`: whether the name is freed."""
    reason: str = ""


DONE = "done: "
"""What the answer to an order begins with if it is done, and there is something else to know."""


class Known(NamedTuple):
    """A session that can come back, as it is stored."""

    number: int
    secret: bytes
    """The hash of what it comes back with."""
    name: str
    """Empty if somebody else has taken it since."""
    rooms: tuple[str, ...]
    """Those that it was in, as they are spelled."""
    receipts: tuple[tuple[bytes, int, float], ...] = ()
    """Of its last messages with a `ref`, its hash, number and time: of a session that is restored."""
    account: int = 0
    """Whose it is; 0: a guest's."""
    until: float = 0.0
    """When it ends, in seconds since 1970, UTC, if it is an account's and has no connection; else 0."""


class Restored(NamedTuple):
    """What a store knew when it was opened."""

    last: int
    """All numbers that were given out before are at most this."""
    mark: int
    """Below this, numbers may be given out from now on."""
    rooms: "Mapping[str, tuple[int, Sequence[Said]]]"
    """Of each room, by folded name: the number behind which none is missing, and its newest messages."""
    direct: "tuple[int, Sequence[Told]]"
    """The same of those between sessions."""
    sessions: Sequence[Known]
    """Those that can come back."""
    accounts: "Sequence[KnownAccount]" = ()
    bans: "Sequence[KnownBan]" = ()
    floor: int = 0
    """The number behind which nothing is missing of rooms that are not among these."""


class Store(Protocol):
    """What outlives this process.

    Nothing waits: what takes time is done elsewhere, in the order in which it was asked for, and `then` is
    called when it is done, later and in the hub's own thread.
    """

    def restore(self, now: int) -> Restored:
        """Return what is stored, and have the mark `AHEAD` of this number and of all that were given out.

        To be called once, before anything else; it takes as long as it takes.
        """

    def raise_mark(self, mark: int, then: Callable[[bool], None]) -> None:
        """Store a number that is more than any that is given out; `then` is told whether it is on the disk."""

    def keep(self, post: "Said | Told", then: Callable[[bool], None] | None, device: int | None = None) -> None:
        """Store a message, or a burst, with its `ref`; `then` is told whether it is on the disk.

        `device`: the session that said it, whose `ref` it is, if `post.session` is an account.
        """

    def know(self, session: Known) -> None:
        """Store a session that can come back, or what has changed of it."""

    def end(self, number: int) -> None:
        """Forget a session, and what was said between it and others that are forgotten too."""

    def know_account(self, account: KnownAccount, then: Callable[[bool], None] | None = None) -> None:
        """Store an account, or what has changed of it; `then` is told whether it is on the disk."""

    def remove_account(self, number: int) -> None:
        """Forget an account whose name is free, and what was said between it and others that are gone."""

    def know_ban(self, ban: KnownBan, then: Callable[[bool], None] | None = None) -> None:
        """Store who is banned or muted; there is one of a kind for a name."""

    def lift(self, kind: str, name: str, then: Callable[[bool], None] | None = None) -> None:
        """Forget that somebody is banned or muted."""

    def take_orders(self, do: "Callable[[Order], str]") -> None:
        """From now on, call `do` in the hub's thread for each order of the command line.

        It returns why it was not done; or, if it was, nothing, or `DONE` and what else there is to know. The
        command gets that answer once all is stored.
        """

    def erase(self, number: int, then: Callable[[bool], None]) -> None:
        """Overwrite the texts of all that an account or a session wrote, in small steps."""

    def fill(self, page: "Page", query: "Query", then: Callable[[], None]) -> None:
        """Let the page take what is stored and fits the query, in its order; and end a search that takes long.

        What was to be kept before is in it. If something cannot be read, it calls `page.fail`. Until `then` is
        called, the page is the store's.
        """

    def find(self, number: int, then: "Callable[[Stored | None, bool], None]") -> None:
        """Tell `then` of the message of this number, whose text may have been forgotten.

        `then` is also told whether it could not be read.
        """

    def forget(self, number: int, then: Callable[[bool], None]) -> None:
        """Overwrite the text of a message; `then` is told whether that is on the disk.

        Whose it was stays known.
        """
