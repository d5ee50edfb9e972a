"""The house: who is here, under which name, in which rooms, and what was said.

Nothing of it changes but by an entry that is done (`deeds`), and what an entry does follows from the entries
before it: no clock, no randomness, no setting. So a second house that does the same entries is the same.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256

from msgspec import Struct

from chatroom.hub import past
from chatroom.hub.account import Account
from chatroom.hub.client import Client, Handlers
from chatroom.hub.delivery import Delivery
from chatroom.hub.entries import Keys
from chatroom.hub.keeper import Keeper
from chatroom.hub.ports import Known, Observer, Restored, Store, Timing
from chatroom.hub.presence import Presence
from chatroom.hub.refusal import Refusal
from chatroom.hub.room import Room
from chatroom.hub.session import Receipt, Session
from chatroom.hub.verdicts import Verdicts
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorCode, Request


class Asked(Struct, gc=False):
    """A request of a client here, to be answered when its entry is done. It never travels."""

    client: Client
    request: Request
    secret: str = ""
    """Of a `hello`: what its session can come back with."""


class House:
    """The state of the chat."""

    def __init__(
        self,
        delivery: Delivery,
        observer: Observer,
        timing: Timing,
        store: Store | None,
        *,
        welcome: Handlers,
        limits: dict[str, int],
        refuse: Callable[[Client, Refusal, Request], None],
        keeps: bool,
    ) -> None:
        """`welcome`: what the requests of clients do that are; `limits`: what those are told.

        `refuse` answers a request with an error; `keeps`: whether messages are kept.
        """
        self.delivery = delivery
        self.observer = observer
        self.store = store
        self.keeper = Keeper(store if keeps else None, delivery, refuse)
        self.presence = Presence(timing, delivery, self.people)
        self.welcome = welcome
        self.limits = limits
        self.lobby = delivery.lobby
        self.time = 0.0
        """The log's: seconds since 1970, UTC."""
        self.next = delivery.past.floor + 1
        """The number of the next message or session."""
        self.past = delivery.past
        self.sessions: dict[int, Session] = {}
        self.accounts: dict[int, Account] = {}
        """By number; also those that were removed, while their names stay reserved."""
        self.verdicts = Verdicts(store)
        self.secrets: dict[bytes, Session] = {}
        """Those that can come back."""
        self.spelled: dict[str, Session] = {}
        """Who is here, by name as given, in the order in which they came."""
        self.claimed: tuple[dict[str, Session], ...] = ({}, {}, {}, {})
        """The same by each of `names.keys`."""
        self.away: dict[str, Session] = {}
        """Who can come back to a name that nobody has taken, by folded name."""
        self.rooms: dict[str, Room] = {}
        """Beside the lobby, those with somebody in them, by folded name."""

    def turned(self, time: float, least: int) -> None:
        """Let it be that time, in seconds since 1970, UTC, and no number be less than `least`."""
        self.time = time
        if least > self.next:  # noqa: PLR1730 - `max` takes four times as long
            self.next = least
        if self.past.size > past.ROOMS:
            self.past.forget_some()

    def claims(self, keys: Keys) -> Iterator[tuple[int, Session]]:
        """Return who has a name that is one with this, and the kind of key that says so."""
        for kind, key in enumerate(keys):
            if (holder := self.claimed[kind].get(key)) is not None:
                yield kind, holder

    def likeness(self, name: str, keys: Keys, asker: Session | None = None) -> str:
        """Return whom this name would be taken for, in a sentence; nothing if for nobody but the asker."""
        for kind, holder in self.claims(keys):
            if holder is not asker:
                other = names.quoted(holder.name)
                if kind == names.ADDRESS:
                    return f"{other} is here already"
                return f"{names.quoted(name)} looks like {other}, who is here"
        return ""

    def enter(self, session: Session, name: str, keys: Keys) -> None:
        """Let the session in under this name.

        Raises a `Refusal` if somebody has it.
        """
        if why := self.likeness(name, keys, session):
            raise Refusal(ErrorCode.NAME_TAKEN, why)
        if session.is_here:
            self.take_out(session)
        elif self.away.get(session.keys[names.ADDRESS]) is session:
            del self.away[session.keys[names.ADDRESS]]
        before = self.away.pop(keys[names.ADDRESS], None)
        if before is not None:
            self.know(before)  # it may come back, but this name is not its own any more
        session.name, session.keys, session.is_here = name, keys, True
        self.spelled[name] = session
        for kind, key in enumerate(keys):
            self.claimed[kind][key] = session

    def take_out(self, session: Session) -> None:
        """Let the session be here no more; it knows which rooms it was in."""
        if not session.is_here:
            return
        session.is_here = session.may_write = False
        client, session.client = session.client, None
        if client is not None:
            self.lobby.leave(client)
            client.name = None
        del self.spelled[session.name]
        for kind, key in enumerate(session.keys):
            del self.claimed[kind][key]
        self.presence.went(self.lobby, session.name)
        if session.rooms is not None:
            session.was_in = tuple(room.name for room in session.rooms.values())
            for room in session.rooms.values():
                self.leave_room(session, room, client)
            session.rooms = None

    def leave_room(self, session: Session, room: Room, client: Client | None) -> None:
        """Let the session hear a room no more; an empty one is none."""
        del room.members[session.number]
        self.presence.went(room, session.name)
        if client is not None:
            room.leave(client)
        if not room.members:
            if room.log:  # another of this name is another
                self.delivery.flush_room(room)
            del self.rooms[room.key]

    def people(self, room: Room) -> int:
        """Return how many are in a room, or in the lobby."""
        return len(room.members) if room.key else len(self.spelled)

    def drop(self, session: Session) -> None:
        """Let a session be without a connection until it comes back, if it can; its name is free."""
        if session.secret is None:
            self.end(session)
        elif session.is_here:
            self.take_out(session)
            self.away[session.keys[names.ADDRESS]] = session
            self.know(session)

    def end(self, session: Session) -> None:
        """Forget a session."""
        del self.sessions[session.number]
        self.take_out(session)
        if session.account is None:
            self.verdicts.unmute(session.number)
        if session.secret is not None:
            del self.secrets[session.secret]
        if self.away.get(session.keys[names.ADDRESS]) is session:
            del self.away[session.keys[names.ADDRESS]]
        if self.store is not None and session.secret is not None:
            self.store.end(session.number)

    def turn_out(self, session: Session, reason: str, message: str) -> None:
        """End the connection of a session; a guest's session ends with it."""
        client, name = session.client, session.name
        if session.account is None:
            self.end(session)
        else:
            self.drop(session)
        if client is not None:
            self.hang_up(client, name, reason, message)

    def hang_up(self, client: Client, name: str, reason: str, message: str = "") -> None:
        """End a connection of this machine that has no session any more; it had this name."""
        self.delivery.say_why(client, reason, message)
        self.delivery.hear_no_more(client)
        self.delivery.end(client)
        self.observer.left(name, client.sink.peer, reason)

    def know(self, session: Session) -> None:
        """Have the store know a session, if it can come back."""
        if self.store is not None and session.secret is not None:
            rooms = session.was_in
            if session.rooms is not None:
                rooms = tuple(room.name for room in session.rooms.values())
            is_its_own = session.is_here or self.away.get(session.keys[names.ADDRESS]) is session
            name = session.name if is_its_own else ""
            self.store.know(Known(session.number, session.secret, name, rooms))

    def restore(self, restored: Restored) -> None:
        """Go on with what a store knew: its sessions have lost their connections."""
        self.past.restore(restored.rooms, restored.direct)
        for known in restored.sessions:
            session = Session(known.number, known.secret, self.lobby)
            with suppress(names.BadName):  # it has none any more, or none that is one since Unicode has changed
                session.name, session.keys = known.name, names.keys(known.name)
                self.away[session.keys[names.ADDRESS]] = session
            session.was_in = known.rooms
            for ref, number, time in known.receipts:
                session.remember(ref, Receipt(number, time, is_stored=True))
            self.sessions[known.number] = self.secrets[known.secret] = session
        for ban in restored.bans:
            number = ban.account
            self.verdicts.restore(ban, self.accounts.get(number) or self.sessions.get(number))

    def state(self) -> list[object]:
        """Return all that must be the same on every machine, whoever is connected to it."""
        return [
            (self.time, self.next),
            [
                (
                    s.number,
                    s.name,
                    s.keys,
                    s.is_here,
                    s.may_write,
                    s.origin,
                    s.secret,
                    s.rooms and list(s.rooms),
                    s.was_in,
                    list(s.spoken),
                    s.receipts(),
                )
                for s in self.sessions.values()
            ],
            [(s.number, list(s.rooms)) for s in self.sessions.values() if s.rooms is not None],
            list(self.spelled),
            [{key: s.number for key, s in claimed.items()} for claimed in self.claimed],
            {key: s.number for key, s in self.away.items()},
            {key: s.number for key, s in self.secrets.items()},
            [(room.key, room.name, list(room.members)) for room in self.rooms.values()],
            self.delivery.all_said(),
            (list(self.past.direct), self.past.direct.floor),
            self.verdicts.state(),
        ]

    def digest(self) -> str:
        """Return a hash of it."""
        return sha256(repr(self.state()).encode()).hexdigest()
