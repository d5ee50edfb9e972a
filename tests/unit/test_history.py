"""The past in memory: pages, searches, taking back what one wrote; through the TCP door, with a fake loop."""

from typing import Any

import pytest

from chatroom.hub import past
from chatroom.hub.hub import EXPIRY
from chatroom.hub.reading import BYTES, PAGE
from fakes import FakeChat, FakeClient

pytestmark = pytest.mark.usefixtures("kept")


def come(chat: FakeChat, name: str, *features: str) -> FakeClient:
    client = chat.connect()
    client.ask(code="hello", name=name, features=features)
    chat.loop.turn()
    client.take()
    return client


def read(client: FakeClient, **query: object) -> dict[str, Any]:
    """Return the page that answers this."""
    client.ask(code="history", **query)
    client.loop.turn()
    page: dict[str, Any] = client.take()[-1]
    return page


def contents(page: dict[str, Any]) -> list[str]:
    assert page["code"] == "history", page
    return [message["content"] for message in page["messages"]]


def error_of(page: dict[str, Any]) -> str:
    assert page["code"] == "error", page
    return str(page["error"])


def speak(client: FakeClient, *words: str, **place: str) -> None:
    for word in words:
        client.ask(code="outgoing" if "to" in place else "outgoing_broadcast", content=word, **place)
        client.loop.turn()


def test_the_newest_page() -> None:
    """Oldest first; each with its id, time and sender, one's own among them; no feature is needed."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    speak(ann, "1")
    chat.loop.now += 5
    speak(bob, "2")
    ann.take()

    page = read(ann, ref="h")

    ids = [message.pop("id") for message in page["messages"]]
    assert ids == sorted(ids)
    assert page == {
        "code": "history",
        "ref": "h",
        "messages": [
            {"time": 1000.0, "from": "ann", "content": "1"},
            {"time": 1005.0, "from": "bob", "content": "2"},
        ],
        "complete": True,
    }


def test_pages() -> None:
    """`before` goes back, `after` goes on; `complete` says that there is nothing more that way."""
    chat = FakeChat()
    ann = chat.join("ann")
    ann.send(b"".join(b'{"code":"outgoing_broadcast","content":"%d"}\n' % number for number in range(130)))
    chat.loop.turn()

    newest = read(ann)
    assert contents(newest) == [str(number) for number in range(130 - PAGE, 130)]
    assert not newest["complete"]
    older = read(ann, before=newest["messages"][0]["id"])
    assert contents(older) == [str(number) for number in range(130 - 2 * PAGE, 130 - PAGE)]
    oldest = read(ann, before=older["messages"][0]["id"])
    assert contents(oldest) == [str(number) for number in range(130 - 2 * PAGE)]
    assert oldest["complete"]
    assert contents(read(ann, after=oldest["messages"][0]["id"], limit=3)) == ["1", "2", "3"]
    last = newest["messages"][-1]["id"]
    assert read(ann, after=last) == {"code": "history", "messages": [], "complete": True}
    assert contents(read(ann, limit=200)) == [str(number) for number in range(130)]


@pytest.mark.parametrize("limit", [0, 201, -1, 1.5, "5", True])
def test_limits_of_a_page(limit: object) -> None:
    """1 to 200."""
    assert error_of(read(FakeChat().join("ann"), limit=limit)) == "bad_request"


def test_a_page_ends_at_256_kib() -> None:
    """Two hundred messages can weigh more than a connection may have waiting."""
    chat = FakeChat()
    ann = chat.join("ann")
    speak(ann, *["x" * 16_000] * 40)

    page = read(ann, limit=200)

    assert 14 <= len(page["messages"]) <= BYTES // 16_000
    assert not page["complete"]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"before": "x"}, "bad_request"),
        ({"after": "0" * 17}, "bad_request"),
        ({"before": "0" * 16, "after": "0" * 16}, "bad_request"),
        ({"find": "x", "after": "0" * 16}, "bad_request"),
        ({"room": "a", "with": "*"}, "bad_request"),
        ({"room": "a"}, "not_in_room"),
        ({"find": ""}, "bad_request"),
        ({"find": "x" * 257}, "bad_request"),
        ({"with": "x" * 200}, "bad_name"),
    ],
)
def test_wrong_queries(query: dict[str, Any], word: str) -> None:
    """They are errors that lose nothing."""
    assert error_of(read(FakeChat().join("ann"), **query)) == word


def test_the_past_of_a_room() -> None:
    """Its members read it, also what was said before they came, and while it was empty of people."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    ann.ask(code="join", room="a")
    speak(ann, "1", room="a")
    ann.ask(code="leave", room="a")
    assert error_of(read(bob, room="a")) == "not_in_room"
    bob.ask(code="join", room="A")

    assert contents(read(bob, room="a")) == ["1"]
    assert contents(read(bob)) == []


