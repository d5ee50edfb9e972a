"""The house: who is here, under which name, in which rooms, and what was said.

Nothing of it changes but by an entry that is done (`deeds`), and what an entry does follows from the entries
before it: no clock, no randomness, no setting. So a second house that does the same entries is the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256

from msgspec import Struct

from chatroom.hub import past
from chatroom.hub.account import MOST_DEVICES, MOST_WAITING, SESSION_DAYS, Account
from chatroom.hub.client import Client, Handlers
from chatroom.hub.delivery import Delivery
from chatroom.hub.entries import NO_KEYS, Keys
from chatroom.hub.keeper import Keeper
from chatroom.hub.ports import Known, Observer, Restored, Store, Timing
from chatroom.hub.presence import Presence
from chatroom.hub.refusal import Refusal
from chatroom.hub.reserved import Reserved
from chatroom.hub.room import Room
from chatroom.hub.session import Receipt, Session
from chatroom.hub.verdicts import Verdicts
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorCode, Message, Registered, Request


class Asked(Struct, gc=False):
    """A request of a client here, to be answered when its entry is done. It never travels."""

    client: Client
    request: Request
    secret: str = ""
    """Of a `hello` or a `register`: what its session can come back with."""
    waiting: Sequence[Message] = ()
    """Of a `hello`: direct messages that wait for the account, as far as they had to be read from the store."""


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
        self.reserved = Reserved()
        """The same by name."""
        self.verdicts = Verdicts(store)
        self.secrets: dict[bytes, Session] = {}
        """Those that can come back."""
        self.spelled: dict[str, Session] = {}
        """Who is here, by name as given, in the order in which they came; an account, by one of its devices."""
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
            if asker is None or holder.owner != asker.owner:
                other = names.quoted(holder.name)
                if kind == names.ADDRESS:
                    return f"{other} is here already"
                return f"{names.quoted(name)} looks like {other}, who is here"
        return ""

    def reservation(self, name: str, keys: Keys) -> str:
        """Return whose account this name is, or looks like, in a sentence; nothing if nobody's."""
        for kind, account in self.reserved.claims(keys):
            owned = names.quoted(account.name)
            if not account.hashed:
                likeness = "" if kind == names.ADDRESS else f"{names.quoted(name)} looks like {owned}: "
                return likeness + account.removal
            if kind == names.ADDRESS:
                return f"{owned} is registered and needs its password"
            return f"{names.quoted(name)} looks like {owned}, which is registered"
        return ""

    def may_keep(self, guest: Session, keys: Keys) -> bool:
        """Whether a guest may come back to its name, though it has been reserved: nobody has come to own it."""
        has_it = guest.is_here or self.away.get(guest.keys[names.ADDRESS]) is guest
        owners = (account for _, account in self.reserved.claims(keys))
        return guest.account is None and has_it and keys == guest.keys and not any(one.seen for one in owners)

    def enter(self, session: Session, name: str, keys: Keys) -> None:
        """Let the session in under this name; a guest with an account's name, or its like, makes room for it.

        Raises a `Refusal` if somebody has it.
        """
        account = session.account
        if account is None and (why := self.reservation(name, keys)) and not self.may_keep(session, keys):
            raise Refusal(ErrorCode.NAME_RESERVED, why)
        others = {one: None for _, one in self.claims(keys) if one.owner != session.owner}
        if others and (account is None or any(one.account for one in others)):
            raise Refusal(ErrorCode.NAME_TAKEN, self.likeness(name, keys, session))
        for guest in others:
            is_same = guest.keys[names.ADDRESS] == keys[names.ADDRESS]
            what = "the name" if is_same else "a name that looks like yours"
            self.cut_off(guest, "replaced", f"{what} is registered, and its owner has come")
        if session.is_here:
            self.take_out(session)
        elif self.away.get(session.keys[names.ADDRESS]) is session:
            del self.away[session.keys[names.ADDRESS]]
        before = self.away.pop(keys[names.ADDRESS], None)
        if before is not None:
            self.know(before)  # it may come back, but this name is not its own any more
        session.name, session.keys, session.is_here = name, keys, True
        if account is not None:
            account.devices.append(session)
            if len(account.devices) > 1:
                return
        self._claim(session)
        self.presence.came(self.lobby, name)

    def _claim(self, session: Session) -> None:
        """Have its name lead to it; that of an account keeps its place among all names."""
        self.spelled[session.name] = session
        for kind, key in enumerate(session.keys):
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
        account = session.account
        if account is not None:
            account.devices.remove(session)
        if account is not None and account.devices:
            self._claim(account.devices[0])
        else:
            del self.spelled[session.name]
            for kind, key in enumerate(session.keys):
                del self.claimed[kind][key]
            self.presence.went(self.lobby, session.name)
            if account is not None:
                account.away_since = self.next - 1
        if session.rooms is not None:
            session.was_in = tuple(room.name for room in session.rooms.values())
            for room in session.rooms.values():
                self.leave_room(session, room, client)
            session.rooms = None

    def leave_room(self, session: Session, room: Room, client: Client | None) -> None:
        """Let the session hear a room no more; an empty one is none."""
        devices = () if session.account is None else session.account.devices
        others = [one for one in devices if one is not session and one.rooms and room.key in one.rooms]
        if others:
            room.members[session.owner] = others[0]
        else:
            del room.members[session.owner]
            self.presence.went(room, session.name)
        if client is not None:
            room.leave(client)
        if not room.members:
            if room.log:  # another of this name is another
                self.delivery.flush_room(room)
            del self.rooms[room.key]

    def drop(self, session: Session) -> None:
        """Let a session be without a connection until it comes back, if it can."""
        if session.secret is None:
            self.end(session)
            return
        self.take_out(session)
        if session.account is None:
            self.away[session.keys[names.ADDRESS]] = session
        else:
            session.until = self.time + SESSION_DAYS * 86_400
            self.see(session.account)
        self.know(session)

    def end(self, session: Session) -> None:
        """Forget a session."""
        was_here = session.is_here
        del self.sessions[session.number]
        self.take_out(session)
        if session.secret is not None:
            del self.secrets[session.secret]
        if self.away.get(session.keys[names.ADDRESS]) is session:
            del self.away[session.keys[names.ADDRESS]]
        if session.account is None:
            self.verdicts.unmute(session.number)
        else:
            del session.account.sessions[session.number]
            if was_here:
                self.see(session.account)
        if self.store is not None and session.secret is not None:
            self.store.end(session.number)

    def cut_off(self, session: Session, reason: str, message: str) -> None:
        """Forget a session, and end its connection, if that is on this machine."""
        client, name = session.client, session.name
        self.end(session)
        if client is not None:
            self.hang_up(client, name, reason, message)

    def people(self, room: Room) -> int:
        """Return how many are in a room, or in the lobby."""
        return len(room.members) if room.key else len(self.spelled)

    def devices(self, owner: int) -> list[Session]:
        """Return the sessions of an account that are here; or a guest's, wherever it is."""
        account, session = self.accounts.get(owner), self.sessions.get(owner)
        if account is not None:
            return list(account.devices)
        return [] if session is None else [session]

    def clients(self, owner: int) -> list[Client]:
        """Return the connections here of an account or a session."""
        return [one.client for one in self.devices(owner) if one.client is not None]

    def turn_out(self, session: Session, reason: str, message: str = "") -> None:
        """End the connection of a session; a guest's session ends with it."""
        client, name = session.client, session.name
        if session.account is None:
            self.end(session)
        else:
            self.drop(session)
        if client is not None:
            self.hang_up(client, name, reason, message)

    def hang_up(self, client: Client, name: str, reason: str, message: str = "") -> None:
        """End a connection of this machine whose session has ended, or has another; it had this name."""
        self.delivery.say_why(client, reason, message)
        self.delivery.hear_no_more(client)
        self.delivery.end(client)
        self.observer.left(name, client.sink.peer, reason)

    # Accounts

    @property
    def day(self) -> float:
        """When this day has begun, by the log's time: in seconds since 1970, UTC."""
        return self.time // 86_400 * 86_400

    def welcome_back(self, account: Account) -> int:
        """One more of an account's devices is here: one too many, and the oldest goes.

        Return the number behind which direct messages waited for it, or 0.
        """
        since, account.away_since, account.waiting = account.away_since, 0, 0
        if len(account.devices) > MOST_DEVICES:
            self.turn_out(account.devices[0], "replaced")
        self.see(account)
        return since

    def went_to(self, session: Session, room: Room, most: int) -> None:
        """Remember that an account is in a room; of more than `most`, the last."""
        if session.account is not None:
            rooms = session.account.rooms
            rooms.pop(room.key, None)
            rooms[room.key] = room.name
            if len(rooms) > most:
                del rooms[next(iter(rooms))]
            self.know_account(session.account)

    def let_wait(self, account: Account, count: int) -> None:
        """Count messages to an account, if it is away. Raises a `Refusal` if too many wait for it."""
        if account.devices:
            return
        if account.waiting + count > MOST_WAITING:
            why = f"{account.waiting} messages wait for {names.quoted(account.name)}; no more are kept"
            raise Refusal(ErrorCode.NOT_STORED, why)
        account.waiting += count
        self.know_account(account)

    def see(self, account: Account) -> None:
        """Somebody comes or goes with it: another day may have come."""
        if account.seen < self.day:
            account.has_returned = True
        account.seen = self.day
        self.know_account(account)

    def know_account(self, account: Account, then: Callable[[bool], None] | None = None) -> None:
        """Have the store know an account; `then` is told whether it does."""
        if self.store is not None:
            self.store.know_account(account.known(), then)
        elif then is not None:
            then(True)

    def confirm(self, account: Account, asked: Asked | None) -> None:
        """Have the store know an account, and say so to who asked for it."""
        secret = None if asked is None else asked.secret or None
        self.know_account(account, self.keeper.when_stored(asked, Registered(session=secret)))

    def add_account(self, account: Account) -> None:
        """Let there be such an account."""
        self.accounts[account.number] = account
        self.reserved.add(account)

    def renew(self, session: Session, secret: bytes | None) -> None:
        """Let a session that can come back do so with this secret, and no longer with the one from before."""
        if session.secret is not None and secret is not None:
            del self.secrets[session.secret]
            session.secret, self.secrets[secret] = secret, session
        self.know(session)

    def know(self, session: Session) -> None:
        """Have the store know a session, if it can come back."""
        if self.store is not None and session.secret is not None:
            rooms, account = session.was_in, session.account
            if session.rooms is not None:
                rooms = tuple(room.name for room in session.rooms.values())
            is_its_own = account or session.is_here or self.away.get(session.keys[names.ADDRESS]) is session
            name, owner = session.name if is_its_own else "", 0 if account is None else account.number
            self.store.know(
                Known(session.number, session.secret, name, rooms, account=owner, until=session.until)
            )

    def restore(self, restored: Restored) -> None:
        """Go on with what a store knew: its sessions have lost their connections."""
        self.past.restore(restored.rooms, restored.direct, restored.floor)
        self.time = restored.last / 1_000_000
        for each in restored.accounts:
            keys = NO_KEYS
            with suppress(names.BadName):  # it is none since Unicode has changed: it is found as it is spelled
                keys = names.keys(each.name)
            self.add_account(Account.restored(each, keys, restored.last))
        for known in restored.sessions:
            account = self.accounts.get(known.account)
            session = Session(known.number, known.secret, self.lobby, account)
            if known.account and account is None:  # which could not be stored
                if self.store is not None:
                    self.store.end(known.number)
                continue
            if account is not None:
                session.name, session.keys = account.name, account.keys
                session.until = known.until or self.time + SESSION_DAYS * 86_400
                account.sessions[session.number] = session
            elif known.name:  # else it has lost it
                with suppress(names.BadName):  # it is none since Unicode has changed
                    session.name, session.keys = known.name, names.keys(known.name)
                    self.away[session.keys[names.ADDRESS]] = session
            session.was_in = known.rooms
            for ref, number, time in known.receipts:
                session.remember(ref, Receipt(number, time, is_stored=True))
            self.sessions[known.number] = self.secrets[known.secret] = session
        everybody: dict[int, Session | Account] = {**self.sessions, **self.accounts}
        self.verdicts.restore(restored.bans, everybody.get)

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
                    s.owner,
                    s.until,
                )
                for s in self.sessions.values()
            ],
            [
                (
                    a.known(),
                    a.keys,
                    list(a.rooms),
                    [s.number for s in a.devices],
                    list(a.sessions),
                    [one.number for _, one in self.reserved.claims(a.keys)],
                )
                for a in self.accounts.values()
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
