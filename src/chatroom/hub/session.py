"""Somebody in the house: a name, the rooms it is in, and what it said; with or without a connection."""

from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec import Struct

from chatroom.hub.entries import NO_KEYS

if TYPE_CHECKING:
    from chatroom.hub.account import Account
    from chatroom.hub.client import Client
    from chatroom.hub.house import Asked
    from chatroom.hub.room import Room

MAX_REFS = 256
"""Messages whose `ref` a session remembers, so that a retry is not delivered twice."""

MAX_SPOKEN = 100
"""Rooms in which a session is known to have spoken: it may be in as many."""


def hashed(ref: str) -> bytes:
    """Return what a session keeps of a `ref`, which may take 20 times the memory: the client chose it."""
    return blake2b(ref.encode(), digest_size=16).digest()


class Receipt(Struct, gc=False):
    """What a message with a `ref` was given, and who waits to be told."""

    number: int
    time: float
    room: str | None = None
    """Where it was said, by folded name; None if to one."""
    is_stored: bool | None = None
    """None: it is being stored."""
    asked: "tuple[Asked, ...]" = ()


class Session:
    """One session: what all machines know of it, but for `client`."""

    __slots__ = (
        "_refs",
        "account",
        "client",
        "is_here",
        "is_kept",
        "keys",
        "may_write",
        "name",
        "number",
        "origin",
        "owner",
        "posted",
        "rooms",
        "secret",
        "spoken",
        "until",
        "was_in",
    )

    def __init__(
        self, number: int, secret: bytes | None, lobby: "Room", account: "Account | None" = None
    ) -> None:
        """`secret`: the hash of what it can come back with; None: it ends with its connection."""
        self.number = number
        self.secret = secret
        self.account = account
        """Whose it is; None: a guest's."""
        self.owner = number if account is None else account.number
        """Whose what it writes is, and what is written to it: the account's number, or its own."""
        self.is_kept = not (secret is None and account is None)
        """Direct messages of it, and to it, are kept."""
        self.until = 0.0
        """When it ends, by the log's time, if it is an account's and has no connection; else 0."""
        self.name = ""
        self.keys = NO_KEYS
        self.is_here = False
        """It has a connection, on whatever machine."""
        self.may_write = False
        """It is here, and is not muted, as far as is known: a mute may have ended."""
        self.origin = ""
        """The network that it came from last, as one is banned; empty if that is exempt."""
        self.client: Client | None = None
        """Its connection, if that is on this machine."""
        self.rooms: dict[str, Room] | None = None
        """Those it has joined since it came or came back, by folded name."""
        self.was_in: tuple[str, ...] = ()
        """Those that it was in before its connection broke."""
        self.posted = lobby
        """The room in which it spoke last."""
        self.spoken: dict[str, None] | tuple[()] = ()
        """The rooms in which it spoke, by folded name, beside the lobby; of more, the last `MAX_SPOKEN`."""
        self._refs: dict[bytes, Receipt] | None = None

    def register(self, account: "Account") -> None:
        """It is this account's from now on, which has its number."""
        self.account, self.is_kept = account, True

    @property
    def is_operator(self) -> bool:
        """Whether its account is an operator's."""
        return self.account is not None and self.account.is_operator

    @property
    def refs(self) -> dict[bytes, Receipt]:
        """What its last messages with a `ref` were given, by its hash."""
        return self._refs or {}

    def post_in(self, room: "Room") -> None:
        """From now on it speaks in this room."""
        self.posted = room
        if room.key:
            spoken = self.spoken or {}
            spoken.pop(room.key, None)
            spoken[room.key] = None
            if len(spoken) > MAX_SPOKEN:
                del spoken[next(iter(spoken))]
            self.spoken = spoken

    def remember(self, ref: bytes, receipt: Receipt) -> None:
        """Keep what a message was given, and forget the oldest beyond `MAX_REFS`."""
        if self._refs is None:
            self._refs = {}
        self._refs[ref] = receipt
        if len(self._refs) > MAX_REFS:
            del self._refs[next(iter(self._refs))]

    def receipts(self) -> list[tuple[bytes, int, float]]:
        """Return what it remembers of its messages, as all machines know it."""
        return [(ref, receipt.number, receipt.time) for ref, receipt in self.refs.items()]
