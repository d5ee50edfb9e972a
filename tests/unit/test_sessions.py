"""Sessions that outlive their connection, stamps and presence, through the TCP door, with a fake loop."""

from typing import Any

import pytest

from chatroom.hub.entries import Said, Told
from chatroom.hub.ports import Known
from chatroom.hub.waiting import MOST, PATIENCE
from fakes import FakeChat, FakeClient, FakeStore

pytestmark = [
    pytest.mark.usefixtures("kept"),
    pytest.mark.parametrize("kept", ["memory", "file"], indirect=True),
]

FOREVER = "0000000000000000"


def come(chat: FakeChat, name: str, *features: str, **extra: object) -> tuple[FakeClient, dict[str, Any]]:
    """Connect somebody with features; return it and its welcome."""
    client = chat.connect()
    client.ask(code="hello", name=name, features=features, **extra)
    chat.loop.turn()
    welcome, *client.rest = client.take()  # type: ignore[attr-defined]
    return client, welcome


def rest(client: FakeClient) -> list[dict[str, Any]]:
    """Return what came with its welcome."""
    found: list[dict[str, Any]] = client.rest  # type: ignore[attr-defined]
    return found


def drop(client: FakeClient) -> None:
    client.transport.vanish(ConnectionResetError())
    client.loop.turn()


def error_of(client: FakeClient) -> str:
    client.loop.turn()
    [reply] = client.take()
    return str(reply["error"])


def test_stamps() -> None:
    """`id` and `time` on what comes, in the lobby, in a room and to one alone; ids grow."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "stamps")
    assert welcome["features"] == ["stamps"]
    for client in (ann, bob):
        client.ask(code="join", room="a")
    chat.loop.turn()
    bob.take()

    ann.ask(code="outgoing_broadcast", content="1")
    ann.ask(code="outgoing", to="bob", content="2")
    ann.ask(code="outgoing_broadcast", content="3", room="a")
    chat.loop.turn()

    messages = bob.take()
    ids = [message.pop("id") for message in messages]
    times = [message.pop("time") for message in messages]
    assert messages == [
        {"code": "incoming_broadcast", "from": "ann", "content": "1"},
        {"code": "incoming", "from": "ann", "content": "2"},
        {"code": "incoming_broadcast", "from": "ann", "content": "3", "room": "a"},
    ]
    assert ids == sorted(set(ids))
    assert all(len(ident) == 16 and int(ident, 16) for ident in ids)
    assert times == [chat.loop.now] * 3


def test_a_burst_has_consecutive_ids() -> None:
    """Each of its messages is stamped as if it had come alone."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, _ = come(chat, "bob", "stamps")

    ann.send(b"".join(b'{"code":"outgoing_broadcast","content":"%d"}\n' % number for number in range(20)))
    chat.loop.turn()

    messages = bob.take()
    first = int(messages[0]["id"], 16)
    assert [int(message["id"], 16) - first for message in messages] == list(range(20))


def test_ids_grow_though_the_clock_goes_back() -> None:
    """`time` is the clock's; an id is more than all before it."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, _ = come(chat, "bob", "stamps")

    for now in (2000.0, 1500.0, 1500.0):
        chat.loop.now = now
        ann.ask(code="outgoing_broadcast", content="x")
        chat.loop.turn()

    messages = bob.take()
    assert [message["time"] for message in messages] == [2000.0, 1500.0, 1500.0]
    ids = [message["id"] for message in messages]
    assert ids == sorted(set(ids))


def test_coming_back() -> None:
    """The session's secret gives the name, and what was missed of lobby and direct messages, in their order."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    assert welcome["features"] == ["resume", "stamps"]
    assert "recovered" not in welcome
    ann.ask(code="outgoing_broadcast", content="1")
    chat.loop.turn()
    [first] = bob.take()
    drop(bob)

    ann.ask(code="outgoing_broadcast", content="2")
    ann.ask(code="outgoing", to="bob", content="3")
    ann.ask(code="outgoing_broadcast", content="4")
    chat.loop.turn()
    assert ann.take() == []
    again, back = come(chat, "bob", "resume", session=welcome["session"], after=first["id"])

    assert back["session"] == welcome["session"]
    assert (back["recovered"], back["rooms"], back["name"]) == (True, [], "bob")
    assert [(message["code"], message["content"]) for message in rest(again)] == [
        ("incoming_broadcast", "2"),
        ("incoming", "3"),
        ("incoming_broadcast", "4"),
    ]