def test_find() -> None:
    """A part of the text; letters of ASCII in either case."""
    chat = FakeChat()
    ann = chat.join("ann")
    speak(ann, "Good Morning", "gute nacht", "早上好", "GOOD night", "ÄRGER")

    assert contents(read(ann, find="good")) == ["Good Morning", "GOOD night"]
    assert contents(read(ann, find="上")) == ["早上好"]
    assert contents(read(ann, find="ärger")) == []
    assert contents(read(ann, find="ärger")) == []
    assert contents(read(ann, find="Ärg")) == ["ÄRGER"]
    assert read(ann, find="nothing")["complete"]


@pytest.mark.parametrize("kept", ["memory", "file"], indirect=True)
def test_a_search_ends_at_4_mib() -> None:
    """In memory, where all others wait for it, the longest messages take no longer than short ones."""
    chat = FakeChat()
    ann = chat.join("ann")
    speak(ann, "needle", *["x" * 16_000] * 300)

    page = read(ann, find="needle")
    assert (page["messages"], page["complete"]) == ([], False)
    assert contents(read(ann, find="needle", before=page["before"])) == ["needle"]


def test_direct_messages() -> None:
    """One's own, of both ends, with whoever bore the name when they were said; nobody else's."""
    chat = FakeChat()
    ann, bob, eve = come(chat, "ann", "resume"), come(chat, "bob", "resume"), come(chat, "eve", "resume")
    speak(ann, "1", to="BOB")
    speak(bob, "2", to="ann")
    speak(eve, "3", to="ann")
    speak(eve, "4", to="bob")

    page = read(ann, **{"with": "bob"})
    assert [(m["from"], m["to"], m["content"]) for m in page["messages"]] == [
        ("ann", "bob", "1"),
        ("bob", "ann", "2"),
    ]
    assert contents(read(ann, **{"with": "*"})) == ["1", "2", "3"]
    assert contents(read(bob, **{"with": "*"})) == ["1", "2", "4"]
    assert contents(read(eve, **{"with": "bob"})) == ["4"]
    assert contents(read(ann)) == []


def test_the_next_owner_of_a_name_reads_nothing() -> None:
    """Not of the one before, nor of those who wrote to it."""
    chat = FakeChat()
    ann, bob = come(chat, "ann", "resume"), come(chat, "bob", "resume")
    speak(ann, "secret", to="bob")
    speak(bob, "secret too", to="ann")
    bob.ask(code="quit")
    chat.loop.turn()

    thief = come(chat, "bob", "resume")

    for query in ({"with": "ann"}, {"with": "*"}, {"with": "bob"}, {"with": "ann", "find": "secret"}):
        assert contents(read(thief, **query)) == []
    assert contents(read(ann, **{"with": "bob"})) == ["secret", "secret too"]


