"""A day of chat in seconds, from a seed: people who join, talk, stall, vanish, come back, collide and flood.

Real are the decoder, the hub, the doors with their outboxes, throttles and deadlines; fake are time and the
network. Everything that happens follows from the seed: the same seed is the same day.
"""

import json
import random
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any
from unittest.mock import patch

from chatroom.doors.connection import Connection
from chatroom.doors.intake import INPUT
from chatroom.doors.outbox import Outbox
from chatroom.hub.client import Client
from chatroom.hub.entries import Banned, Entry, Kicked, Muted, Unbanned, Unmuted
from chatroom.hub.ports import Order
from chatroom.hub.refusal import Refusal
from chatroom.protocol import names
from chatroom.protocol.messages import ident
from fakes import FakeChat, FakeClient, FakeHasher, FakeStore
from simulation.model import PUSHED, Model
from simulation.twin import Twin

PASSWORDS = ["first password", "second password"]
NAMES = ["ann", "Ann", "аnn", "bob", "eve", "dan", "zoë", "*", "a|b", "", "x" * 40, "mallory", "Trent", "peggy"]
ROOMS = ["chess", "Chess", "go", "zoë’s", "tea", "*", "a|b"]
HOSTS = ["127.0.0.1", "127.0.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
FEATURES = [
    [],
    [],
    ["notices"],
    ["ping"],
    ["notices", "ping"],
    ["stamps"],
    ["presence"],
    ["resume"],
    ["resume", "presence", "notices"],
    ["resume", "stamps"],
]
BASE = {"welcome", "users", "incoming", "incoming_broadcast", "error"}
CODES = BASE | {"sent", "pong", "joined", "left", "rooms", "history", "forgotten", "registered"}
PUSHED_TO = {"ping": "ping", "presence": "presence"}
"""What only those get who asked for it."""
FORGOTTEN = b'{"code":"forgotten"'
TIGHT = {
    "chatroom.hub.past": {"ROOM": 30, "ROOMS": 20_000, "SLACK": 2000, "DIRECT": 20, "DIRECT_BYTES": 9000},
    "chatroom.hub.replay": {"MOST": 20, "MOST_DIRECT": 5, "BYTES": 5000},
    "chatroom.hub.reading": {"BYTES": 5000, "SEARCHED": 20},
    "chatroom.hub.waiting": {"MOST": 3},
    "chatroom.hub.house": {"MOST_DEVICES": 2, "MOST_WAITING": 10},
    "chatroom.hub.deeds": {"MOST_SESSIONS": 4},
}
"""Bounds that are reached within the day."""


def pieces(outbox: Outbox) -> list[bytes]:
    """Return what it holds."""
    pacer = outbox._pacer
    return [*(outbox._held or ()), *([] if pacer is None else [*pacer._answers, *pacer._pushed])]


def fail(connection: Connection, bug: Exception) -> None:
    """Let a bug end the day, not only a connection."""
    raise bug


class Past:
    """What somebody can come back with: the secret, and the last id of each place."""

    def __init__(self, secret: str, last: dict[str, str]) -> None:
        self.secret = secret
        self.last = last


class Person:
    """A client, and what it has been sent."""

    def __init__(self, client: FakeClient, serial: int, *, is_bare: bool, features: list[str]) -> None:
        self.serial = serial
        self.client = client
        self.is_bare = is_bare
        self.features = features
        self.session: Client | None = getattr(client.connection, "_client", None)
        self.received = b""  # and not looked at yet
        self.wanted: dict[str, deque[bytes]] = defaultdict(deque)  # what it has not got yet, by stream
        self.is_closing = False
        self.was_bare = False
        self.last: dict[str, int] = {}  # by sender, the number of the last message
        self.sent = 0
        self.past = Past("", {})
        self.returns: dict[str, Past] = {}  # by the `ref` of its `hello`
        self.rooms: set[str] = set()

    @property
    def is_live(self) -> bool:
        return not self.client.transport.is_gone and not self.client.transport.eof_written

    @property
    def is_named(self) -> bool:
        return self.session is not None and self.session.name is not None

    @property
    def has_stamps(self) -> bool:
        return bool({"stamps", "resume"} & {*self.features})

    def collect(self) -> None:
        self.received += b"".join(self.client.transport.segments)
        self.client.transport.segments.clear()

    def stream(self, line: bytes) -> str:
        """Return what this is in order with: all that was said in its room, or all else.

        To a bare peer answers go ahead of what others said.
        """
        if line.startswith(b'{"code":"incoming_broadcast"'):
            room = json.loads(line).get("room")
            if room:
                return f"#{room}"
        is_pushed = line.startswith(PUSHED) or (line.startswith(FORGOTTEN) and b'"ref":' not in line)
        return "pushed" if self.was_bare and is_pushed else ""


class World:
    """One day."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.store = FakeStore() if chance.random() < 0.5 else None
        self.is_full = False
        self.is_tight = chance.random() < 0.3
        self.chat = FakeChat(
            store=self.store,
            max_connections=40,
            max_per_address=15,
            max_backlog=100_000,
            max_backlogs=400_000,
            rate_per_address=5,
            max_content=3000,
            max_rooms=3,
            max_rooms_each=2,
            max_accounts=4,
            register_per_day=86_400,
        )
        self.chat.hasher.is_held = True
        self.twin = Twin(self.chat.hub, random.Random(seed))
        self.model = Model(self.chat.hub, self.chat.loop, is_tight=self.is_tight)
        self.people: list[Person] = []
        self.pasts: list[Past] = []
        """Of those who may come back."""
        self.number = 0

    def run(self, steps: int) -> None:
        """Let so many things happen, and look after each."""
        doings: list[tuple[Callable[[], None], int]] = [
            (self.come, 8),
            (self.hello, 14),
            (self.join, 10),
            (self.leave, 3),
            (self.talk, 30),
            (self.who, 4),
            (self.history, 5),
            (self.forget, 3),
            (self.garbage, 3),
            (self.flood, 2),
            (self.burst, 6),
            (self.stall, 3),
            (self.read, 6),
            (self.go, 6),
            (self.store_some, 10),
            (self.log_in, 14),
            (self.register, 4),
            (self.hash_some, 16),
            (self.order, 2),
            (self.judge, 2),
            (self.change_clock, 1),
            (self.wait, 12),
            (self.wait_long, 1),
        ]
        with self.bounds():
            for doing in self.chance.choices(
                [doing for doing, _ in doings], [weight for _, weight in doings], k=steps
            ):
                doing()
                if self.chance.random() < 0.7:
                    self.chat.loop.turn()
                self.look()
            self.end()

    def bounds(self) -> ExitStack:
        """Return a context with the bounds of this day."""
        stack = ExitStack()
        stack.enter_context(patch.object(Connection, "fail", fail))
        for module, bounds in TIGHT.items() if self.is_tight else ():
            for name, bound in bounds.items():
                stack.enter_context(patch(f"{module}.{name}", bound))
        return stack

    # What happens

    def anybody(self, *, is_named: bool = True) -> Person | None:
        """Return somebody, mostly one who has a name, or has none."""
        some = [person for person in self.people if person.is_named is is_named]
        if not some or self.chance.random() < 0.1:
            some = self.people
        return self.chance.choice(some) if some else None

    def come(self) -> None:
        client = self.chat.connect(self.chance.choice(HOSTS))
        features = self.chance.choice(FEATURES)
        self.number += 1
        person = Person(
            client, self.number, is_bare=self.chance.random() < 0.3 and not features, features=features
        )
        if person.session is not None:
            self.people.append(person)
            if self.chance.random() < 0.5:
                self.hello()

    def say(self, person: Person, **request: object) -> None:
        """Send a request, cut somewhere."""
        data = json.dumps(request, ensure_ascii=self.chance.random() < 0.5).encode()
        data += b"" if person.is_bare else b"\n"
        place = self.chance.randrange(len(data))
        person.client.send(data[:place])
        if self.chance.random() < 0.02:
            return  # and vanishes in the middle, or is cut short
        person.client.send(data[place:])

    def hello(self) -> None:
        """Somebody says a name; who was here before may come back, from where it was, or from anywhere."""
        person, chance = self.anybody(is_named=False), self.chance
        if person is None:
            return
        if chance.random() < 0.3:
            self.talk()  # in the same turn
        extra: dict[str, object] = {"features": person.features} if person.features else {}
        if "resume" in person.features and not person.is_named and self.pasts and chance.random() < 0.9:
            past = chance.choice(self.pasts[-8:])
            self.number += 1
            extra["ref"] = f"r{self.number}"
            person.returns[f"r{self.number}"] = Past(past.secret, {**past.last})
            if chance.random() < 0.9:
                extra["session"] = past.secret
            if chance.random() < 0.95:
                extra["after"] = past.last.get("") or "0" * 16
            elif chance.random() < 0.5:
                extra["after"] = chance.choice(["", "x" * 16, "f" * 16, "0" * 15])
        self.say(person, code="hello", name=chance.choice(NAMES), **extra)

    def log_in(self) -> None:
        """Somebody comes to an account, if it knows the password."""
        if (person := self.anybody(is_named=False)) is None:
            return
        accounts = [account.name for account in self.model.accounts.values()]
        name = self.chance.choice(accounts if accounts and self.chance.random() < 0.9 else NAMES)
        extra: dict[str, object] = {"features": person.features} if person.features else {}
        if self.pasts and self.chance.random() < 0.3:
            past = self.chance.choice(self.pasts[-8:])
            self.number += 1
            extra |= {"session": past.secret, "ref": f"r{self.number}"}
            person.returns[f"r{self.number}"] = Past(past.secret, {**past.last})
            if self.chance.random() < 0.5:
                extra["after"] = past.last.get("") or "0" * 16
        self.say(person, code="hello", name=name, password=self.chance.choice(PASSWORDS), **extra)

    def register(self) -> None:
        if person := self.anybody():
            old = {"old": self.chance.choice(PASSWORDS)} if self.chance.random() < 0.3 else {}
            self.say(person, code="register", password=self.chance.choice(PASSWORDS), **old)

    def hash_some(self) -> None:
        self.chat.hasher.fails = self.chance.random() < 0.1
        self.chat.hasher.work(self.chance.choice([1, 1, 100]))

    def order(self) -> None:
        """The command line asks for something, beside a store."""
        if self.store is not None:
            what = self.chance.choice(["add", "add", "password", "operator", "remove", "forget"])
            hashed = FakeHasher.hashed(self.chance.choice(PASSWORDS))
            is_set = self.chance.random() < 0.7
            self.chat.hub.obey(Order(1, what, self.chance.choice(NAMES), hashed, is_set=is_set))

    def join(self) -> None:
        if person := self.anybody():
            if self.chance.random() < 0.3:
                self.talk()  # in the same turn
            room, extra = self.chance.choice(ROOMS), {}
            if person.has_stamps and self.chance.random() < 0.7:
                extra["after"] = person.past.last.get(f"#{room}", "0" * 16)
            self.say(person, code="join", room=room, **extra)

    def leave(self) -> None:
        if person := self.anybody():
            self.say(person, code="leave", room=self.chance.choice(ROOMS))

    def talk(self) -> None:
        """One says something, or several things here and there in one turn."""
        if person := self.anybody():
            for _ in range(self.chance.choice([1, 1, 1, 4, 20])):
                self.talk_once(person)

    def talk_once(self, person: Person) -> None:
        person.sent += 1
        size = self.chance.choice([0, 10, 100, 2500, 3500])
        content = f"{person.serial}:{person.sent}:{'é' * (size // 2)}"
        ref = {"ref": str(self.chance.randrange(50))} if self.chance.random() < 0.2 else {}
        match self.chance.randrange(10):
            case 0 | 1 | 2:
                self.say(person, code="outgoing_broadcast", content=content, **ref)
            case 3 | 4 | 5:
                self.say(person, code="outgoing", to=self.chance.choice(NAMES), content=content, **ref)
            case _ if person.rooms or self.chance.random() < 0.1:
                room = self.room_of(person)
                self.say(person, code="outgoing_broadcast", room=room, content=content, **ref)

    def room_of(self, person: Person) -> str:
        rooms = sorted(person.rooms)
        return self.chance.choice(rooms if rooms and self.chance.random() < 0.9 else ROOMS)

    def who(self) -> None:
        if person := self.anybody():
            code = self.chance.choice(["who", "who", "ping", "pong", "rooms"])
            room = {"room": self.room_of(person)} if code == "who" and self.chance.random() < 0.5 else {}
            self.say(person, code=code, **room)

    def history(self) -> None:
        person, chance = self.anybody(), self.chance
        if person is None:
            return
        self.number += 1
        query: dict[str, object] = {"ref": f"h{self.number}"}
        match chance.randrange(3):
            case 0:
                query["room"] = self.room_of(person)
            case 1:
                query["with"] = chance.choice(["*", *NAMES])
        if chance.random() < 0.5 and self.model.by_number:
            query[chance.choice(["before", "after"])] = ident(chance.choice([*self.model.by_number]))
        if chance.random() < 0.5:
            query["limit"] = chance.randrange(1, 20)
        if chance.random() < 0.2:
            query["find"] = chance.choice([":1", "É", "é", ":X"])
        self.model.queries[f"h{self.number}"] = query
        self.say(person, code="history", **query)

    def forget(self) -> None:
        if (person := self.anybody()) and (numbers := [*self.model.by_number]):
            mine = [
                number
                for number in numbers
                if person.session
                and person.is_named
                and self.model.by_number[number].session == person.session.session.owner
            ]
            if mine and self.chance.random() < 0.8:
                numbers = mine[-5:]
            self.say(person, code="forget", id=ident(self.chance.choice(numbers)))

    def garbage(self) -> None:
        if person := self.anybody():
            person.client.send(
                self.chance.choice([b"]", b'"', b"{{", b"\xff\n", b'{"code":1}', b"{" + b"[" * 99])
            )

    def flood(self) -> None:
        if person := self.anybody():
            person.client.send(
                b'{"code":"outgoing_broadcast","content":"flood"}\n' * self.chance.randrange(300)
            )
            person.is_bare = False

    def burst(self) -> None:
        """Many messages in one segment that differ in nothing but their contents, or nearly so."""
        person = self.anybody()
        if person is None or person.is_bare:
            return
        chance = self.chance
        head: dict[str, str] = {"code": "outgoing_broadcast"}
        if chance.random() < 0.4:
            head = {"code": "outgoing", "to": chance.choice(NAMES)}
        elif chance.random() < 0.5:
            head["room"] = self.room_of(person)
        lines = []
        for _ in range(chance.randrange(2, 40)):
            person.sent += 1
            content = f"{person.serial}:{person.sent}:{'x' * chance.choice([0, 5, 50])}"
            if chance.random() < 0.01:
                content += chance.choice(["é", "y" * 3500, '"', "\\", "\n"])
            ref = {"ref": str(person.sent)} if chance.random() < 0.01 else {}
            lines.append(json.dumps({**head, "content": content, **ref}).encode() + b"\n")
        person.client.send(b"".join(lines))

    def store_some(self) -> None:
        """The disk does some of what it was asked for; now and then it is full, for a while."""
        if self.store is not None:
            if self.chance.random() < 0.2:
                self.is_full = not self.is_full
            self.store.work(self.chance.choice([1, 10, 1000]), is_full=self.is_full)

    def judge(self) -> None:
        """The command line bans somebody, or lets somebody in again; what operators do is done in its name."""
        chance, hub = self.chance, self.chat.hub
        target = chance.choice([one.owner for one in hub.house.sessions.values()] or [0])
        minutes = chance.choice([0, 1, 1])
        name = chance.choice(NAMES[:6])
        entry: Entry = Unbanned(name, names.keys(name), 0)
        match chance.randrange(6):
            case 0:
                entry = Kicked(target, 0, "enough")
            case 1:
                entry = Muted(target, 0, minutes)
            case 2:
                entry = Unmuted(target, 0)
            case 3:
                origins = tuple(chance.sample(["192.0.2.1", "2001:db8::/64"], k=chance.randrange(2)))
                entry = Banned(0, name, names.keys(name), 0, minutes, origins)
        with suppress(Refusal):
            hub.append(entry, None)

    def change_clock(self) -> None:
        self.chat.late = self.chance.choice([0.0, 0.5, 3600.0, -100.0, -20.0])

    def stall(self) -> None:
        if person := self.anybody():
            person.client.transport.is_reading = False

    def read(self) -> None:
        if person := self.anybody():
            if self.chance.random() < 0.3:
                person.client.transport.read_some(100)
            elif person.is_live:
                person.client.transport.read_on()

    def go(self) -> None:
        person = self.anybody()
        if person is None:
            return
        match self.chance.randrange(3):
            case 0:
                self.say(person, code="quit")
            case 1 if person.is_live and person.client.transport.is_read:
                person.client.connection.eof_received()
            case _:
                person.client.transport.vanish(ConnectionResetError())

    def wait(self) -> None:
        self.chat.loop.pass_time(self.chance.expovariate(5))

    def wait_long(self) -> None:
        self.chat.loop.pass_time(self.chance.expovariate(1 / 20))

    # What must hold

    def look(self) -> None:
        chat, hub, door = self.chat, self.chat.hub, self.chat.door
        self.model.look()
        if self.chance.random() < 0.1:
            self.model.look_closely()
        for person in self.people:
            person.collect()
            if not person.is_live:
                self.check(person, is_last=True)
        self.people = [person for person in self.people if person.is_live]
        sessions = [connection._client for connection in door.connections]
        names = [session.name for session in sessions if session.name is not None]
        owners = {session.session.owner: session.session for session in sessions if session.name is not None}
        assert sorted({*names}) == sorted(hub.users()), "a name without a session, or the reverse"
        assert len(owners) == len({*names})
        for kind, claimed in enumerate(hub.house.claimed):
            keys = [session.keys[kind] for session in owners.values()]
            assert sorted(keys) == sorted(claimed), "a key that belongs to nobody, or to two"
        assert door.admission.connections + door.admission._waiting == len(door.connections)
        assert {key[0] for key in door.deadlines._due} <= door.connections, "something is waited for in vain"
        assert door.backlog.size <= chat.door.limits.max_backlogs
        outboxes = [connection._outbox for connection in door.connections]
        held = {id(piece): len(piece) for outbox in outboxes for piece in pieces(outbox)}
        kept = sum(door.backlog._kept.get(outbox, 0) for outbox in outboxes)
        assert door.backlog.size == sum(held.values()) + kept
        for connection in door.connections:
            assert connection._outbox._held_bytes <= chat.door.limits.max_backlog
            assert connection._decoder.begun is None or len(connection._decoder.begun.kept) <= 65_536
            assert (
                len(connection._decoder.rest) <= 2 * INPUT
            )  # of one that is lost: the last read, and what was unread
        for person in self.people:
            self.check(person)

    def check(self, person: Person, *, is_last: bool = False) -> None:
        """Nothing lost, nothing twice, nothing out of order, nothing unasked."""
        assert person.session is not None
        if not (self.chat.loop.is_idle or is_last):
            return
        *lines, person.received = person.received.split(b"\n")
        wanted, outbox = self.model.decided[person.session], person.client.connection._outbox
        # To a bare peer answers go ahead of what others said, and long messages in UTF-8.
        person.was_bare = person.was_bare or outbox._pacer is not None
        for frame in wanted:
            person.wanted[person.stream(frame)].append(frame)
        wanted.clear()
        for line in lines:
            assert not person.is_closing, "something behind the last line"
            if line.startswith(b'{"code":"closing"'):
                assert "notices" in person.features, "unasked"
                person.is_closing = True
                continue
            queue = person.wanted[person.stream(line)]
            expected, got = queue.popleft() if queue else b"null", line + b"\n"
            assert got == expected or (person.was_bare and json.loads(got) == json.loads(expected)), (
                "lost or out of order"
            )
            self.read_line(person, line)
        transport = person.client.transport
        is_ending = is_last or person.session.is_leaving
        if transport.is_reading and not (transport.waiting or is_ending or person.was_bare):
            assert not any(person.wanted.values()), "lost"

    def read_line(self, person: Person, line: bytes) -> None:
        message = json.loads(line)
        code, features = message["code"], person.features
        if code in PUSHED_TO:
            assert PUSHED_TO[code] in features, "unasked"
        else:
            assert code in CODES, "unasked"
        match code:
            case "welcome" if "session" in message:
                person.past = person.returns.get(message.get("ref", ""), person.past)
                if person.past.secret != message["session"]:
                    person.past = Past(message["session"], {})
                self.pasts.append(person.past)
                if not message.get("recovered"):
                    person.past.last.pop("", None)
            case "registered" if "session" in message:
                person.past.secret = message["session"]
            case "joined":
                person.rooms.add(message["room"])
                if not message.get("recovered"):
                    person.past.last.pop(f"#{message['room']}", None)
            case "left":
                person.rooms.discard(message["room"])
            case "incoming" | "incoming_broadcast":
                self.read_message(person, message)

    def read_message(self, person: Person, message: dict[str, Any]) -> None:
        assert person.session is not None
        assert person.has_stamps is ("id" in message) is ("time" in message)
        room, place = message.get("room", ""), "#" + message["room"] if "room" in message else ""
        if not person.was_bare:
            assert not room or room in person.rooms, "a room that it is not in"
        is_replayed = False
        if person.has_stamps:
            assert message["id"] > person.past.last.get(place, ""), "ids that do not grow"
            person.past.last[place] = message["id"]
            is_replayed = int(message["id"], 16) <= self.model.began_at[person.session, room]
        if ":" in message["content"] and not is_replayed:
            sender, number, _ = message["content"].split(":", 2)
            assert int(number) > person.last.get(sender, 0), "a sender's messages out of order"
            person.last[sender] = int(number)

    def end(self) -> None:
        """Everybody goes; nothing is left."""
        for person in self.people:
            person.client.transport.vanish(None)
        for _ in range(6):
            if self.store is not None:
                self.store.work()
            self.chat.hasher.work()
            self.chat.loop.pass_time(100)
        self.model.look_closely()
        assert self.twin.house.digest() == self.chat.hub.house.digest()
        hub, door = self.chat.hub, self.chat.door
        assert not door.connections
        assert not len(door.deadlines)
        assert not hub.users()
        assert not any(hub.house.claimed)
        assert not [session for session in hub.house.sessions.values() if session.account is None]
        assert not hub.house.rooms
        assert not len(hub.house.lobby)
        assert not hub.house.lobby.ahead
        assert not hub.delivery.own
        assert door.admission.connections == door.admission._waiting == 0
        assert door.backlog.size == 0
        assert not door.backlog._outboxes
