"""The hub, through its TCP door, with a fake loop and fake transports."""

import tracemalloc
from typing import Any

import pytest

from chatroom.hub.session import MAX_REFS
from fakes import FakeChat, FakeClient

MARKS = "\u0301\u0323" * 100


def error_of(client: FakeClient) -> str:
    [reply] = client.take()
    assert reply["code"] == "error"
    assert reply["message"]
    return str(reply["error"])


def test_brief() -> None:
    """Every clause of the brief, with exactly its fields."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")

    ann.ask(code="who")
    ann.ask(code="outgoing", to="bob", content="hi bob")
    bob.ask(code="outgoing_broadcast", content="hi all")
    chat.loop.turn()

    assert ann.take() == [
        {"code": "users", "users": ["ann", "bob", "eve"]},
        {"code": "incoming_broadcast", "from": "bob", "content": "hi all"},
    ]
    assert bob.take() == [{"code": "incoming", "from": "ann", "content": "hi bob"}]
    assert eve.take() == [{"code": "incoming_broadcast", "from": "bob", "content": "hi all"}]


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({"code": "who"}, "hello_first"),
        ({"code": "outgoing", "to": "ann", "content": "x"}, "hello_first"),
        ({"code": "outgoing_broadcast", "content": "x"}, "hello_first"),
        ({"code": "hello", "name": "a|b"}, "bad_name"),
        ({"code": "hello", "name": "*"}, "bad_name"),
        ({"code": "hello", "name": "ANN"}, "name_taken"),
        ({"code": "hello", "name": 1}, "bad_request"),
        ({"code": "hullo"}, "unknown_code"),
    ],
)
def test_refused_before_welcome(request_: dict[str, Any], word: str) -> None:
    """What cannot be done before one is welcome is refused; hello may still come."""
    chat = FakeChat()
    chat.join("ann")
    client = chat.connect()

    client.ask(**request_, ref="r1")
    chat.loop.turn()
    [reply] = client.take()
    client.ask(code="hello", name="bob", ref="r2")
    chat.loop.turn()

    assert (reply["error"], reply["ref"]) == (word, "r1")
    assert client.take() == [{"code": "welcome", "ref": "r2"}]


def test_refused_after_welcome() -> None:
    """A second hello, and a message to nobody, are refused; the session lives on."""
    chat = FakeChat()
    ann = chat.join("ann")

    ann.ask(code="hello", name="bob")
    chat.loop.turn()
    assert error_of(ann) == "already_welcome"

    ann.ask(code="outgoing", to="bob", content="x")
    chat.loop.turn()
    assert error_of(ann) == "unknown_user"

    ann.ask(code="outgoing", to="ANN", content="note to self")
    chat.loop.turn()
    assert ann.take() == [{"code": "incoming", "from": "ann", "content": "note to self"}]


def test_taken_name_gets_a_free_suggestion() -> None:
    """The second of two with the same name is offered a free one, and may take it."""
    chat = FakeChat()
    chat.join("ann")
    chat.join("Ann2")
    newcomer = chat.connect()

    newcomer.ask(code="hello", name="Ann")
    chat.loop.turn()
    [refusal] = newcomer.take()

    assert refusal["error"] == "name_taken"
    assert refusal["suggestion"] == "Ann3"
    newcomer.ask(code="hello", name="Ann3")
    chat.loop.turn()
    assert newcomer.take() == [{"code": "welcome"}]


def test_suggestions_in_a_crowd() -> None:
    """A long name that many want still gets a legal and free suggestion each time."""
    chat = FakeChat()
    name = "x" * 32
    chat.join(name)
    for _ in range(50):
        newcomer = chat.connect()
        newcomer.ask(code="hello", name=name)
        chat.loop.turn()
        [refusal] = newcomer.take()
        newcomer.ask(code="hello", name=refusal["suggestion"])
        chat.loop.turn()

        assert newcomer.take() == [{"code": "welcome"}]


def test_who_claims_a_name_is_told_why_not() -> None:
    """A name that somebody has, or that looks like one, is refused with the name it is taken for."""
    chat = FakeChat()
    for name in ("Al", "bob"):
        chat.join(name)
    newcomer = chat.connect()

    for name in ("AI", "BOB", "Вob"):
        newcomer.ask(code="hello", name=name)
    chat.loop.turn()

    assert [(reply["error"], reply["message"], reply["suggestion"]) for reply in newcomer.take()] == [
        ("name_taken", '"AI" looks like "Al", who is here', "AI2"),
        ("name_taken", '"bob" is here already', "BOB2"),
        ("name_taken", '"Вob" looks like "bob", who is here', "Вob2"),
    ]


def test_looks_do_not_address() -> None:
    """What is for a name that looks like another's does not reach that one; case and width do not matter."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    chat.join("Al")

    for to in ("BOB", "ｂｏｂ", "b0b", "Вob", "bobb", "AI", "x" * 40, "\x1b[2J", "", "*", MARKS):
        ann.ask(code="outgoing", to=to, content=to[:2])
    chat.loop.turn()

    assert [message["content"] for message in bob.take()] == ["BO", "ｂｏ"]
    assert [(reply["error"], reply["message"]) for reply in ann.take()] == [
        ("unknown_user", '"b0b" looks like "bob", who is here'),
        ("unknown_user", '"Вob" looks like "bob", who is here'),
        ("unknown_user", 'nobody is called "bobb"'),
        ("unknown_user", '"AI" looks like "Al", who is here'),
        ("unknown_user", f'nobody is called "{"x" * 32}…"; a name has at most 32 characters'),
        ("unknown_user", 'nobody is called "\ufffd[2J"'),
        ("unknown_user", 'nobody is called ""'),
        ("unknown_user", 'nobody is called "*"'),
        ("unknown_user", f'nobody is called "{MARKS[:32]}…"; a name has at most 32 characters'),
    ]