def test_what_is_said_in_the_same_turn() -> None:
    """What waits to be handed out when somebody comes back is missed by nobody and comes twice to nobody."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    ann.ask(code="outgoing_broadcast", content="0")
    chat.loop.turn()
    [first] = bob.take()
    drop(bob)

    ann.ask(code="outgoing_broadcast", content="1")
    again = chat.connect()
    again.ask(code="hello", name="bob", features=["resume"], session=welcome["session"], after=first["id"])
    ann.ask(code="outgoing_broadcast", content="2")
    chat.loop.turn()

    assert [message.get("content") for message in again.take()] == [None, "1", "2"]


def test_coming_back_to_rooms() -> None:
    """`welcome` names them; one is in them again by one's own `join`, behind the last message one has."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    for client in (ann, bob):
        client.ask(code="join", room="Chess")
    ann.ask(code="outgoing_broadcast", room="chess", content="1")
    chat.loop.turn()
    last = bob.take()[-1]["id"]
    drop(bob)
    ann.ask(code="outgoing_broadcast", room="chess", content="2")
    chat.loop.turn()

    again, back = come(chat, "bob", "resume", session=welcome["session"])
    assert (back["recovered"], back["rooms"]) == (False, ["Chess"])
    again.ask(code="join", room="chess", after=last)
    ann.ask(code="outgoing_broadcast", room="chess", content="3")
    chat.loop.turn()

    joined, *messages = again.take()
    assert joined == {"code": "joined", "room": "Chess", "recovered": True}
    assert [message["content"] for message in messages] == ["2", "3"]


def test_without_a_connection() -> None:
    """It is not in `who`, its name goes to whoever asks, and it may come back under another."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    drop(bob)
    ann.ask(code="who")
    chat.loop.turn()
    assert ann.take() == [{"code": "users", "users": ["ann"]}]

    chat.join("Bob")
    bob, taken = come(chat, "bob", "resume", session=welcome["session"])
    assert taken["error"] == "name_taken"
    bob.ask(code="hello", name="robert", features=["resume"], session=welcome["session"])
    chat.loop.turn()

    [back] = bob.take()
    assert (back["name"], back["session"]) == ("robert", welcome["session"])


def test_messages_to_who_is_away() -> None:
    """They are kept until somebody has taken the name; then it is another's, and the first never gets those."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    ann.ask(code="outgoing_broadcast", content="0")
    chat.loop.turn()
    last = bob.take()[-1]["id"]
    drop(bob)
    ann.ask(code="outgoing", to="BOB", content="for the first", ref="1")
    chat.loop.turn()
    assert ann.take()[0]["code"] == "sent"

    second, _ = come(chat, "bob", "resume")
    ann.ask(code="outgoing", to="bob", content="for the second")
    chat.loop.turn()
    assert [message["content"] for message in second.take()] == ["for the second"]
    second.ask(code="history", **{"with": "*"})
    chat.loop.turn()
    [page] = second.take()
    assert [message["content"] for message in page["messages"]] == ["for the second"]
    second.ask(code="quit")
    chat.loop.turn()
    ann.ask(code="outgoing", to="bob", content="for nobody")
    assert error_of(ann) == "unknown_user"

    again, back = come(chat, "bob", "resume", session=welcome["session"], after=last)
    assert back["recovered"]
    assert [message["content"] for message in rest(again)] == ["for the first"]


