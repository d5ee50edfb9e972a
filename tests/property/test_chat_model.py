"""The whole chat, door and hub, held against a model of plain lists and dicts."""

from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from chatroom.doors.pacing import PACE
from fakes import FakeChat, FakeClient

NAMES = st.sampled_from(["ann", "bob", "eve", "Ann", "b0b", "*", "a|b", ""])
LEGAL = {"ann", "Ann", "bob", "eve", "b0b"}
ROOMS = st.sampled_from(["chess", "Chess", "go"])


def looks(name: str) -> str:
    """Names that look alike are claimed by one; each is addressed as it folds."""
    return name.casefold().replace("0", "o")


class Person:
    """One client, and what the model says that it must have been sent."""

    def __init__(self, client: FakeClient, *, is_bare: bool, session: "Session | None" = None) -> None:
        self.client = client
        self.is_bare = self.was_bare = is_bare
        self.name: str | None = None
        self.faults = 0
        self.expected: list[dict[str, Any]] = []
        self.rooms: list[str] | None = None
        self.session = session
        """What it can come back with, if it wants to."""

    def ask(self, **request: Any) -> None:
        self.faults = 0
        (self.client.ask_bare if self.is_bare else self.client.ask)(**request)
        while self.client.connection._intake.is_waiting:
            self.client.loop.pass_time(PACE)  # so much was asked before that answers must leave first


class Session:
    """What somebody comes back to."""

    def __init__(self) -> None:
        self.secret = ""
        self.name = ""
        self.last = ""
        """The last id in the lobby, or of what was said to it alone."""
        self.was_in: list[str] = []
        self.missed: list[dict[str, Any]] = []


def is_pushed(message: dict[str, Any]) -> bool:
    return str(message.get("code")).startswith("incoming")


def stream(message: dict[str, Any]) -> str:
    """What is said in a room is in order with what is said there, and all else among itself."""
    return str(message["room"]) if is_pushed(message) and "room" in message else ""