def test_a_name_is_not_held_by_the_dead() -> None:
    """A name may be that of two others: it is free once both are dead; one who lives is not disturbed."""
    chat = FakeChat()
    lan = chat.join("lan")  # which "Ian" looks like
    ian = chat.join("ian")  # which it folds to
    newcomer = chat.connect()

    lan.transport.is_gone = True
    newcomer.ask(code="hello", name="Ian")
    chat.loop.turn()
    assert [reply["message"] for reply in newcomer.take()] == ['"ian" is here already']
    assert chat.hub.users() == ["ian"]

    ian.transport.is_gone = True
    newcomer.ask(code="hello", name="Ian")
    chat.loop.turn()
    assert newcomer.take() == [{"code": "welcome"}]
    assert chat.hub.users() == ["Ian"]
    assert all(set(claimed.values()) == {chat.hub.house.spelled["Ian"]} for claimed in chat.hub.house.claimed)


def test_no_suggestion_is_worth_a_long_search() -> None:
    """Where every number is spelled otherwise by somebody, none is suggested."""
    chat = FakeChat()
    for name in ("ann", *(f"ANN{number}" for number in range(2, 40))):
        chat.join(name)
    newcomer = chat.connect()

    newcomer.ask(code="hello", name="ann")
    chat.loop.turn()
    [refusal] = newcomer.take()

    assert "suggestion" not in refusal


def test_a_name_that_cannot_be_cut_has_no_suggestion() -> None:
    """A dot of katakana is legal where there is katakana too; none is suggested that would be refused."""
    chat = FakeChat()
    name = "・" * 31 + "カ"
    chat.join(name)
    newcomer = chat.connect()

    newcomer.ask(code="hello", name=name)
    chat.loop.turn()
    [refusal] = newcomer.take()

    assert (refusal["error"], "suggestion" in refusal) == ("name_taken", False)


@pytest.mark.parametrize(
    "name",
    [
        "ب" * 30 + "\u200cب",
        "👩" * 30 + "\u200d💻",
        "a" * 30 + "·a",
        "a" * 29 + "1\ufe0f\u20e3",
        "a" * 30 + " b",
    ],
)
def test_a_suggestion_is_legal(name: str) -> None:
    """A name that is cut for the number behind it is not cut within what belongs together."""
    chat = FakeChat()
    chat.join(name)
    newcomer = chat.connect()

    newcomer.ask(code="hello", name=name)
    chat.loop.turn()
    [refusal] = newcomer.take()
    newcomer.ask(code="hello", name=refusal["suggestion"])
    chat.loop.turn()

    assert newcomer.take() == [{"code": "welcome"}]


@pytest.mark.parametrize("end", ["quit", "eof", "reset", "vanish"])
def test_name_is_free_again(end: str) -> None:
    """However a connection ends, its name is free at once, and the others live on."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    if end == "quit":
        ann.ask(code="quit")
    elif end == "eof":
        ann.connection.eof_received()
    else:
        ann.transport.vanish(ConnectionResetError() if end == "reset" else None)
    chat.loop.turn()

    chat.join("ann")
    bob.ask(code="who")
    chat.loop.turn()
    assert bob.take() == [{"code": "users", "users": ["bob", "ann"]}]


def test_quit_leaves_after_what_was_queued() -> None:
    """Who quits still gets what was said before, and then the end; what it sends behind is not read."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    bob.ask(code="outgoing_broadcast", content="1")
    ann.ask(code="who")
    ann.send(b'{"code":"quit"}{"code":"outgoing_broadcast","content":"ghost"}')
    ann.ask(code="outgoing_broadcast", content="another ghost")
    bob.ask(code="outgoing_broadcast", content="2")
    chat.loop.turn()

    assert [message["code"] for message in ann.take()] == ["incoming_broadcast", "users"]
    assert ann.transport.eof_written
    assert bob.take() == []