def test_base_clients_have_no_past() -> None:
    """Messages between two who cannot come back are kept for nobody."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    ann.ask(code="outgoing", to="bob", content="x")
    chat.loop.turn()
    assert len(chat.hub.house.past.direct) == 0
    drop(bob)
    ann.ask(code="outgoing", to="bob", content="x")
    assert error_of(ann) == "unknown_user"


@pytest.mark.parametrize("way", ["quit", "time"])
def test_the_end_of_a_session(way: str) -> None:
    """`quit` ends it, and so does a minute without a connection; its secret is then as good as none."""
    chat = FakeChat()
    bob, welcome = come(chat, "bob", "resume")
    if way == "quit":
        bob.ask(code="quit")
        chat.loop.turn()
    else:
        drop(bob)
        chat.loop.pass_time(PATIENCE - 1)
        assert len(chat.hub.house.sessions) == 1
        chat.loop.pass_time(2)
    assert chat.hub.house.sessions == {}
    assert chat.hub.house.secrets == {}
    assert chat.hub.house.away == {}

    _, back = come(chat, "bob", "resume", session=welcome["session"], after=FOREVER)

    assert back["session"] != welcome["session"]
    assert (back["recovered"], back["rooms"]) == (False, [])


def test_sessions_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many, the one that has waited longest ends."""
    assert MOST == 10_000
    monkeypatch.setattr("chatroom.hub.waiting.MOST", 3)
    chat = FakeChat()
    for number in range(5):
        client, _ = come(chat, f"n{number}", "resume")
        drop(client)

    assert [session.name for session in chat.hub.house.sessions.values()] == ["n2", "n3", "n4"]


def test_a_connection_is_replaced() -> None:
    """Who comes back while the old connection still stands takes its place; nothing is lost or doubled."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume", "notices")
    ann.ask(code="outgoing_broadcast", content="1")
    chat.loop.turn()
    last = bob.take()[-1]["id"]
    ann.ask(code="outgoing_broadcast", content="2")

    again, back = come(chat, "bob", "resume", session=welcome["session"], after=last)

    assert back["recovered"]
    assert [message["content"] for message in rest(again)] == ["2"]
    assert [message["code"] for message in bob.take()] == ["incoming_broadcast", "closing"]
    assert bob.transport.eof_written
    ann.ask(code="outgoing_broadcast", content="3")
    ann.ask(code="who")
    chat.loop.turn()
    assert [message["content"] for message in again.take()] == ["3"]
    assert bob.take() == []
    assert ann.take() == [{"code": "users", "users": ["ann", "bob"]}]
    bob.transport.vanish(None)
    chat.loop.turn()
    ann.ask(code="outgoing", to="bob", content="still here")
    chat.loop.turn()
    assert [message["content"] for message in again.take()] == ["still here"]


def test_closing_of_who_is_replaced() -> None:
    """`closing` says so, and that nobody should come back on it."""
    chat = FakeChat()
    bob, welcome = come(chat, "bob", "resume", "notices")
    come(chat, "bob", "resume", session=welcome["session"])
    assert bob.take() == [{"code": "closing", "reason": "replaced", "reconnect": False}]


@pytest.mark.parametrize("after", ["", "x", "g" * 16, "F" * 16, "f" * 16, FOREVER, "１" * 16])
def test_ids_that_are_none(after: str) -> None:
    """An `after` that was never given out, or is too old, is no error: nothing is replayed."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    drop(bob)
    ann.ask(code="outgoing_broadcast", content="1")
    chat.loop.turn()

    again, back = come(chat, "bob", "resume", session=welcome["session"], after=after)

    assert not back["recovered"]
    assert rest(again) == []


@pytest.mark.parametrize(("count", "size"), [(1001, 1), (60, 10_000)])
def test_too_much_is_not_replayed(count: int, size: int) -> None:
    """Beyond 1,000 messages or 512 KiB the reader asks for the history instead."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    ann.ask(code="outgoing_broadcast", content="first")
    chat.loop.turn()
    last = bob.take()[-1]["id"]
    drop(bob)
    for _ in range(count):
        ann.ask(code="outgoing_broadcast", content="x" * size)
        chat.loop.turn()

    again, back = come(chat, "bob", "resume", session=welcome["session"], after=last)

    assert not back["recovered"]
    assert rest(again) == []


def test_refs_of_a_session() -> None:
    """A retry behind a new connection of the same session is answered, and not delivered twice."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume")
    bob.ask(code="outgoing_broadcast", content="x", ref="r")
    chat.loop.turn()
    [first] = bob.take()
    drop(bob)
    again, _ = come(chat, "bob", "resume", session=welcome["session"])

    again.ask(code="outgoing_broadcast", content="x", ref="r")
    chat.loop.turn()

    assert again.take() == [first]
    assert [message["content"] for message in ann.take()] == ["x"]


