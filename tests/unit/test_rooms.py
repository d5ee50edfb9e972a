"""Rooms, through the TCP door, with a fake loop: joining, leaving, speaking, who is where, and the bounds."""

from typing import Any

import pytest

from chatroom.hub import past
from chatroom.hub.entries import Said
from chatroom.hub.hub import CHANGES
from chatroom.hub.past import Past
from chatroom.hub.room import Room
from fakes import FakeChat, FakeClient

MEMBER = "192.0.2.7"


def said(sender: str, content: str, room: str | None = None) -> dict[str, Any]:
    """Return what others get of a broadcast."""
    place = {} if room is None else {"room": room}
    return {"code": "incoming_broadcast", "from": sender, **place, "content": content}


def go(client: FakeClient, room: str, **extra: object) -> list[dict[str, Any]]:
    """Join a room; return the answer and what came with it."""
    client.ask(code="join", room=room, **extra)
    client.loop.turn()
    return client.take()


def broadcast(client: FakeClient, content: str, room: str | None = None) -> None:
    client.ask(code="outgoing_broadcast", content=content, **({} if room is None else {"room": room}))


def test_a_room() -> None:
    """Members hear what is said in it, with its name as its maker spelled it; others hear nothing."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")

    assert go(ann, "Chess") == [{"code": "joined", "room": "Chess"}]
    assert go(bob, "chess") == [{"code": "joined", "room": "Chess"}]
    broadcast(ann, "e4", "CHESS")
    broadcast(bob, "hello, lobby")
    chat.loop.turn()

    assert bob.take() == [said("ann", "e4", "Chess")]
    assert ann.take() == [said("bob", "hello, lobby")]
    assert eve.take() == [said("bob", "hello, lobby")]


def test_who_is_in_a_room() -> None:
    """`who` with a room names its members in the order in which they came, to anybody who asks."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")
    go(bob, "chess")
    go(ann, "chess")

    eve.ask(code="who", room="CHESS")
    eve.ask(code="who")
    chat.loop.turn()

    assert eve.take() == [
        {"code": "users", "users": ["bob", "ann"], "room": "chess"},
        {"code": "users", "users": ["ann", "bob", "eve"]},
    ]


def test_leaving() -> None:
    """Who has left hears no more, and cannot speak there; what was said before still comes."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    go(ann, "chess")
    go(bob, "chess")

    broadcast(ann, "before", "chess")
    bob.ask(code="leave", room="chess", ref="1")
    broadcast(ann, "after", "chess")
    bob.ask(code="outgoing_broadcast", room="chess", content="x")
    chat.loop.turn()

    first, second, third = bob.take()
    assert [first, second] == [
        said("ann", "before", "chess"),
        {"code": "left", "ref": "1", "room": "chess"},
    ]
    assert (third["error"], third["message"]) == (
        "not_in_room",
        'you are not in the room "chess"; join it first',
    )


@pytest.mark.parametrize("way", ["leave", "quit", "vanish"])
def test_an_empty_room_is_gone(way: str) -> None:
    """It leaves the list, and whoever makes it anew spells its name."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    go(ann, "Chess")
    if way == "leave":
        ann.ask(code="leave", room="chess")
    elif way == "quit":
        ann.ask(code="quit")
    else:
        ann.transport.vanish(ConnectionResetError())
    chat.loop.turn()

    bob.ask(code="rooms")
    bob.ask(code="who", room="chess")
    chat.loop.turn()

    rooms, error = bob.take()
    assert rooms == {"code": "rooms", "rooms": []}
    assert (error["error"], error["message"]) == ("unknown_room", 'there is no room "chess"')
    assert go(bob, "CHESS") == [{"code": "joined", "room": "CHESS"}]


def test_the_list_of_rooms() -> None:
    """The largest come first; the lobby is none of them."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    go(ann, "go")
    go(ann, "chess")
    go(bob, "chess")

    ann.ask(code="rooms", ref="r")
    chat.loop.turn()

    assert ann.take() == [
        {"code": "rooms", "ref": "r", "rooms": [{"room": "chess", "users": 2}, {"room": "go", "users": 1}]}
    ]


@pytest.mark.parametrize("name", ["", "*", "a|b", "x" * 33, "\u200b", "a\nb"])
def test_names_of_rooms(name: str) -> None:
    """They are as those of users; a join that is refused makes no room."""
    chat = FakeChat()
    ann = chat.join("ann")

    [error] = go(ann, name)

    assert error["error"] == "bad_name"
    assert "room" in error["message"]
    assert chat.hub.house.rooms == {}


def test_rooms_are_bounded() -> None:
    """So many rooms, so many of one session; a refused join makes none."""
    chat = FakeChat(max_rooms=3, max_rooms_each=2)
    ann, bob = chat.join("ann"), chat.join("bob")
    for client, room in ((ann, "1"), (ann, "2"), (bob, "3")):
        assert go(client, room)[0]["code"] == "joined"

    [error] = go(ann, "3")
    assert (error["error"], error["message"]) == ("not_allowed", "you are in 2 rooms, no more are allowed")
    [error] = go(bob, "4")
    assert (error["error"], error["message"]) == ("not_allowed", "there are 3 rooms, no more are allowed")
    assert go(bob, "1") == [{"code": "joined", "room": "1"}]
    assert sorted(chat.hub.house.rooms) == ["1", "2", "3"]


def test_order_across_rooms() -> None:
    """What one says in several rooms and to one alone, another hears in that order."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    for client in (ann, bob):
        go(client, "a")
        go(client, "b")

    for number, place in enumerate(["b", "a", None, "b", "bob", "a", "bob", None, "b"]):
        if place == "bob":
            ann.ask(code="outgoing", to="bob", content=str(number))
        else:
            broadcast(ann, str(number), place)
    chat.loop.turn()

    assert [message["content"] for message in bob.take()] == [str(number) for number in range(9)]
    assert ann.take() == []