def test_refs() -> None:
    """A message with a ref is acknowledged; its retry is acknowledged again, and not delivered again."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.ask(code="outgoing", to="bob", content="1", ref="a")
    ann.ask(code="outgoing_broadcast", content="2", ref="b")
    ann.ask(code="outgoing", to="bob", content="1", ref="a")
    ann.ask(code="who", ref="c")
    chat.loop.turn()

    first, second, again, users = ann.take()
    assert set(first) == {"code", "id", "time", "ref"}
    assert (first["code"], first["ref"], first["time"]) == ("sent", "a", 1000.0)
    assert (second["code"], second["ref"]) == ("sent", "b")
    assert first["id"] < second["id"]
    assert len(first["id"]) == len(second["id"]) == 16
    assert again == first
    assert users == {"code": "users", "users": ["ann", "bob"], "ref": "c"}
    assert [message["content"] for message in bob.take()] == ["1", "2"]


def test_clock_jumps() -> None:
    """Ids grow from message to message, also when the clock goes back, or stands still."""
    chat = FakeChat()
    ann = chat.join("ann")

    for jump in (0, -3600, 0, 7200, -1):
        chat.loop.now += jump  # both clocks of the fake loop are one
        ann.ask(code="outgoing_broadcast", content="x", ref=str(chat.loop.now) + str(jump))
    chat.loop.turn()

    ids = [message["id"] for message in ann.take()]
    assert ids == sorted(set(ids))


def test_refs_are_bounded() -> None:
    """A session remembers its last refs only."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    for number in [*range(MAX_REFS + 1), 0, MAX_REFS]:
        ann.ask(code="outgoing_broadcast", content="x", ref=str(number))
    chat.loop.turn()

    assert len(ann.take()) == MAX_REFS + 3
    assert len(bob.take()) == MAX_REFS + 2


def test_what_refs_take() -> None:
    """However long its refs are, what a session remembers of them takes a quarter of a kilobyte each."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    ann.ask(code="outgoing", to="bob", content="", ref="first")
    chat.loop.turn()

    tracemalloc.start()
    for number in range(MAX_REFS):
        ann.ask(code="outgoing", to="bob", content="", ref=f"{number:03}" + "\N{GRINNING FACE}" * 61)
        chat.loop.turn()
        for client in (ann, bob):
            client.take()
            client.transport.segments.clear()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken < MAX_REFS * 300


def test_faults_in_a_row() -> None:
    """Twenty wrong objects in a row end the connection; a good one between them starts the count anew."""
    chat = FakeChat()
    ann = chat.join("ann")
    garbage = b"garbage\n"

    ann.send(garbage * 19)
    ann.ask(code="who")
    ann.send(garbage * 19)
    chat.loop.turn()
    assert len(ann.take()) == 39
    assert not ann.transport.eof_written

    ann.send(garbage)
    chat.loop.turn()
    assert error_of(ann) == "bad_json"
    assert ann.transport.eof_written
    assert "left ann too_many_errors" in chat.observer.lines


def test_object_that_is_never_finished() -> None:
    """Half an object and then silence: an error and the end, 10 s after it was begun."""
    chat = FakeChat()
    ann = chat.join("ann")

    ann.send(b'{"code":"who"')
    chat.loop.pass_time(9)
    ann.send(b",")
    chat.loop.pass_time(0.9)
    assert ann.take() == []

    chat.loop.pass_time(1)
    assert error_of(ann) == "bad_json"
    assert ann.transport.eof_written
    chat.loop.pass_time(2)
    assert ann.transport.is_gone
    assert len(chat.door.deadlines) == 0


def test_nothing_is_left_of_half_an_object() -> None:
    """Who vanishes within an object is not waited for."""
    chat = FakeChat()
    ann = chat.join("ann")

    ann.send(b'{"code":"who"')
    assert len(chat.door.deadlines) == 1
    ann.transport.vanish(None)
    chat.loop.turn()

    assert len(chat.door.deadlines) == 0


def test_each_object_has_its_own_time() -> None:
    """Objects that are each cut in two, but finished, may go on for as long as they like."""
    chat = FakeChat()
    ann = chat.join("ann")

    ann.send(b'{"code":')
    for _ in range(10):
        chat.loop.pass_time(5)
        ann.send(b'"who"}\n{"code":')
    chat.loop.pass_time(5)

    assert len(ann.take()) == 10


def test_bug_of_ours_ends_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in our own code is logged with its traceback, and ends that connection only."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    with monkeypatch.context() as patch:
        patch.setattr(chat.hub, "users", lambda: 1 // 0)
        ann.ask(code="who")
        chat.loop.turn()

    assert "ZeroDivisionError" in caplog.text
    assert ann.transport.is_gone
    bob.ask(code="who")
    chat.loop.turn()
    assert bob.take() == [{"code": "users", "users": ["bob"]}]


@pytest.mark.parametrize("directly", [False, True])
def test_bug_of_the_event_loop_ends_one_connection(caplog: pytest.LogCaptureFixture, *, directly: bool) -> None:
    """A transport that raises though it is alive is logged, and ended; the others get every message once."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")

    def write(data: bytes) -> None:
        raise RuntimeError("cannot write")

    bob.connection._outbox.push = write

    ann.ask(code="outgoing_broadcast", content="1")
    if directly:
        bob.connection._door.hub.push(bob.connection._client, b"x\n")
    chat.loop.turn()
    ann.ask(code="outgoing_broadcast", content="2")
    chat.loop.turn()

    assert "RuntimeError" in caplog.text
    assert bob.transport.is_gone
    assert [message["content"] for message in eve.take()] == ["1", "2"]
    assert ann.take() == []