@pytest.mark.parametrize("place", ["a room", "somebody who goes", "somebody who comes back"])
def test_a_retry_that_could_not_be_sent_now(place: str) -> None:
    """It is answered by its `ref` alone, though the room is not joined again yet, or the receiver has gone."""
    chat = FakeChat()
    ann, welcome = come(chat, "ann", "resume")
    bob = come(chat, "bob", "resume")[0] if place == "somebody who comes back" else chat.join("bob")
    for client in (ann, bob):
        client.ask(code="join", room="A b")
    first = {"code": "outgoing", "to": "BOB", "content": "x", "ref": "r"}
    if place == "a room":
        first = {"code": "outgoing_broadcast", "room": "a  B", "content": "x", "ref": "r"}
    ann.ask(**first)
    chat.loop.turn()
    sent = ann.take()[-1]
    assert sent["code"] == "sent"
    drop(ann)
    drop(bob)
    if place == "somebody who comes back":
        chat.join("bob").ask(code="quit")
        chat.loop.turn()
    ann, _ = come(chat, "ann", "resume", session=welcome["session"])

    ann.ask(**first)
    ann.ask(**(first | {"ref": "another"}))
    chat.loop.turn()

    again, refused = ann.take()
    assert again == sent
    assert refused["error"] == ("not_in_room" if place == "a room" else "unknown_user")


def test_presence() -> None:
    """Who came and went, once a second, behind what was said; who did both is not mentioned, nor is oneself."""
    chat = FakeChat()
    bob, _ = come(chat, "bob", "presence")
    ann = chat.join("ann")
    eve = chat.join("eve")
    ann.ask(code="outgoing_broadcast", content="hello")
    eve.ask(code="quit")
    chat.loop.pass_time(1.1)

    assert bob.take() == [
        {"code": "incoming_broadcast", "from": "ann", "content": "hello"},
        {"code": "presence", "joined": ["ann"], "left": []},
    ]
    drop(ann)
    chat.loop.pass_time(0.5)
    assert bob.take() == []
    chat.loop.pass_time(1)
    assert bob.take() == [{"code": "presence", "joined": [], "left": ["ann"]}]


def test_presence_in_a_room() -> None:
    """Of each room by itself, to its members alone."""
    chat = FakeChat()
    bob, _ = come(chat, "bob", "presence")
    eve, _ = come(chat, "eve", "presence")
    ann = chat.join("ann")
    for client in (bob, ann):
        client.ask(code="join", room="a")
    chat.loop.pass_time(1.1)

    assert {"code": "presence", "room": "a", "joined": ["ann"], "left": []} in bob.take()
    assert all("room" not in message for message in eve.take())


def test_presence_in_a_crowd() -> None:
    """Above 500 members, only how many there are."""
    chat = FakeChat(max_per_address=1000, rate_per_address=1000)
    bob, _ = come(chat, "bob", "presence")
    for number in range(500):
        chat.join(f"n{number}")
    chat.loop.pass_time(1.1)

    assert bob.take() == [{"code": "presence", "users": 501}]


def test_presence_when_many_have_gone() -> None:
    """More changes than a crowd has people are told as a number too, however few are left."""
    chat = FakeChat(max_per_address=1000, rate_per_address=1000)
    bob, _ = come(chat, "bob", "presence")
    chat.loop.pass_time(1.1)
    for number in range(501):
        chat.join(f"n{number}").ask(code="quit")
    for name in ("ann", "eve"):
        chat.join(name)
    chat.loop.pass_time(1.1)

    assert bob.take() == [{"code": "presence", "users": 3}]


def test_presence_of_all_who_watch() -> None:
    """Each is told of all the others, not of itself, however the names are spelled."""
    chat = FakeChat()
    spelled = ["joined", "left", "],", '"', ',"', "\\", "\\u00e9", "\u00e9", "a b", "[]", "rest", "est"]
    people = {name: chat.connect() for name in spelled}
    eve, _ = come(chat, "eve", "presence")
    for name, client in people.items():
        client.ask(code="hello", name=name, features=["presence"])
    come(chat, "bob")
    for client in people.values():
        client.take()
    chat.loop.pass_time(1.1)

    for name, client in people.items():
        notices = [message for message in client.take() if message["code"] == "presence"]
        others = [other for other in spelled if other != name]
        assert notices == [{"code": "presence", "joined": [*others, "bob"], "left": []}], name
    assert eve.take() == [{"code": "presence", "joined": [*spelled, "bob"], "left": []}]