class ChatMachine(RuleBasedStateMachine):
    """Any order of events gives each client exactly what the model says, in that order.

    Nothing else may arrive: so nothing that a base client did not ask for, and nobody's own broadcasts.
    """

    people = Bundle("people")

    def __init__(self) -> None:
        super().__init__()
        # What strangers may do is bounded elsewhere: tests/unit/test_limits.py
        self.patience = patch("chatroom.hub.waiting.PATIENCE", 10**6)
        self.patience.start()
        self.chat = FakeChat(stranger_in=10**9, stranger_out=10**9, max_hellos=10**6, hello_timeout=10_000)
        self.present: dict[str, Person] = {}  # by folded name
        self.away: dict[str, Session] = {}  # the same, of names that nobody has taken since
        self.dropped: list[Session] = []
        self.rooms: dict[str, list[Person]] = {}  # by folded name
        self.spelled: dict[str, str] = {}  # as who made it did
        self.with_past: set[str] = set()
        self.everybody: list[Person] = []
        self.number = 0

    def text(self) -> str:
        self.number += 1
        return f"{self.number}"

    @initialize(target=people)
    def three_are_here(self) -> Any:
        three = [self.connect(is_bare=bare, comes_back=False) for bare in (False, False, True)]
        for person, name in zip(three, ["ann", "bob", "eve"], strict=True):
            self.hello(person, name)
        return multiple(*three)

    @rule(target=people, is_bare=st.booleans(), comes_back=st.booleans())
    def connect(self, is_bare: bool, comes_back: bool) -> Person:
        session = Session() if comes_back and not is_bare else None
        person = Person(self.chat.connect(), is_bare=is_bare, session=session)
        self.everybody.append(person)
        return person

    @rule(person=people, name=NAMES)
    def hello(self, person: Person, name: str) -> None:
        session = person.session
        extra: dict[str, Any] = {}
        if session is not None:
            extra["features"] = ["resume"]
            extra |= {"session": session.secret} if session.secret else {}
            extra |= {"after": session.last} if session.last else {}
        person.ask(code="hello", name=name, **extra)
        if person.name is not None:
            person.expected.append({"error": "already_welcome"})
        elif name not in LEGAL:
            person.expected.append({"error": "bad_name"})
        elif looks(name) in map(looks, self.present):
            person.expected.append({"error": "name_taken"})
        else:
            person.name = name
            self.present[name.casefold()] = person
            self.away.pop(name.casefold(), None)
            if session is None:
                person.expected.append({"code": "welcome"})
            else:
                self.let_in(person, session, name)

    def let_in(self, person: Person, session: Session, name: str) -> None:
        """Expect what a session that can come back is told; if it did, with what it missed."""
        welcome: dict[str, Any] = {"code": "welcome", "name": name}
        if session.secret:
            welcome |= {"recovered": bool(session.last), "rooms": session.was_in}
        person.expected.append(welcome)
        if session.last:
            person.expected += session.missed
        session.missed = []
        if session in self.dropped:
            self.dropped.remove(session)
        if self.away.get(session.name.casefold()) is session:
            del self.away[session.name.casefold()]
        session.name = name

    @rule(person=people)
    def who(self, person: Person) -> None:
        person.ask(code="who")
        if person.name is None:
            person.expected.append({"error": "hello_first"})
        else:
            person.expected.append({"code": "users", "users": [other.name for other in self.present.values()]})

    @rule(person=people, to=NAMES)
    def outgoing(self, person: Person, to: str) -> None:
        text = self.text()
        person.ask(code="outgoing", to=to, content=text)
        if person.name is None:
            person.expected.append({"error": "hello_first"})
            return
        message = {"code": "incoming", "from": person.name, "content": text}
        if to.casefold() in self.present:
            self.present[to.casefold()].expected.append(message)
        elif to.casefold() in self.away:
            self.away[to.casefold()].missed.append(message)
        else:
            person.expected.append({"error": "unknown_user"})

    @rule(person=people, times=st.integers(1, 3))
    def outgoing_broadcast(self, person: Person, times: int) -> None:
        for _ in range(times):
            text = self.text()
            person.ask(code="outgoing_broadcast", content=text)
            if person.name is None:
                person.expected.append({"error": "hello_first"})
                continue
            message = {"code": "incoming_broadcast", "from": person.name, "content": text}
            for other in self.present.values():
                if other is not person:
                    other.expected.append(message)
            for session in self.dropped:
                session.missed.append(message)

    @rule(person=people, room=ROOMS)
    def join(self, person: Person, room: str) -> None:
        person.ask(code="join", room=room)
        key = room.casefold()
        if person.name is None:
            person.expected.append({"error": "hello_first"})
            return
        if key not in self.rooms:
            self.rooms[key] = []
            if key not in self.with_past:
                self.spelled[key] = room
        if person.rooms is None:
            person.rooms = []
        if key not in person.rooms:
            self.rooms[key].append(person)
            person.rooms.append(key)
        person.expected.append({"code": "joined", "room": self.spelled[key]})

    @rule(person=people, room=ROOMS)
    def leave(self, person: Person, room: str) -> None:
        person.ask(code="leave", room=room)
        key = room.casefold()
        if self.is_in(person, key):
            self.leave_room(person, key)
            person.expected.append({"code": "left", "room": self.spelled[key]})

    @rule(person=people, room=ROOMS)
    def say_in_room(self, person: Person, room: str) -> None:
        text = self.text()
        person.ask(code="outgoing_broadcast", room=room, content=text)
        key = room.casefold()
        if self.is_in(person, key):
            self.with_past.add(key)
            message = {"code": "incoming_broadcast", "from": person.name, "content": text}
            for other in self.rooms[key]:
                if other is not person:
                    other.expected.append({**message, "room": self.spelled[key]})

    @rule(person=people, room=ROOMS)
    def who_is_in_room(self, person: Person, room: str) -> None:
        person.ask(code="who", room=room)
        key = room.casefold()
        if person.name is None:
            person.expected.append({"error": "hello_first"})
        elif key not in self.rooms:
            person.expected.append({"error": "unknown_room"})
        else:
            users = [other.name for other in self.rooms[key]]
            person.expected.append({"code": "users", "users": users, "room": self.spelled[key]})

    def is_in(self, person: Person, key: str) -> bool:
        """Whether somebody is in a room; expect an error if not."""
        if person.name is None:
            person.expected.append({"error": "hello_first"})
        elif key not in (person.rooms or ()):
            person.expected.append({"error": "not_in_room"})
        return key in (person.rooms or ())

    def leave_room(self, person: Person, key: str) -> None:
        if person.rooms is not None:
            person.rooms.remove(key)
        self.rooms[key].remove(person)
        if not self.rooms[key]:
            del self.rooms[key]

    @rule(
        person=people,
        garbage=st.sampled_from([b"[", b"{}", b'{"code":"x"}', b'{"code":"who","code":"quit"}']),
    )
    def garbage(self, person: Person, garbage: bytes) -> None:
        if person.faults == 19:
            return  # one more would be the end: tests/unit/test_hub.py
        person.faults += 1
        person.client.send(garbage if person.is_bare and garbage != b"[" else garbage + b"\n")
        person.is_bare = person.is_bare and garbage != b"["
        person.expected.append({"error": None})

    @rule(person=consumes(people))
    def quit(self, person: Person) -> None:
        person.ask(code="quit")
        self.gone(person)

    @rule(person=consumes(people), within_turn=st.booleans())
    def vanish(self, person: Person, within_turn: bool) -> None:
        person.client.transport.vanish(ConnectionResetError())
        if within_turn:
            person.client.connection.connection_lost(ConnectionResetError())
        else:
            self.chat.loop.turn()
        self.gone(person)
        if person.session is not None and person.name is not None:
            self.away[person.name.casefold()] = person.session
        self.everybody.remove(person)

    @rule(target=people, person=consumes(people))
    def drop(self, person: Person) -> Person:
        """A connection breaks, and there is another on which its session may go on."""
        self.end_of_turn()
        person.client.transport.vanish(ConnectionResetError())
        self.chat.loop.turn()
        self.gone(person)
        self.everybody.remove(person)
        session = person.session
        if session is not None and person.name is not None:
            self.dropped.append(session)
            self.away[person.name.casefold()] = session
        return self.another(session)

    @rule(target=people, person=consumes(people), name=NAMES)
    def replace(self, person: Person, name: str) -> Person:
        """A session goes on with another connection while it still has one, which then ends."""
        self.end_of_turn()
        others = [looks(other) for other, holder in self.present.items() if holder is not person]
        if person.session is None or person.name is None or name not in LEGAL or looks(name) in others:
            return person
        self.gone(person)
        self.everybody.remove(person)
        another = self.another(person.session)
        self.hello(another, name)
        return another

    def another(self, session: Session | None) -> Person:
        another = Person(self.chat.connect(), is_bare=False, session=session)
        self.everybody.append(another)
        return another

    def gone(self, person: Person) -> None:
        if person.name is not None:
            del self.present[person.name.casefold()]
            if person.session is not None and person.rooms is not None:
                person.session.was_in = [self.spelled[key] for key in person.rooms]
            for key in list(person.rooms or ()):
                self.leave_room(person, key)

    @rule()
    def end_of_turn(self) -> None:
        self.chat.loop.pass_time(2)  # a bare peer is given a second to ask for something
        self.check()

    def check(self) -> None:
        for person in self.everybody:
            received = person.client.take()
            for messages in (received, person.expected):
                messages.sort(key=stream)
            if person.was_bare:  # it gets answers ahead of what others said
                person.expected.sort(key=is_pushed)
                received.sort(key=is_pushed)
            person.was_bare = person.is_bare
            for message, expected in zip(received, person.expected, strict=True):
                if "error" in expected:
                    assert message["code"] == "error"
                    assert expected["error"] in {None, message["error"]}
                else:
                    if person.session is not None:
                        self.take_extras(person.session, message)
                    assert message == expected
            person.expected.clear()

    def take_extras(self, session: Session, message: dict[str, Any]) -> None:
        """Take what somebody is told who asked for `resume`."""
        if is_pushed(message):
            del message["time"]
            ident = message.pop("id")
            if "room" not in message:
                assert ident > session.last
                session.last = ident
        elif message["code"] == "welcome":
            secret = message.pop("session")
            assert session.secret in {"", secret}
            session.secret = secret
            for extra in ("features", "server", "limits"):
                del message[extra]

    @invariant()
    def names_are_unique(self) -> None:
        names = self.chat.hub.users()
        assert names == [person.name for person in self.present.values()]
        assert len({name.casefold() for name in names}) == len(names)

    def teardown(self) -> None:
        self.chat.loop.pass_time(2)
        self.check()
        for connection in list(self.chat.door.connections):
            connection.give_up("the end")
        self.chat.loop.pass_time(1)
        assert not self.chat.hub.users()
        assert not self.chat.door.connections
        assert not len(self.chat.door.deadlines)
        assert not self.chat.hub.house.rooms
        self.patience.stop()


ChatMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestChat = ChatMachine.TestCase