@pytest.mark.parametrize("request_", [{"code": "outgoing_broadcast"}, {"code": "outgoing", "to": "bob"}])
def test_broken_just_now(caplog: pytest.LogCaptureFixture, request_: dict[str, Any]) -> None:
    """A connection that breaks while it is written to is no bug of ours: it is passed over."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")

    ann.ask(**request_, content="1")
    bob.transport.vanish(ConnectionResetError())
    chat.hub.delivery.flush()
    chat.loop.turn()

    assert not caplog.text
    assert chat.observer.lines[-1] == "left bob reset"
    assert [message["content"] for message in eve.take()] == (["1"] if "to" not in request_ else [])


def test_one_write_per_connection_and_turn() -> None:
    """However much happens in a turn, each connection is written to once."""
    chat = FakeChat()
    clients = [chat.join(f"user{number}") for number in range(5)]

    for number, client in enumerate(clients):
        client.ask(code="outgoing_broadcast", content=f"from {number}")
        client.ask(code="who")
        client.ask(code="outgoing", to="user0", content="psst")
    chat.loop.turn()

    assert [len(client.transport.segments) for client in clients] == [1] * 5


def test_everybody_is_handed_the_same_bytes() -> None:
    """A broadcast is joined once: all who get nothing else are handed the same object."""
    chat = FakeChat()
    ann, *others = [chat.join(f"user{number}") for number in range(5)]

    for _ in range(3):
        ann.ask(code="outgoing_broadcast", content="x")
    chat.loop.turn()

    assert len({id(other.transport.segments[0]) for other in others}) == 1


def test_cursors() -> None:
    """Broadcasts, direct messages and answers of one turn arrive in the order in which they were asked."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")

    ann.ask(code="outgoing_broadcast", content="a1")
    bob.ask(code="outgoing_broadcast", content="b1")
    ann.ask(code="outgoing", to="bob", content="a2")
    bob.ask(code="who")
    ann.ask(code="outgoing_broadcast", content="a3")
    dan = chat.connect()
    dan.ask(code="hello", name="dan")
    bob.ask(code="outgoing", to="dan", content="b2")
    ann.ask(code="outgoing_broadcast", content="a4")
    ann.ask(code="outgoing", to="ann", content="a5")
    bob.ask(code="outgoing_broadcast", content="b3")
    chat.loop.turn()

    def heard(client: FakeClient) -> list[str]:
        return [message.get("content", message["code"]) for message in client.take()]

    assert heard(ann) == ["b1", "a5", "b3"]
    assert heard(bob) == ["a1", "a2", "users", "a3", "a4"]
    assert heard(eve) == ["a1", "b1", "a3", "a4", "b3"]
    assert heard(dan) == ["welcome", "b2", "a4", "b3"]


def test_who_leaves_within_a_turn() -> None:
    """Who leaves hears what was said before; who comes with the same name hears what is said after."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.ask(code="outgoing_broadcast", content="1")
    bob.ask(code="quit")
    ann.ask(code="outgoing_broadcast", content="2")
    again = chat.connect()
    again.ask(code="hello", name="bob")
    ann.ask(code="outgoing_broadcast", content="3")
    chat.loop.turn()

    assert [message["content"] for message in bob.take()] == ["1"]
    assert [message.get("content") for message in again.take()] == [None, "3"]