def test_base_clients_are_told_nothing_of_it() -> None:
    """Who asks for nothing gets what it gets today, byte for byte, whatever the others ask for."""
    chat = FakeChat()
    ann = chat.join("ann")
    bob, welcome = come(chat, "bob", "resume", "presence", "notices", "stamps")
    bob.ask(code="join", room="a")
    bob.ask(code="outgoing_broadcast", content="x", ref="1")
    bob.ask(code="outgoing_broadcast", content="secret", room="a")
    chat.loop.pass_time(2)
    bob.ask(code="forget", id=bob.take()[-1]["id"])
    drop(bob)
    come(chat, "bob", "resume", session=welcome["session"])
    chat.loop.pass_time(2)

    assert b"".join(ann.transport.segments) == (b'{"code":"incoming_broadcast","from":"bob","content":"x"}\n')


def test_presence_for_who_came_meanwhile() -> None:
    """Who comes within the second sees whoever came before: it is told that they left, and nobody else is."""
    chat = FakeChat()
    eve, _ = come(chat, "eve", "presence")
    chat.loop.pass_time(2)
    ann = chat.join("ann")
    bob, _ = come(chat, "bob", "presence")
    drop(ann)
    chat.loop.pass_time(2)

    assert bob.take() == [{"code": "presence", "joined": [], "left": ["ann"]}]
    assert eve.take() == [{"code": "presence", "joined": ["bob"], "left": []}]


def test_presence_while_nobody_watches() -> None:
    """What happens within the second counts though for a moment nobody watches."""
    chat = FakeChat()
    eve, _ = come(chat, "eve", "presence")
    ann = chat.join("ann")
    drop(eve)
    drop(ann)
    bob, _ = come(chat, "bob", "presence")
    chat.loop.pass_time(2)

    assert all("ann" not in notice["joined"] for notice in bob.take())


def test_who_flaps_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that comes and goes takes the place of one among those that are waited for."""
    monkeypatch.setattr("chatroom.hub.waiting.MOST", 3)
    chat = FakeChat()
    ann, welcome = come(chat, "ann", "resume")
    drop(ann)
    bob, flapping = come(chat, "bob", "resume")
    for _ in range(10):
        drop(bob)
        bob, _ = come(chat, "bob", "resume", session=flapping["session"])

    _, back = come(chat, "ann", "resume", session=welcome["session"])
    assert back["session"] == welcome["session"]


def test_too_many_sessions_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more sessions than are waited for, those that the store names first have ended."""
    monkeypatch.setattr("chatroom.hub.waiting.MOST", 2)
    store = FakeStore()
    store.known = {number: Known(number, bytes([number]), f"ann{number}", ()) for number in range(1, 6)}
    chat = FakeChat(store=store)

    assert [*chat.hub.house.sessions] == [4, 5]


@pytest.mark.parametrize("place", [{}, {"room": "a"}, {"to": "ann"}])
@pytest.mark.parametrize("is_taken_back", [False, True])
def test_a_retry_stores_what_was_delivered(place: dict[str, str], *, is_taken_back: bool) -> None:
    """Whatever else it says; and no text that was taken back."""
    store = FakeStore()
    chat = FakeChat(store=store)
    ann, _ = come(chat, "ann", "resume")
    for room in "ab":
        ann.ask(code="join", room=room)
    code = "outgoing" if "to" in place else "outgoing_broadcast"
    ann.ask(code=code, content="what was said", ref="1", **place)
    chat.loop.turn()
    store.work(is_full=True)
    chat.loop.turn()
    assert ann.take()[-1]["error"] == "not_stored"
    [number] = [post.number for post in all_said(chat)]
    if is_taken_back:
        ann.ask(code="forget", id=f"{number:016x}")
        chat.loop.turn()

    ann.ask(code="outgoing_broadcast", content="what was not", ref="1", room="b")
    chat.loop.turn()
    store.work()
    chat.loop.turn()

    assert {answer["code"] for answer in ann.take()[-2:]} == (
        {"sent", "forgotten"} if is_taken_back else {"sent"}
    )
    [post] = all_said(store)
    assert (post.number, post.room if isinstance(post, Said) else post.to) == (
        number,
        place.get("room", "") if code == "outgoing_broadcast" else "ann",
    )
    assert [b"what was said" in line for _, line in post.lines()] == [True] * (not is_taken_back)