@pytest.mark.parametrize("kept", ["memory", "file"], indirect=True)
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 messages a room and at most a burst more; beyond so many bytes in all, the largest room loses."""
    chat = FakeChat()
    ann = chat.join("ann")
    for _ in range(30):
        ann.send(b'{"code":"outgoing_broadcast","content":"x"}\n' * 64)
        chat.loop.turn()
    line = chat.hub.house.past.rooms[""]
    assert past.ROOM <= line.total < past.ROOM + 64

    monkeypatch.setattr(past, "ROOMS", 400_000)
    monkeypatch.setattr(past, "SLACK", 10_000)
    ann.ask(code="join", room="quiet")
    speak(ann, "rare", room="quiet")
    speak(ann, *["x" * 10_000] * 100)
    speak(ann, "looked at with each turn", room="quiet")
    assert 140_000 <= chat.hub.house.past.size <= 400_000
    sizes = [
        past.LINE * bool(key) + sum(past.POST + len(post.frames) for post in line)
        for key, line in chat.hub.house.past.rooms.items()
    ]
    assert chat.hub.house.past.size == sum(sizes)
    assert contents(read(ann, room="quiet")) == ["rare", "looked at with each turn"]


@pytest.mark.parametrize("kept", ["memory"], indirect=True)
def test_direct_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One ring for all direct messages."""
    assert (past.DIRECT, past.DIRECT_BYTES) == (10_000, 16 * 1024 * 1024)
    monkeypatch.setattr(past, "DIRECT", 20)
    chat = FakeChat()
    ann = come(chat, "ann", "resume")
    speak(ann, *map(str, range(50)), to="ann")
    assert contents(read(ann, **{"with": "ann"})) == [str(number) for number in range(30, 50)]
    monkeypatch.setattr(past, "DIRECT_BYTES", 30_000)
    speak(ann, *["x" * 5000] * 20, to="ann")
    assert chat.hub.house.past.direct.size <= 30_000


def test_old_messages_are_forgotten() -> None:
    """After so many days, within the hour; nothing later is."""
    chat = FakeChat(history_days=0.1)
    ann = come(chat, "ann", "resume")
    ask_to_join(ann, "a")
    for place in ({}, {"room": "a"}, {"to": "ann"}):
        speak(ann, "old", **place)
    first = read(ann)["messages"][0]["id"]
    chat.loop.pass_time(2 * 3600)
    speak(ann, "later")
    assert [contents(read(ann, **place)) for place in ({}, {"room": "a"}, {"with": "*"})] == [
        ["old", "later"],
        ["old"],
        ["old"],
    ]
    chat.loop.pass_time(0.4 * 3600 + EXPIRY)

    assert [contents(read(ann, **place)) for place in ({}, {"room": "a"}, {"with": "*"})] == [["later"], [], []]
    assert chat.hub.house.past.floor > int(first, 16)
    bob = chat.connect()
    bob.ask(code="hello", name="bob")
    bob.ask(code="join", room="a", after=first)
    chat.loop.turn()
    assert bob.take()[-1]["recovered"] is False


def ask_to_join(client: FakeClient, room: str) -> None:
    client.ask(code="join", room=room)
    client.loop.turn()
    client.take()


def test_forget() -> None:
    """It is gone from the past; those with stamps who are there are told, and nobody else."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), come(chat, "bob", "stamps"), chat.join("eve")
    ann.send(b"".join(b'{"code":"outgoing_broadcast","content":"%d"}\n' % number for number in range(3)))
    chat.loop.turn()
    ids = [message["id"] for message in bob.take()]
    eve.take()

    ann.ask(code="forget", id=ids[1], ref="f")
    chat.loop.turn()

    assert ann.take() == [{"code": "forgotten", "ref": "f", "id": ids[1]}]
    assert bob.take() == [{"code": "forgotten", "id": ids[1]}]
    assert eve.take() == []
    page = read(ann)
    assert contents(page) == ["0", "2"]
    assert [message["id"] for message in page["messages"]] == [ids[0], ids[2]]


def test_forget_a_direct_message() -> None:
    """Both ends are told, if they have stamps; nobody else is."""
    chat = FakeChat()
    ann, bob, eve = come(chat, "ann", "resume"), come(chat, "bob", "resume"), come(chat, "eve", "resume")
    speak(ann, "secret", to="bob")
    [message] = bob.take()

    ann.ask(code="forget", id=message["id"])
    chat.loop.turn()

    assert ann.take() == [{"code": "forgotten", "id": message["id"]}]
    assert bob.take() == [{"code": "forgotten", "id": message["id"]}]
    assert eve.take() == []
    assert contents(read(bob, **{"with": "*"})) == []


def test_forget_in_a_room_that_one_has_left() -> None:
    """Also if one has come back since, or it is empty."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), come(chat, "bob", "stamps")
    ids = []
    for room in "abc":
        for client in (ann, bob):
            ask_to_join(client, room)
        speak(ann, "x", room=room)
        ids.append(bob.take()[-1]["id"])
        ann.ask(code="leave", room=room)
    bob.ask(code="leave", room="b")
    ask_to_join(ann, "c")

    for ident in ids:
        ann.ask(code="forget", id=ident)
        ann.loop.turn()
        assert ann.take() == [{"code": "forgotten", "id": ident}]

    for room in "abc":
        ask_to_join(bob, room)
        assert contents(read(bob, room=room)) == []