def test_a_burst_in_a_room() -> None:
    """Many messages in one segment come as they were sent."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    go(ann, "a")
    go(bob, "a")

    lines = [b'{"code":"outgoing_broadcast","room":"a","content":"%d"}\n' % number for number in range(50)]
    ann.send(b"".join(lines))
    chat.loop.turn()

    assert bob.take() == [said("ann", str(number), "a") for number in range(50)]


@pytest.mark.parametrize("host", ["127.0.0.1", MEMBER])
def test_changes_of_room(host: str) -> None:
    """A turn takes so many changes from one connection, exempt or not; the rest comes with the next ones."""
    chat = FakeChat()
    ann, bob = chat.join("ann", host), chat.join("bob")
    for client in (ann, bob):
        go(client, "a")
        go(client, "b")
    for number in range(40):
        broadcast(ann, str(number), "ab"[number % 2])

    callbacks, chat.loop._soon = chat.loop._soon, []
    for callback in callbacks:
        callback()

    assert 0 < len(bob.take()) <= CHANGES + 1
    chat.loop.pass_time(10)
    assert chat.hub.house.lobby.log == []
    assert len(bob.take()) >= 40 - CHANGES - 1


def test_changes_of_room_by_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections together have so many readers handed out what was just said; the rest comes later."""
    flushes: list[int] = []
    flush = Room.flush

    def counted(room: Room, past: Past) -> None:
        flushes.append(len(room))
        flush(room, past)

    monkeypatch.setattr(Room, "flush", counted)
    chat = FakeChat()
    people = [chat.join(f"peer{number}") for number in range(250)]
    chat.loop.turn()
    flushes.clear()
    for one in people[:20]:
        broadcast(one, "x")
        one.ask(code="history", ref="h")

    assert flushes == [250, 250]
    chat.loop.turn()
    assert all(any(message.get("ref") == "h" for message in one.take()) for one in people[:20])


def test_who_comes_back_is_in_no_room() -> None:
    """A name is free with its connection, and so are its places."""
    chat = FakeChat()
    ann = chat.join("ann")
    go(ann, "a")
    ann.transport.vanish(ConnectionResetError())
    chat.loop.turn()

    again = chat.join("ann")
    again.ask(code="outgoing_broadcast", room="a", content="x")
    chat.loop.turn()

    assert again.take()[0]["error"] == "not_in_room"


def test_a_room_that_is_made_again() -> None:
    """Its past goes on in order, though it was empty for a moment within the turn, and its spelling stays."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    go(ann, "Chess")
    go(bob, "chess")
    broadcast(ann, "1", "chess")
    for client in (ann, bob):
        client.ask(code="leave", room="chess")
    bob.ask(code="join", room="chess")
    broadcast(bob, "2", "chess")
    broadcast(bob, "elsewhere")
    chat.loop.turn()
    bob.take()

    bob.ask(code="history", room="chess")
    chat.loop.turn()
    [page] = bob.take()
    assert [message["content"] for message in page["messages"]] == ["1", "2"]
    assert go(ann, "CHESS")[-1] == {"code": "joined", "room": "Chess"}


def test_the_past_is_cut_between_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten follows from what was said, not from who reads: so all machines forget the same."""
    monkeypatch.setattr(past, "ROOMS", 20_000)
    monkeypatch.setattr(past, "SLACK", 1000)
    kept: dict[bool, list[int]] = {False: [], True: []}
    for reads in (False, True):
        chat = FakeChat()
        ann, eve = chat.join("ann"), chat.join("eve")
        for number in range(100):
            broadcast(ann, "x" * 10 * number)
            if reads:
                eve.ask(code="history")
            broadcast(ann, "y" * 700)
            chat.loop.turn()
            eve.take()
            kept[reads].append(len(chat.hub.house.past.rooms[""]))

    assert kept[True] == kept[False]


def test_many_rooms_are_looked_at_seldom() -> None:
    """To find the largest of 30,000 rooms takes time, so much is forgotten at a time."""
    memory, looks = Past(0), 0
    for number in range(34_000):
        post = Said(number, 0.0, 1, b"x" * 900, 1, None, str(number))
        memory.keep(post.room, (post,), 1, past.POST + len(post.frames))
        if memory.size > past.ROOMS:
            looks += 1
            memory.forget_some()
            assert memory.size <= past.ROOMS - past.SLACK

    assert 0 < looks <= 34_000 * (900 + past.POST + past.LINE) / past.SLACK


def test_a_lost_connection_still_joins() -> None:
    """Of what a lost connection had sent, a `join` is done with what was said behind it in the room."""
    chat = FakeChat()
    eve, ann = chat.join("eve"), chat.join("ann", MEMBER)
    go(eve, "a")
    for _ in range(60):
        ann.ask(code="ping")  # more than may come at once
    ann.ask(code="join", room="a")
    broadcast(ann, "the last word", "a")
    ann.transport.vanish(ConnectionResetError())
    chat.loop.pass_time(10)

    assert eve.take() == [said("ann", "the last word", "a")]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a|b", 'no room can be called "a|b": a name may not contain "|"'),
        ("*", 'no room can be called "*": the name * stands for everybody'),
        ("", 'no room can be called "": the name is 0 characters long; it must have 1 to 32'),
    ],
)
def test_names_that_no_room_has(name: str, why: str) -> None:
    """It is said which name was refused, and by which rule."""
    ann = FakeChat().join("ann")

    assert [answer["message"] for answer in go(ann, name)] == [why]