def test_a_retry_of_what_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be stored, and is in memory no more, is refused for good: nothing else takes its place."""
    monkeypatch.setattr("chatroom.hub.past.ROOM", 1)
    store = FakeStore()
    chat = FakeChat(store=store)
    ann, _ = come(chat, "ann", "resume")
    ann.ask(code="outgoing_broadcast", content="1", ref="1")
    chat.loop.turn()
    store.work(is_full=True)
    ann.ask(code="outgoing_broadcast", content="2", ref="2")
    chat.loop.turn()
    store.work()
    chat.loop.turn()
    ann.take()

    ann.ask(code="outgoing_broadcast", content="1", ref="1")
    chat.loop.turn()
    [refused] = ann.take()

    assert (refused["error"], refused["temporary"]) == ("not_allowed", False)
    store.work()
    assert len(all_said(store)) == 1


def all_said(where: FakeChat | FakeStore) -> list[Said | Told]:
    """Return what is in memory, or on a disk."""
    past = where.past if isinstance(where, FakeStore) else where.hub.house.past
    return [*past.direct, *(post for line in past.rooms.values() for post in line)]


def test_closing_comes_last() -> None:
    """`closing` is the last line, behind what was just said in rooms and behind a `sent` that must wait."""
    store = FakeStore()
    chat = FakeChat(store=store)
    ann, bob = chat.join("ann"), come(chat, "bob", "notices")[0]
    for client in (ann, bob):
        client.ask(code="join", room="a")
    chat.loop.turn()
    bob.take()
    ann.ask(code="outgoing_broadcast", content="x", room="a")
    bob.ask(code="outgoing_broadcast", content="y", ref="1")
    chat.door.close()
    chat.loop.turn()
    assert [message["code"] for message in bob.take()] == ["incoming_broadcast"]

    store.work()
    chat.loop.turn()
    assert [message["code"] for message in bob.take()] == ["sent", "closing"]


def test_who_waits_for_the_disk_is_not_read() -> None:
    """Behind a request that takes time nothing is read, be the peer exempt from other limits or not."""
    store = FakeStore()
    chat = FakeChat(store=store)
    for host in ("127.0.0.1", "192.0.2.7"):
        ann = chat.join(f"ann at {host}", host)
        ann.ask(code="history")
        for _ in range(20):
            ann.send(b'{"code":"ping"}\n' * 1024)
        assert len(ann.connection._decoder.rest) <= 65536

        store.work()
        chat.loop.turn()
        assert ann.take()[0]["code"] == "history"


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.7"])
@pytest.mark.parametrize("more", ["", '{"code":"ping"}\n'])
def test_who_waits_for_the_disk_is_answered(host: str, more: str) -> None:
    """Who closes its side behind a request that takes time is answered; who breaks the connection is gone."""
    store = FakeStore()
    chat = FakeChat(store=store)
    ann, bob = chat.join("ann", host), chat.join("bob", host)
    for client in (ann, bob):
        client.send(b'{"code":"history"}\n' + more.encode())
    assert ann.connection.eof_received()
    bob.transport.vanish(ConnectionResetError())
    chat.loop.turn()
    assert chat.hub.users() == ["ann"] if not more else ["ann", "bob"]

    for _ in range(2):
        store.work()
        chat.loop.turn()

    assert [message["code"] for message in ann.take()] == ["history"] + ["pong"] * bool(more)
    assert ann.transport.is_gone
    assert chat.hub.users() == []


def test_notices_keep_their_place() -> None:
    """A client that sends no line breaks is told what was taken back, and who left, behind what they said."""
    chat = FakeChat()
    ann, spy = chat.join("ann"), come(chat, "spy", "stamps")[0]
    bob = chat.connect()
    bob.ask_bare(code="hello", name="bob", features=["stamps", "presence", "notices"])
    bob.ask_bare(code="ping")
    chat.loop.pass_time(2)
    bob.take()
    for number in range(20):
        ann.ask(code="outgoing_broadcast", content=str(number))
        chat.loop.turn()
    ann.ask(code="forget", id=spy.take()[-1]["id"])
    ann.ask(code="quit")
    chat.loop.pass_time(0.1)
    bob.ask_bare(code="who")
    chat.loop.pass_time(5)

    codes = [message["code"] for message in bob.take()]
    assert codes.index("users") < 20
    codes.remove("users")
    assert codes == ["incoming_broadcast"] * 20 + ["forgotten", "presence"]