@pytest.mark.parametrize("kept", ["memory"], indirect=True)
def test_where_one_spoke_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rooms in which a session spoke, so many are known; what it said elsewhere cannot be taken back."""
    monkeypatch.setattr("chatroom.hub.session.MAX_SPOKEN", 2)
    chat = FakeChat()
    ann, bob = chat.join("ann"), come(chat, "bob", "stamps")
    ids = []
    for room in ("a", "b", "a", "c", "d"):
        for client in (ann, bob):
            ask_to_join(client, room)
        speak(ann, "x", room=room)
        speak(ann, "in the lobby")
        ids.append(bob.take()[-2]["id"])

    answers = []
    for ident in ids:
        ann.ask(code="forget", id=ident)
        chat.loop.turn()
        answers.append(ann.take()[-1]["code"])

    assert answers == ["error", "error", "error", "forgotten", "forgotten"]


@pytest.mark.parametrize("who", ["bob", "ann again", "nobody"])
def test_only_one_s_own(who: str) -> None:
    """Of the same session, never by name; what was never said is answered alike."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), come(chat, "bob", "stamps")
    speak(ann, "x")
    ident = bob.take()[-1]["id"]
    asker = bob
    if who == "ann again":
        ann.ask(code="quit")
        chat.loop.turn()
        asker = chat.join("ann")
    elif who == "nobody":
        ident = "0" * 16
    asker.ask(code="forget", id=ident)
    chat.loop.turn()

    [error] = asker.take()
    assert (error["error"], error["message"]) == ("not_allowed", "you wrote no message with this id")
    assert contents(read(bob)) == ["x"]


def test_a_session_that_came_back_is_the_same() -> None:
    """It may take back what it wrote before."""
    chat = FakeChat()
    ann = chat.connect()
    ann.ask(code="hello", name="ann", features=["resume"])
    ann.ask(code="outgoing_broadcast", content="x", ref="1")
    chat.loop.turn()
    welcome, sent = ann.take()
    ann.transport.vanish(ConnectionResetError())
    chat.loop.turn()

    again = chat.connect()
    again.ask(code="hello", name="anna", features=["resume"], session=welcome["session"])
    again.ask(code="forget", id=sent["id"])
    chat.loop.turn()

    assert again.take()[-1] == {"code": "forgotten", "id": sent["id"]}


def test_what_it_costs() -> None:
    """A page counts as five requests, a search as twenty: a flood pays for them as such."""
    chat = FakeChat(message_burst=50, message_rate=1, slow_down_after=1, flood_timeout=100)
    ann = chat.join("ann", "192.0.2.7")
    for _ in range(12):
        ann.ask(code="history")
    chat.loop.turn()
    assert 9 <= len(ann.take()) <= 10
    eve = chat.join("eve", "192.0.2.8")
    for _ in range(12):
        eve.ask(code="history", find="x")
    chat.loop.turn()
    assert 2 <= len(eve.take()) <= 3
