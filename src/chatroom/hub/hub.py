"""The hub: what doors are given. Requests come in here, are checked, and become entries that are done.

One thread, no await. Doors tell it who came, what was said and who has gone; it answers through each client's
sink. What a turn of the event loop produced goes out at its end, in one flush.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from heapq import nlargest
from itertools import islice

from msgspec import UNSET, UnsetType

from chatroom.hub import orders
from chatroom.hub.account import Account
from chatroom.hub.client import Client
from chatroom.hub.commands import ANYTHING, COMMANDS, FIRST, LATER, NOTHING, TURNED_AWAY
from chatroom.hub.delivery import Delivery
from chatroom.hub.effort import FOLD, HAND_OUT, Effort
from chatroom.hub.entries import Dropped, Entry, Expired, Keys, Removed, Went
from chatroom.hub.flow import Later
from chatroom.hub.guessing import Guessing
from chatroom.hub.hashing import Hashing
from chatroom.hub.house import Asked, House
from chatroom.hub.log import OneNode
from chatroom.hub.past import Past
from chatroom.hub.ports import Clock, Hasher, Observer, Order, Sink, Store, Timing
from chatroom.hub.refusal import Refusal
from chatroom.hub.room import Room
from chatroom.hub.session import Session
from chatroom.hub.waiting import Waiting
from chatroom.protocol import names
from chatroom.protocol.burst import Burst
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import (
    ErrorCode,
    ErrorReply,
    Fault,
    Hello,
    History,
    OutgoingBroadcast,
    PingEvent,
    Pong,
    Quit,
    Request,
    RoomSize,
    Who,
    encode,
)
from chatroom.protocol.stream import Asked as AnyRequest

FOLDING = 2048
REFUSING = 256
EFFORT: dict[str, int] = {
    ErrorCode.UNKNOWN_USER: 8192,
    ErrorCode.BAD_NAME: 8192,
    ErrorCode.NAME_TAKEN: 32 * 1024,
    ErrorCode.NAME_RESERVED: 32 * 1024,
}
"""What counts as so many bytes: to fold a name takes up to 0.1 ms, to refuse one and suggest another 0.5, to
refuse anything else some 5 µs."""
CHANGES = 16
"""Rooms that are flushed in a turn for one client: it changes rooms, or asks for what was said in them."""
EXPIRY = 3600.0
"""Seconds between two looks at what has become too old."""
ACCOUNTS, PAUSE = 1000, 1.0
"""Accounts that are looked at at a time, and seconds until the next are."""
NEW_IDLE = 30.0
"""Days after which an account is removed that was never used again."""
LARGEST = 1000
"""Rooms that are listed."""
FEW = 100
"""Rooms that are soon counted."""


class Hub:
    """All who are connected here, and what they ask for.

    It keeps these promises:
    1. a name, and what looks like it, belongs to one session at a time (compared by `names.keys`);
    2. what one session sends, another gets in that order, direct and in whatever room;
    3. nobody is sent anything but answers, the base protocol's messages of others, and what was asked for.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        clock: Clock,
        timing: Timing,
        observer: Observer,
        secret: Callable[[], str],
        store: Store | None = None,
        hasher: Hasher | None = None,
    ) -> None:
        """`secret` makes a new one: 128 random bits, as text. Without a `hasher` there are no accounts."""
        self.limits = limits
        self.now = clock
        self.hashing = None if hasher is None else Hashing(hasher, timing)
        self.guessing = Guessing(limits, timing)
        self.call_soon = timing.call_soon
        self.surely_fits = limits.max_content // 4
        """Characters of a content that need not be looked at: none has more than four bytes."""
        now = int(clock() * 1_000_000)
        restored = None if store is None else store.restore(now)
        past = Past(now if restored is None else restored.last, keeps=limits.history_days > 0)
        self.delivery = Delivery(timing, past, later=LATER, nothing=NOTHING)
        self.flow = self.delivery.flow
        self.reply = self.delivery.reply
        self.house = House(
            self.delivery,
            observer,
            timing,
            store,
            welcome=ANYTHING,
            limits={"object": limits.max_object, "content": limits.max_content},
            refuse=self.refuse,
            keeps=limits.history_days > 0,
        )
        self.append: Callable[[Entry, Asked | None], None] = OneNode(
            self.house, clock, store, 0 if restored is None else restored.mark
        ).append
        self._observer = observer
        self.effort = Effort(timing)
        """Names that are not ASCII, replays and searches, in this turn."""
        self.new_secret = secret
        self._timing = timing
        self._waiting = Waiting(timing, self._expire)
        self._rooms: tuple[float, list[RoomSize]] = (-1.0, [])
        if restored is not None:
            self.house.restore(restored)
            for session in list(self.house.sessions.values()):  # some may be too many
                if session.account is None:
                    self._waiting.begin(session)
        if limits.history_days:
            timing.call_later(EXPIRY, partial(self._expire_messages, clock))
        timing.call_later(EXPIRY, self._look_at_accounts)

    # What doors call

    def connect(self, sink: Sink, *, turned_away: Refusal | None = None) -> Client:
        """Begin with a new connection; one that is turned away will be told why, and no more."""
        client = Client(sink, self.delivery.own, TURNED_AWAY if turned_away else FIRST)
        client.turned_away = turned_away
        return client

    def cost(self, client: Client, message: AnyRequest | Fault) -> float:
        """Return what a request costs, as a flood pays for it: 1, and more if many hear of it.

        To leave, or to answer a `ping` of ours, costs nothing; nor does anything that an operator asks for.
        """
        if client.name is not None and client.session.is_operator:
            return 0
        match message:
            case Quit():
                return 0
            case Pong() if client.pings:
                return 0
            case OutgoingBroadcast() | Who():
                return 1 + (self._readers(client, message) / 1000)
            case History() if message.find is not UNSET:
                return 20
            case _:
                return COMMANDS[type(message)].cost

    def handle(self, client: Client, messages: Sequence[AnyRequest | Fault]) -> Sequence[AnyRequest | Fault]:
        """Do what is asked, one after the other, or say why not.

        Return what cannot be done in this turn: the first such request, and all behind it.
        """
        requests = iter(messages)
        for message in requests:
            if client.faults and not isinstance(message, Fault):
                client.faults = 0
            try:
                client.handlers[type(message)](self, client, message)
            except Refusal as refusal:
                self.refuse(client, refusal, message)
            except Later as later:
                client.handlers = LATER
                return [*(later.rest or [message]), *requests]
        return ()

    def go_on(self, client: Client, *, answers_have_left: bool) -> None:
        """Let a client ask again: its answers have left, or another turn has come."""
        client.handlers = client.standing
        if answers_have_left:
            client.answered = 0

    def fault(self, client: Client, fault: Fault) -> None:
        """Answer bytes that were no request; too many in a row are the end."""
        self.answer(client, fault, fault.ref)
        client.faults += 1
        if client.faults >= self.limits.max_faults:
            self.leave(client, "too_many_errors")

    def leave(self, client: Client, reason: str) -> None:
        """End a client in good order: it still gets what was said up to now, and what is being stored."""
        if not client.is_leaving:
            self.delivery.say_why(client, reason)
            self.disconnect(client, reason)
            self.delivery.end(client)

    def disconnect(self, client: Client, reason: str) -> None:
        """Forget a client; its name is free. May be called again."""
        self.delivery.hear_no_more(client)
        if client.name is not None:
            name, session = client.name, client.session
            if session.secret is None or reason == "quit":
                self.append(Went(session.number), None)
            else:
                self.append(Dropped(session.number), None)
                if session.account is None:
                    self._waiting.begin(session)
            self._observer.left(name, client.sink.peer, reason)

    def obey(self, order: Order) -> str:
        """Do what the command line asks for; return why not, or nothing if it is done."""
        return orders.obey(self, order)

    # What commands call

    def bury_the_dead(self, keys: Keys) -> None:
        """Let go who holds such a name and is provably gone."""
        for _, holder in list(self.house.claims(keys)):
            client = holder.client
            if client is not None and client.sink.is_dead():
                self.disconnect(client, "dead")
                client.sink.give_up("dead")

    def known_session(self, secret: str) -> Session | None:
        """Return the session with this secret, if there is one that has not ended."""
        session = self.house.secrets.get(self.hashed(secret) or b"")
        return None if session is None or 0 < session.until <= self.now() else session

    def hashed(self, secret: str) -> bytes | None:
        """Return what is kept of a secret: it has so many random bits that one round will do."""
        return sha256(secret.encode("utf-8", "replace")).digest() if secret else None

    def find(self, client: Client, name: str) -> Session | Account | None:
        """Return whom this client means: the name as spelled, or else as folded; but looks do not count.

        An account that is away is found if messages are kept for it. May raise `Later`.
        """
        self.may_fold(client, name)
        self.delivery.charge(client, FOLDING)
        try:
            key = names.address(name)
        except names.BadName:
            return None
        house = self.house
        away = house.reserved.addressed(key) if self.limits.history_days else None
        return house.claimed[names.ADDRESS].get(key) or away or house.away.get(key)

    def why_unknown(self, name: str) -> str:
        """Return why nobody is found by this name."""
        nobody = f"nobody is called {names.quoted(name)}"
        if len(name) > names.MAX_NAME:
            return f"{nobody}; a name has at most {names.MAX_NAME} characters"
        why = ""
        with suppress(names.BadName):
            why = self.house.likeness(name, names.keys(name))
        return why or nobody

    def users(self) -> list[str]:
        """Return everybody's name, in the order in which they came."""
        return list(self.house.spelled)

    def largest_rooms(self) -> list[RoomSize]:
        """Return the largest rooms; where there are many, as they were within the last second."""
        now, rooms = self._timing.time(), self.house.rooms
        if now >= self._rooms[0] or len(rooms) <= FEW:
            largest = nlargest(LARGEST, rooms.values(), key=lambda room: len(room.members))
            self._rooms = now + 1, [RoomSize(room=room.name, users=len(room.members)) for room in largest]
        return self._rooms[1]

    def may_flush(self, client: Client, room: Room) -> None:
        """Let a client ask for what flushes this room, if something was said in it. May raise `Later`."""
        if room.log:
            turn, changes = client.changes
            changes = changes + 1 if turn == self.delivery.turn else 1
            if changes > CHANGES:
                raise Later
            self.may_take(client, HAND_OUT * len(room))
            client.changes = self.delivery.turn, changes

    def ping(self, client: Client) -> None:
        """Ask a client for a sign of life."""
        client.pings += 1
        self.push(client, encode(PingEvent()))

    def push(self, client: Client, frames: bytes) -> None:
        """Send one or more whole frames to a client, behind all that was said before."""
        self.delivery.push(client, frames)

    def refuse(self, client: Client, refusal: Refusal, message: Request | Burst | Fault) -> None:
        """Say why a request is not done."""
        self.answer(client, refusal.error, message.ref, is_hello=isinstance(message, Hello))
        if refusal.is_final:
            self.leave(client, str(refusal.error.error))

    def answer(
        self, client: Client, error: ErrorReply, ref: str | UnsetType | None = None, *, is_hello: bool = False
    ) -> None:
        """Answer with an error; strangers are told so much and no more."""
        if error.error is not ErrorCode.NAME_RESERVED or client.hellos:  # else a login may have just begun
            self._observer.refused(client.name, client.sink.peer, error)
        error.ref = None if ref is UNSET else ref
        frame = encode(error)
        self.delivery.give(client, frame, EFFORT.get(error.error, REFUSING))
        if client.name is not None:
            return
        if is_hello:
            client.hellos += 1
        else:
            client.error_bytes += len(frame)
        if client.hellos >= self.limits.max_hellos or client.error_bytes > self.limits.stranger_out:
            self.leave(client, "too_many_errors")

    def may_fold(self, client: Client, name: str) -> None:
        """Count the work on a name that is not ASCII, as below."""
        if not name.isascii():
            self.may_take(client, FOLD)

    def may_take(self, client: Client, steps: int) -> None:
        """Count slow work; raise `Later` if all had enough of it in this turn."""
        if not steps:
            return
        if self.effort.left <= 0:
            client.is_held = True
            self.effort.wait(partial(self._release, client))
            raise Later
        self.effort.spend(steps)

    def _release(self, client: Client) -> None:
        client.is_held = False
        client.sink.go_on()

    def free_name(self, name: str) -> str | None:
        """Return a name like this one that nobody has, with a number behind it, if one is soon found.

        To find that somebody has a name exactly so costs nothing; of the others three are tried.
        """
        house = self.house
        here = len(house.spelled)  # among a crowd of the same name, small numbers are gone
        numbers = (str(number) for number in (*range(2, 10), *range(here + 1, here + 9)))
        candidates = (names.numbered(name, number) for number in numbers)
        with suppress(names.BadName):  # cut in a place that makes it none
            for free in islice((one for one in candidates if one not in house.spelled), 3):
                keys = names.keys(free)
                if not (house.likeness(free, keys) or house.reservation(free, keys)):
                    return names.checked(free)
        return None

    def _readers(self, client: Client, message: OutgoingBroadcast | Who) -> int:
        """Return how many hear of it; of whoever changes rooms, those of the room that is left, too."""
        if client.name is None:
            return 0
        session = client.session
        if message.room is UNSET:
            room, readers = self.house.lobby, len(self.house.spelled)
        else:
            found = self.house.rooms.get(message.room)  # else it is spelled in another way
            room, readers = found or self.house.lobby, len(found.members if found else self.house.spelled)
        left = session.posted
        if isinstance(message, OutgoingBroadcast) and left is not room and left.log:
            readers += len(left)
        return readers

    def _expire_messages(self, clock: Clock) -> None:
        """Forget what is too old."""
        self.append(Expired(int((clock() - self.limits.history_days * 86_400) * 1_000_000)), None)
        self._timing.call_later(EXPIRY, partial(self._expire_messages, clock))

    def _look_at_accounts(self, left: Iterator[Account] | None = None) -> None:
        """Forget accounts, and sessions of theirs, that nobody has used for too long: some at a time."""
        left, now = left or iter(list(self.house.accounts.values())), self.now()
        some = list(islice(left, ACCOUNTS))
        for account in some:
            for session in list(account.sessions.values()):
                if 0 < session.until <= now:
                    self.append(Went(session.number), None)
            idle = self.limits.account_idle
            days = idle if account.has_returned else min(idle, NEW_IDLE)
            if (
                not (account.devices or account.is_operator or self.house.verdicts.is_banned(account.number))
                and account.hashed
                and now - (account.seen or account.number / 1_000_000) > days * 86_400
            ):
                self.append(Removed(account.number, frees=True), None)
        if some:
            self._timing.call_later(PAUSE, partial(self._look_at_accounts, left))
        else:
            self._timing.call_later(EXPIRY, self._look_at_accounts)

    def _expire(self, session: Session) -> None:
        """Forget a guest's session that has not come back."""
        if session.account is None and not session.is_here and session.number in self.house.sessions:
            self.append(Went(session.number), None)
