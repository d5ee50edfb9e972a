"""The whole chat, door and hub, held against a model of plain lists and dicts."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from chatroom.doors.pacing import PACE
from fakes import FakeChat, FakeClient

NAMES = st.sampled_from(["ann", "bob", "eve", "Ann", "b0b", "*", "a|b", ""])
LEGAL = {"ann", "Ann", "bob", "eve", "b0b"}


def looks(name: str) -> str:
    """Names that look alike are claimed by one; each is addressed as it folds."""
    return name.casefold().replace("0", "o")


class Person:
    """One client, and what the model says that it must have been sent."""

    def __init__(self, client: FakeClient, *, is_bare: bool) -> None:
        self.client = client
        self.is_bare = self.was_bare = is_bare
        self.name: str | None = None
        self.faults = 0
        self.expected: list[dict[str, Any]] = []

    def ask(self, **request: Any) -> None:
        self.faults = 0
        (self.client.ask_bare if self.is_bare else self.client.ask)(**request)
        while self.client.connection._intake.is_waiting:
            self.client.loop.pass_time(PACE)  # so much was asked before that answers must leave first


def is_pushed(message: dict[str, Any]) -> bool:
    return str(message.get("code")).startswith("incoming")


class ChatMachine(RuleBasedStateMachine):
    """Any order of events gives each client exactly what the model says, in that order.

    Nothing else may arrive: so nothing that a base client did not ask for, and nobody's own broadcasts.
    """

    people = Bundle("people")

    def __init__(self) -> None:
        super().__init__()
        # What strangers may do is bounded elsewhere: tests/unit/test_limits.py
        self.chat = FakeChat(stranger_in=10**9, stranger_out=10**9, max_hellos=10**6, hello_timeout=10_000)
        self.present: dict[str, Person] = {}  # by folded name
        self.everybody: list[Person] = []
        self.number = 0

    def text(self) -> str:
        self.number += 1
        return f"{self.number}"

    @initialize(target=people)
    def three_are_here(self) -> Any:
        three = [self.connect(is_bare=False), self.connect(is_bare=False), self.connect(is_bare=True)]
        for person, name in zip(three, ["ann", "bob", "eve"], strict=True):
            self.hello(person, name)
        return multiple(*three)

    @rule(target=people, is_bare=st.booleans())
    def connect(self, is_bare: bool) -> Person:
        person = Person(self.chat.connect(), is_bare=is_bare)
        self.everybody.append(person)
        return person

    @rule(person=people, name=NAMES)
    def hello(self, person: Person, name: str) -> None:
        person.ask(code="hello", name=name)
        if person.name is not None:
            person.expected.append({"error": "already_welcome"})
        elif name not in LEGAL:
            person.expected.append({"error": "bad_name"})
        elif looks(name) in map(looks, self.present):
            person.expected.append({"error": "name_taken"})
        else:
            person.expected.append({"code": "welcome"})
            person.name = name
            self.present[name.casefold()] = person

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
        elif to.casefold() not in self.present:
            person.expected.append({"error": "unknown_user"})
        else:
            self.present[to.casefold()].expected.append(
                {"code": "incoming", "from": person.name, "content": text}
            )

    @rule(person=people, times=st.integers(1, 3))
    def outgoing_broadcast(self, person: Person, times: int) -> None:
        for _ in range(times):
            text = self.text()
            person.ask(code="outgoing_broadcast", content=text)
            if person.name is None:
                person.expected.append({"error": "hello_first"})
                continue
            for other in self.present.values():
                if other is not person:
                    other.expected.append({"code": "incoming_broadcast", "from": person.name, "content": text})

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
        self.everybody.remove(person)

    def gone(self, person: Person) -> None:
        if person.name is not None:
            del self.present[person.name.casefold()]

    @rule()
    def end_of_turn(self) -> None:
        self.chat.loop.pass_time(2)  # a bare peer is given a second to ask for something
        self.check()

    def check(self) -> None:
        for person in self.everybody:
            received = person.client.take()
            if person.was_bare:  # it gets answers ahead of what others said
                person.expected.sort(key=is_pushed)
                received.sort(key=is_pushed)
            person.was_bare = person.is_bare
            for message, expected in zip(received, person.expected, strict=True):
                if "error" in expected:
                    assert message["code"] == "error"
                    assert expected["error"] in {None, message["error"]}
                else:
                    assert message == expected
            person.expected.clear()

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


ChatMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestChat = ChatMachine.TestCase
