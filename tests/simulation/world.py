"""A day of chat in seconds, from a seed: people who join, talk, stall, vanish, come back, collide and flood.

Real are the decoder, the hub, the doors with their outboxes, throttles and deadlines; fake are time and the
network. Everything that happens follows from the seed: the same seed is the same day.
"""

import json
import random
from collections import defaultdict, deque
from collections.abc import Callable

from chatroom.doors.intake import INPUT
from chatroom.doors.outbox import Outbox
from chatroom.hub.client import Client
from chatroom.hub.entries import Entry, Said
from chatroom.hub.house import Asked
from chatroom.hub.hub import Hub
from chatroom.protocol.messages import stamped
from fakes import FakeChat, FakeClient

NAMES = ["ann", "Ann", "аnn", "bob", "eve", "dan", "zoë", "*", "a|b", "", "x" * 40, "mallory", "Trent", "peggy"]
HOSTS = ["127.0.0.1", "127.0.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
CODES = {"welcome", "users", "incoming", "incoming_broadcast", "error", "sent", "pong"}


def spy(hub: Hub) -> None:
    """Have it written down what each client is to be sent, as the hub decides it."""
    push, append = hub.delivery.push, hub.append

    def spy_push(client: Client, frames: bytes) -> None:
        decided[client] += frames.splitlines(keepends=True)
        push(client, frames)

    def spy_append(entry: Entry, asked: Asked | None) -> None:
        append(entry, asked)
        if isinstance(entry, Said) and entry.number:
            room = hub.house.rooms[entry.room] if entry.room else hub.house.lobby
            sender = hub.house.sessions[entry.session].client
            for client in {*room.plain, *room.stamped} - {sender}:
                frames = entry.frames
                if client.has_stamps:
                    frames = stamped(frames, entry.number, entry.time)
                decided[client] += frames.splitlines(keepends=True)

    hub.delivery.push, hub.append = spy_push, spy_append  # type: ignore[method-assign]


PUSHED = b'{"code":"incoming'


def pieces(outbox: Outbox) -> list[bytes]:
    """Return what it holds."""
    pacer = outbox._pacer
    return [*(outbox._held or ()), *([] if pacer is None else [*pacer._answers, *pacer._pushed])]


decided: dict[Client, list[bytes]] = defaultdict(list)


class Person:
    """A client, and what it has been sent."""

    def __init__(self, client: FakeClient, serial: int, *, is_bare: bool, features: list[str]) -> None:
        self.serial = serial
        self.client = client
        self.is_bare = is_bare
        self.features = features
        self.session: Client | None = getattr(client.connection, "_client", None)
        self.received = b""  # and not looked at yet
        # What it has not got yet: all or, if it is bare, answers and what others said.
        self.wanted: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.was_bare = False
        self.last: dict[str, int] = {}  # by sender, the number of the last message
        self.sent = 0

    @property
    def is_live(self) -> bool:
        return not self.client.transport.is_gone and not self.client.transport.eof_written

    def collect(self) -> None:
        self.received += b"".join(self.client.transport.segments)
        self.client.transport.segments.clear()


class World:
    """One day."""

    def __init__(self, seed: int) -> None:
        decided.clear()
        self.chance = random.Random(seed)
        self.chat = FakeChat(
            max_connections=40,
            max_per_address=15,
            max_backlog=100_000,
            max_backlogs=400_000,
            rate_per_address=5,
            max_content=3000,
        )
        spy(self.chat.hub)
        self.people: list[Person] = []
        self.number = 0

    def run(self, steps: int) -> None:
        """Let so many things happen, and look after each."""
        doings: list[tuple[Callable[[], None], int]] = [
            (self.come, 8),
            (self.hello, 10),
            (self.talk, 30),
            (self.who, 4),
            (self.garbage, 3),
            (self.flood, 2),
            (self.burst, 4),
            (self.stall, 3),
            (self.read, 6),
            (self.go, 4),
            (self.wait, 12),
            (self.wait_long, 1),
        ]
        for doing in self.chance.choices(
            [doing for doing, _ in doings], [weight for _, weight in doings], k=steps
        ):
            doing()
            if self.chance.random() < 0.7:
                self.chat.loop.turn()
            self.look()
        self.end()

    # What happens

    def anybody(self) -> Person | None:
        return self.chance.choice(self.people) if self.people else None

    def come(self) -> None:
        client = self.chat.connect(self.chance.choice(HOSTS))
        features = self.chance.choice([[], [], ["notices"], ["ping"], ["notices", "ping"]])
        self.number += 1
        person = Person(
            client, self.number, is_bare=self.chance.random() < 0.3 and not features, features=features
        )
        if person.session is not None:
            self.people.append(person)

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
        if person := self.anybody():
            extra = {"features": person.features} if person.features else {}
            self.say(person, code="hello", name=self.chance.choice(NAMES), **extra)

    def talk(self) -> None:
        if person := self.anybody():
            person.sent += 1
            size = self.chance.choice([0, 10, 100, 2500, 3500])
            content = f"{person.serial}:{person.sent}:{'é' * (size // 2)}"
            ref = {"ref": str(self.chance.randrange(50))} if self.chance.random() < 0.1 else {}
            if self.chance.random() < 0.6:
                self.say(person, code="outgoing_broadcast", content=content, **ref)
            else:
                self.say(person, code="outgoing", to=self.chance.choice(NAMES), content=content, **ref)

    def who(self) -> None:
        if person := self.anybody():
            self.say(person, code=self.chance.choice(["who", "ping", "pong"]))

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
        if chance.random() < 0.5:
            head = {"code": "outgoing", "to": chance.choice(NAMES)}
        lines = []
        for _ in range(chance.randrange(2, 40)):
            person.sent += 1
            content = f"{person.serial}:{person.sent}:{'x' * chance.choice([0, 5, 50])}"
            if chance.random() < 0.01:
                content += chance.choice(["é", "y" * 3500, '"', "\\", "\n"])
            ref = {"ref": str(person.sent)} if chance.random() < 0.01 else {}
            lines.append(json.dumps({**head, "content": content, **ref}).encode() + b"\n")
        person.client.send(b"".join(lines))

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
        for person in self.people:
            person.collect()
        self.people = [person for person in self.people if person.is_live]
        sessions = [connection._client for connection in door.connections]
        names = [session.name for session in sessions if session.name is not None]
        assert sorted(names) == sorted(hub.users()), "a name without a session, or the reverse"
        for kind, claimed in enumerate(hub.house.claimed):
            keys = [session.session.keys[kind] for session in sessions if session.name is not None]
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

    def check(self, person: Person) -> None:
        """Nothing lost, nothing twice, nothing out of order, nothing unasked."""
        assert person.session is not None
        if person.session.is_leaving or not self.chat.loop.is_idle:
            return
        *lines, person.received = person.received.split(b"\n")
        wanted, outbox = decided[person.session], person.client.connection._outbox
        # To a bare peer answers go ahead of what others said, and long messages in UTF-8.
        person.was_bare = person.was_bare or outbox._pacer is not None
        for frame in wanted:
            person.wanted[person.was_bare and frame.startswith(PUSHED)].append(frame)
        wanted.clear()
        for line in lines:
            queue = person.wanted[person.was_bare and line.startswith(PUSHED)]
            expected, got = queue.popleft() if queue else b"null", line + b"\n"
            assert got == expected or (person.was_bare and json.loads(got) == json.loads(expected)), (
                "lost or out of order"
            )
            self.read_line(person, line)
        if not person.was_bare and person.client.transport.is_reading and not person.client.transport.waiting:
            assert not person.wanted[0], "lost"

    def read_line(self, person: Person, line: bytes) -> None:
        message = json.loads(line)
        assert message["code"] in CODES | ({"ping", "closing"} if person.features else set()), "unasked"
        if message["code"].startswith("incoming") and ":" in message["content"]:
            sender, number, _ = message["content"].split(":", 2)
            assert int(number) > person.last.get(sender, 0), "a sender's messages out of order"
            person.last[sender] = int(number)

    def end(self) -> None:
        """Everybody goes; nothing is left."""
        for person in self.people:
            person.client.transport.vanish(None)
        self.chat.loop.pass_time(200)
        hub, door = self.chat.hub, self.chat.door
        assert not door.connections
        assert not len(door.deadlines)
        assert not hub.users()
        assert not any(hub.house.claimed)
        assert not hub.house.sessions
        assert not hub.house.rooms
        assert not len(hub.house.lobby)
        assert not hub.house.lobby.ahead
        assert not hub.delivery.own
        assert door.admission.connections == door.admission._waiting == 0
        assert door.backlog.size == 0
        assert not door.backlog._outboxes
