"""A name that somebody owns: who has its password comes back to it, from as many devices as may be."""

from contextlib import suppress
from typing import TYPE_CHECKING

from chatroom.hub.entries import Keys
from chatroom.hub.ports import KnownAccount
from chatroom.protocol import names

if TYPE_CHECKING:
    from chatroom.hub.session import Session

MOST_DEVICES = 8
"""Connections of one account at a time; one more replaces the oldest."""
MOST_SESSIONS = 20
"""Sessions of one account that can come back; one more ends the one that was made first."""
SESSION_DAYS = 30.0
"""Days that a session of an account lives beyond its connection."""
MOST_WAITING = 1000
"""Direct messages that may wait for an account without a connection."""


class Account:
    """One account: what all machines know of it. Its number is that of the session that registered it.

    One that is away is addressed as a session would be, which has no connection.
    """

    client = None

    __slots__ = (
        "away_since",
        "devices",
        "has_returned",
        "hashed",
        "is_operator",
        "keys",
        "name",
        "number",
        "rooms",
        "seen",
        "sessions",
        "version",
        "waiting",
    )

    def __init__(self, number: int, name: str, keys: Keys, hashed: str) -> None:
        self.number = number
        self.name = name
        self.keys = keys
        self.hashed = hashed
        """The password's hash (PHC string format); empty: it was removed, but its name stays reserved."""
        self.version = 1
        """Grows with each password."""
        self.is_operator = False
        self.seen = 0.0
        """The day on which somebody came or left with it last, in seconds since 1970, UTC; 0 if nobody has."""
        self.has_returned = False
        """It has been used again since it was made."""
        self.rooms: dict[str, str] = {}
        """Those that its connections joined: the spelling, by folded name."""
        self.devices: list[Session] = []
        """Its sessions that are here, in the order in which they came."""
        self.sessions: dict[int, Session] = {}
        """All of its sessions, by number, in the order in which they were made."""
        self.away_since = 0
        """The number behind which direct messages wait for it; 0 while it is here."""
        self.waiting = 0
        """How many of them wait."""

    @property
    def owner(self) -> int:
        """Whose what is written to it is."""
        return self.number

    @property
    def removal(self) -> str:
        """What is said of it if it was removed."""
        return f"the account {names.quoted(self.name)} was removed, and its name is kept reserved"

    @classmethod
    def restored(cls, known: KnownAccount, keys: Keys, last: int) -> "Account":
        """Return an account that was stored; `last`: no number given out was more. All of it is away."""
        account = cls(known.number, known.name, keys, known.hashed)
        account.version, account.is_operator = known.version, known.is_operator
        account.seen, account.has_returned = known.seen, known.has_returned
        for room in known.rooms:
            with suppress(names.BadName):  # it is none since Unicode has changed
                account.rooms[names.address(room)] = room
        account.away_since, account.waiting = known.away_since or last, known.waiting
        return account

    def known(self) -> KnownAccount:
        """Return what is stored of it."""
        return KnownAccount(
            self.number,
            self.name,
            self.hashed,
            self.version,
            self.is_operator,
            self.seen,
            self.has_returned,
            tuple(self.rooms.values()),
            self.away_since,
            self.waiting,
        )
