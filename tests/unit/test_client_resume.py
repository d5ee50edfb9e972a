"""The client's way back, on a clock of its own: what it says, what it reads back, and what the program gets."""

import json
from typing import Any

import pytest

from chatroom.client import session as session_rules
from chatroom.client.calls import Call
from chatroom.client.core import PATIENCE, REST, WINDOW, Core
from chatroom.client.errors import OutcomeUnknown, Refused
from chatroom.client.gaps import MOST
from chatroom.client.inbox import Gap, Message, OwnMessage, Reconnected, Unconfirmed
from chatroom.client.resume import PAGE_WITHIN
from chatroom.client.session import Session
from chatroom.protocol.messages import ErrorReply, Incoming, IncomingBroadcast


class Chat:
    """A client over several connections, and the requests that each has sent."""

    def __init__(self, *rooms: str, resumes: bool = True) -> None:
        """Connect for the first time, to a lobby and rooms in which nothing has been said."""
        self.now = 1000.0
        self.session = Session(resumes=resumes)
        self.connect()
        for room in rooms:
            self.core.join(room)
            self.answer("join", code="joined", room=room)
        self.answer_all(code="history", messages=[], complete=True)

    def connect(
        self, name: str = "ann", *, session: str = "S", password: str | None = None, **fields: Any
    ) -> list[Message]:
        """Make a connection, to an account if there is a password; return what comes with the welcome."""
        self.core = Core(lambda: self.now, self.session)
        self.core.hello(name, password, is_return=self.session.can_continue)
        self.requests: list[dict[str, Any]] = []
        features = [*self.session.features, "resume"]
        if password is not None:
            fields["account"] = True
        return self.answer("hello", code="welcome", name=name, features=features, session=session, **fields)

    def sent(self) -> list[str]:
        """Take what is to be sent; return the codes of all requests that are not answered."""
        while (data := self.core.next()) is not None:
            self.requests.append(json.loads(data))
        return [request["code"] for request in self.requests]

    def answer(self, asked: str, **fields: Any) -> list[Message]:
        """Answer the oldest request of this kind; return what comes."""
        codes = self.sent()
        assert asked in codes, codes
        self.request = self.requests.pop(codes.index(asked))
        return self.hear(**fields, ref=self.request["ref"])

    def answer_all(self, **fields: Any) -> list[Message]:
        """Answer all requests for history alike; return what comes."""
        came: list[Message] = []
        while "history" in self.sent():
            came += self.answer("history", **fields)
        return came

    def hear(self, **fields: Any) -> list[Message]:
        return self.core.receive(json.dumps(fields).encode() + b"\n")

    def say(self, number: int, room: str | None = None) -> list[Message]:
        """Somebody says something in the lobby or a room."""
        fields = {} if room is None else {"room": room}
        return self.hear(code="incoming_broadcast", **old(number, **fields))

    def wake(self) -> list[Message]:
        at = self.core.wake_at()
        assert at is not None
        self.now = at
        return self.core.tick()


def ident(number: int) -> str:
    return f"{number:016x}"


def old(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": ident(number), "time": 1.5, "from": "bob", "content": str(number)} | fields


def own(number: int, **fields: Any) -> dict[str, Any]:
    return old(number, **fields) | {"from": "ann"}


def said(*numbers: int, room: str | None = None) -> list[Message]:
    """Return these messages as a program gets them."""
    fields = {} if room is None else {"room": room}
    return [IncomingBroadcast("bob", str(n), id=ident(n), time=1.5, **fields) for n in numbers]


def page(*numbers: int, complete: bool = False) -> dict[str, Any]:
    return {"code": "history", "messages": [old(number) for number in numbers], "complete": complete}


def test_return() -> None:
    """The client says which session it is, what it had last, and joins each room behind what it had of that."""
    chat = Chat("chess", "go")
    chat.core.who()
    ref = chat.session.last_ref
    chat.say(5)
    chat.say(7, "chess")
    chat.hear(code="incoming", **old(9))
    chat.core.lose("gone")

    assert chat.connect(recovered=True, rooms=["chess", "go"]) == [Reconnected("ann")]
    assert (chat.request["session"], chat.request["after"]) == ("S", ident(9))
    assert chat.session.last_ref == str(int(ref) + 1)  # the hello
    chat.core.send(None, "x", room="go")
    assert chat.sent() == ["join", "join"]
    assert chat.answer("join", code="joined", room="chess", recovered=True) == []
    assert (chat.request["room"], chat.request["after"]) == ("chess", ident(7))
    assert chat.say(8, "chess") == said(8, room="chess")
    assert "outgoing_broadcast" not in chat.sent()  # the server might not have us in the room yet
    chat.answer("join", code="joined", room="go")
    assert chat.request == {"code": "join", "room": "go", "ref": chat.request["ref"]}

    assert chat.sent() == ["history", "outgoing_broadcast"]
    assert chat.say(10) == said(10)


def test_what_came_before_the_first_message() -> None:
    """The newest message that was there at the first join tells what the client has missed."""
    chat = Chat()
    chat.core.join("chess")
    chat.answer("join", code="joined", room="chess")
    chat.answer("history", **page(3))
    assert chat.request == {"code": "history", "room": "chess", "limit": 1, "ref": chat.request["ref"]}
    chat.core.lose("gone")
    chat.connect(recovered=False)
    chat.answer_all(**page(complete=True))
    chat.answer("join", code="joined", room="chess", recovered=False)

    assert chat.request["after"] == ident(3)
    assert chat.answer("history", code="history", messages=[], complete=True) == []


def held_room(*, last: int = 5) -> Chat:
    """Return a client that is back, and reads back a room."""
    chat = Chat("chess")
    chat.say(last, "chess")
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.answer("join", code="joined", room="chess", recovered=False)
    return chat


def test_missed_messages_are_read_back() -> None:
    """They come in their place, once, and behind them what was said meanwhile; the lobby goes on."""
    chat = held_room()
    assert chat.say(11, "chess") == []
    assert chat.say(12) == said(12)
    assert chat.answer("history", **page(9, 10, 11)) == []
    assert (chat.request["room"], chat.request["limit"]) == ("chess", 200)
    assert chat.say(13, "chess") == []
    assert chat.answer("history", **page(4, 5, 7)) == said(7, 9, 10, 11, 13, room="chess")

    assert chat.request["before"] == ident(9)
    assert chat.say(14, "chess") == said(14, room="chess")
    assert "history" not in chat.sent()


@pytest.mark.parametrize("reply", [page(8, 9, complete=True), page(complete=True)])
def test_gap(reply: dict[str, Any]) -> None:
    """If what the client had last is not found again, a mark says that messages may be missing."""
    chat = held_room()
    chat.say(11, "chess")
    numbers = [int(old["content"]) for old in reply["messages"]]

    assert chat.answer("history", **reply) == [Gap("chess"), *said(*numbers, 11, room="chess")]
    assert chat.say(12, "chess") == said(12, room="chess")


def test_gap_behind_which_nothing_was_said() -> None:
    """What is there behind a gap is looked up anew, so that the next loss makes no other gap."""
    chat = held_room()
    assert chat.answer("history", **page(complete=True)) == [Gap("chess")]
    assert chat.answer("history", **page(complete=True)) == []
    assert chat.request["limit"] == 1
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.answer("join", code="joined", room="chess")

    assert "after" not in chat.request
    assert chat.answer("history", **page(20, 21, complete=True)) == said(20, 21, room="chess")


def test_return_before_it_was_looked_up_what_was_there() -> None:
    """Then messages may be missing, and none is taken for missed that was there before the client came."""
    chat = Chat()
    chat.core.join("chess")
    chat.answer("join", code="joined", room="chess")
    chat.core.lose("gone")
    chat.connect(recovered=True)
    assert chat.answer("join", code="joined", room="chess") == [Gap("chess")]
    chat.answer("history", **page(7))

    assert chat.request["limit"] == 1
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.answer("join", code="joined", room="chess", recovered=True)
    assert chat.request["after"] == ident(7)


def test_more_than_is_read_back() -> None:
    """A thousand messages are read back, the newest; a gap marks that there are more."""
    chat, came, first = held_room(), [], 5000
    while "history" in chat.sent():  # at most 150 fit into this server's pages
        count = min(150, chat.requests[0]["limit"])
        first -= count
        came += chat.answer("history", **page(*range(first, first + count)))

    assert came == [Gap("chess"), *said(*range(5000 - MOST, 5000), room="chess")]


def test_pages_that_lead_nowhere() -> None:
    """A server that gives the same page again is not asked for ever."""
    chat = held_room()
    assert chat.answer("history", **page(8, 9)) == []
    assert chat.answer("history", **page(8, 9)) == [Gap("chess"), *said(8, 9, room="chess")]


def test_lobby_and_direct_messages_are_read_back() -> None:
    """Both histories are merged; of direct messages those that were for this client, under either name."""
    chat = Chat()
    chat.say(3)
    chat.core.lose("gone")
    chat.connect("ann2", recovered=False)
    assert chat.hear(code="incoming", **old(20)) == []
    chat.answer("history", **page(3, 5, 9))
    assert chat.request == {"code": "history", "limit": 200, "ref": chat.request["ref"]}
    messages = [old(6, to="bob", **{"from": "ann"}), old(7, to="ann"), old(8, to="ann2"), old(20, to="ann2")]
    came = chat.answer("history", code="history", messages=messages, complete=True)

    assert chat.request["with"] == "*"
    assert [(type(one), one.content) for one in came if isinstance(one, Incoming | IncomingBroadcast)] == [
        (IncomingBroadcast, "5"),
        (Incoming, "7"),
        (Incoming, "8"),
        (IncomingBroadcast, "9"),
        (Incoming, "20"),
    ]
    assert len(came) == 5


def test_lost_session() -> None:
    """A server that does not know the session gives a new one: the lobby is read back, and has a gap."""
    chat = Chat()
    chat.hear(code="incoming", **old(2))
    chat.say(3)
    chat.core.lose("gone")
    chat.connect(session="T", recovered=False)
    came = chat.answer("history", **page(3, 5))

    assert came == [Gap(None), *said(5)]
    chat.core.lose("gone")
    chat.connect(session="T", recovered=False)
    assert (chat.request["session"], chat.request["after"]) == ("T", ident(5))
    chat.answer("history", **page(5, 6))
    assert chat.answer("history", **page(complete=True)) == said(
        6
    )  # of direct messages, the new session had none


def under_way(chat: Chat, *contents: str, confirm: bool = True, room: str | None = None) -> list[Call[Any]]:
    calls = [chat.core.send(None, content, confirm=confirm, room=room) for content in contents]
    chat.sent()
    return calls


def test_account_whose_session_has_ended() -> None:
    """What was said to an account alone is read back all the same, and what it said elsewhere."""
    chat = Chat()
    chat.connect(password="correct horse")
    chat.answer_all(code="history", messages=[], complete=True)
    chat.say(4)
    chat.hear(code="incoming", **old(5))
    chat.core.lose("gone")
    chat.connect(password="correct horse", session="T")
    assert chat.request["password"] == "correct horse"
    lobby = chat.answer("history", code="history", messages=[old(4), old(6), own(7)], complete=True)
    assert chat.request == {"code": "history", "limit": 200, "ref": chat.request["ref"]}
    direct = [old(5, to="ann"), own(8, to="bob"), old(9, to="ann"), own(10, to="ann")]
    came = lobby + chat.answer("history", code="history", messages=direct, complete=True)

    assert came == [
        *said(6),
        OwnMessage("ann", "7", None, None, ident(7), 1.5),
        OwnMessage("ann", "8", "bob", None, ident(8), 1.5),
        Incoming("bob", "9", id=ident(9), time=1.5),
        OwnMessage("ann", "10", "ann", None, ident(10), 1.5),  # or a bot would answer itself without end
    ]


def test_who_registers_after_a_change_of_name() -> None:
    """What a stranger says under the name that one had before is not one's own, live or read back."""
    chat = Chat()
    chat.hear(code="incoming_broadcast", **old(4))
    chat.core.lose("gone")
    chat.connect("bob", recovered=True)
    chat.core.lose("gone")
    chat.connect("ann", account=True)
    live = chat.hear(code="incoming_broadcast", **old(8))
    read = chat.answer("history", code="history", messages=[old(4), old(6), own(7)], complete=True)
    read += chat.answer("history", code="history", messages=[], complete=True)

    assert not live
    assert read == [
        *said(6),
        OwnMessage("ann", "7", None, None, ident(7), 1.5),
        *said(8),
    ]


@pytest.mark.parametrize("is_account", [False, True])
def test_register_whose_answer_is_lost(*, is_account: bool) -> None:
    """Whether the name is an account's is what the next welcome says."""
    chat = Chat()
    call = chat.core.register("correct horse")
    chat.sent()
    chat.core.lose("gone")
    assert call.error is not None
    chat.connect(recovered=True, account=is_account or None)

    came = chat.hear(code="incoming", **own(5, to="eve"))
    assert chat.session.is_account is is_account
    assert isinstance(came[0], OwnMessage) is is_account


def test_register_whose_answer_comes_late() -> None:
    """Nobody waits for it any longer, but the name is an account's from then on."""
    chat = Chat()
    call = chat.core.register("correct horse")
    chat.sent()
    chat.core.forget(call)
    chat.hear(code="registered", ref=call.ref)

    assert chat.session.is_account
    assert chat.hear(code="incoming", **own(5, to="eve")) == [
        OwnMessage("ann", "5", "eve", None, ident(5), 1.5)
    ]


def test_what_is_said_elsewhere_is_held_too() -> None:
    """Behind what is being read back, as all that comes; a message taken back is not handed on."""
    chat = Chat("chess")
    chat.connect(password="correct horse")
    chat.answer("join", code="joined", room="chess", recovered=True)
    chat.say(5)
    for number in 7, 8:
        assert not chat.hear(code="incoming_broadcast", **own(number))
    chat.hear(code="forgotten", id=ident(8))
    came = chat.answer_all(code="history", messages=[old(4)], complete=True)

    assert [message for message in came if isinstance(message, OwnMessage)] == [
        OwnMessage("ann", "7", None, None, ident(7), 1.5)
    ]


def test_messages_under_way_are_sent_again() -> None:
    """They have the same `ref`, come before new ones, and are not taken for messages of others."""
    chat = Chat("chess")
    chat.say(5, "chess")
    calls = under_way(chat, "a", "b", room="chess")
    refs = [request["ref"] for request in chat.requests]
    assert chat.core.lose("gone") == []
    chat.connect(recovered=True)
    chat.core.send(None, "c", room="chess")
    chat.answer("join", code="joined", room="chess", recovered=False)
    assert [request.get("content") for request in chat.requests] == []
    assert chat.sent() == ["outgoing_broadcast"] * 3  # and nothing is read back yet
    assert [request["ref"] for request in chat.requests][:2] == refs
    assert [request["content"] for request in chat.requests] == ["a", "b", "c"]
    for number in (6, 8, 10):
        chat.answer("outgoing_broadcast", code="sent", id=ident(number), time=1.5)
    came = chat.answer("history", **page(5, 6, 7, 8, 9, 10))

    assert [call.result().id for call in calls] == [ident(6), ident(8)]
    assert came == said(7, 9, room="chess")


def test_messages_under_way_at_a_lost_session() -> None:
    """It is not known whether they arrived, and they are not sent again."""
    chat = Chat()
    (call,), (other,) = under_way(chat, "a"), under_way(chat, "b", confirm=False)
    chat.core.lose("gone")
    came = chat.connect(session="T", recovered=False)

    assert came == [Reconnected("ann"), Unconfirmed(None, "b", str(other.ref))]
    with pytest.raises(OutcomeUnknown, match="does not know the session any longer"):
        call.result()
    assert "outgoing_broadcast" not in chat.sent()


def test_message_that_breaks_connections() -> None:
    """A message that several connections break behind is given up: it may be what the server dies of."""
    chat = Chat()
    (call,) = under_way(chat, "a", confirm=False)
    for _ in range(session_rules.ATTEMPTS - 1):
        assert chat.core.lose("gone") == []
        chat.connect(recovered=True)
        chat.sent()
        chat.core.tick()

    assert chat.core.lose("gone") == [Unconfirmed(None, "a", str(call.ref))]
    assert call.is_done


def test_message_that_was_not_sent_again_yet() -> None:
    """A connection that breaks before a message was sent again does not count, and loses nothing."""
    chat = Chat("chess")
    (call,) = under_way(chat, "a")
    for _ in range(2 * session_rules.ATTEMPTS):
        chat.core.lose("gone")
        chat.connect(recovered=True)
        assert chat.sent() == ["join"]
    chat.answer("join", code="joined", room="chess")
    chat.answer("outgoing_broadcast", code="sent", id=ident(5), time=1.5)

    assert call.result().id == ident(5)


def test_message_that_nobody_waits_for() -> None:
    """What was given up by its sender while there was no connection is not sent again."""
    chat = Chat()
    (call,) = under_way(chat, "a")
    chat.core.lose("gone")
    chat.core.forget(call)
    chat.connect(recovered=True)

    assert chat.sent() == []


def test_message_that_is_not_stored() -> None:
    """It is sent again with the same `ref` after a moment, for a minute; others go on meanwhile."""
    chat = Chat()
    (call,) = under_way(chat, "a")
    ref, begun = chat.requests[0]["ref"], chat.now
    failed = {"code": "error", "error": "not_stored", "message": "?", "temporary": True}
    while not call.is_done:
        assert chat.answer("outgoing_broadcast", **failed) == []
        assert chat.request["ref"] == ref
        chat.core.send(None, "b")
        assert chat.sent() == ["outgoing_broadcast"]
        chat.answer("outgoing_broadcast", code="sent", id=ident(5), time=1.5)
        while not (call.is_done or chat.sent()):
            chat.wake()
            chat.hear(code="pong")

    assert chat.now - begun == pytest.approx(PATIENCE, abs=2 * REST)
    with pytest.raises(Refused, match="not_stored"):
        call.result()


def test_many_messages_that_are_not_stored() -> None:
    """As many as may be under way are sent again; the others fail at once."""
    chat = Chat()
    calls = under_way(chat, *map(str, range(WINDOW + 1)))
    failed = {"code": "error", "error": "not_stored", "message": "?", "temporary": True}
    for _ in calls:
        chat.answer("outgoing_broadcast", **failed)

    assert [call.is_done for call in calls] == [False] * WINDOW + [True]


def test_connection_that_breaks_behind_what_is_not_stored() -> None:
    """It has been delivered: it is sent again over the next connection, with the same `ref`."""
    chat = Chat()
    (call,) = under_way(chat, "a")
    chat.answer("outgoing_broadcast", code="error", error="not_stored", message="?")
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.now += REST
    chat.answer("outgoing_broadcast", code="sent", id=ident(5), time=1.5)

    assert chat.request["ref"] == call.ref
    assert call.result().id == ident(5)


def test_too_much_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """When more is held than an inbox may have, it is handed on, behind the mark of a gap."""
    monkeypatch.setattr(session_rules, "MAX_MESSAGES", 3)
    chat = held_room()
    chat.sent()
    assert chat.say(7, "chess") == chat.say(8, "chess") == []
    assert chat.say(9, "chess") == [Gap("chess"), *said(7, 8, 9, room="chess")]

    assert chat.say(10, "chess") == said(10, room="chess")
    assert chat.answer("history", **page(4, 5, 6, 7)) == []


def test_what_was_held_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was held when the connection broke does not count over the next one."""
    monkeypatch.setattr(session_rules, "MAX_MESSAGES", 3)
    chat = held_room()
    assert chat.say(7, "chess") == chat.say(8, "chess") == []
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.answer("join", code="joined", room="chess", recovered=False)
    assert chat.say(7, "chess") == chat.say(8, "chess") == []

    assert chat.answer("history", **page(5, 6, 7)) == said(6, 7, 8, room="chess")


def test_page_that_does_not_come() -> None:
    """A server that does not answer is waited for so long; then what is held is handed on."""
    chat = held_room()
    chat.sent()
    chat.say(7, "chess")
    begun = chat.now
    came: list[Message] = []
    while not came:
        came = chat.wake()
        chat.hear(code="pong")

    assert chat.now - begun == PAGE_WITHIN
    assert came == [Gap("chess"), *said(7, room="chess")]


@pytest.mark.parametrize("error", ["not_in_room", "bad_request"])
def test_page_that_is_refused(error: str) -> None:
    """Then there is a gap."""
    chat = held_room()
    assert chat.answer("history", code="error", error=error, message="?") == [Gap("chess")]


def test_leaving_while_messages_are_held() -> None:
    """Whoever leaves the room, or quits, gets what is held."""
    chat = held_room()
    chat.core.leave("chess")
    chat.say(7, "chess")
    assert chat.answer("leave", code="left", room="chess") == [Gap("chess"), *said(7, room="chess")]
    assert chat.answer("history", **page(4, 5, 6)) == []

    chat = held_room()
    chat.say(7, "chess")
    assert chat.core.quit() == [Gap("chess"), *said(7, room="chess")]
    assert chat.sent()[-1] == "quit"


def test_quitting_while_rooms_are_joined() -> None:
    """What is to be said is said once the rooms are joined, and `quit` behind it."""
    chat = Chat("chess")
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.core.send(None, "x", room="chess")
    chat.core.quit()
    assert chat.sent() == ["join"]
    chat.answer("join", code="joined", room="chess")
    chat.answer("outgoing_broadcast", code="sent", id=ident(9), time=1.5)

    assert chat.sent() == ["quit"]


def test_end_while_messages_are_held() -> None:
    """If there will be no other connection, what is held is handed on, and what was under way reported."""
    chat = held_room()
    chat.answer("history", **page(4, 5))
    (call,) = under_way(chat, "a", confirm=False)
    chat.core.lose("gone")
    chat.connect(recovered=False)
    chat.say(9)
    chat.core.lose("gone")

    assert chat.session.end("gone") == [
        Unconfirmed(None, "a", str(call.ref)),
        Gap(None),
        *said(9),
        Gap("chess"),
    ]
    assert chat.session.end("gone") == []


def test_held_messages_and_another_loss() -> None:
    """What was held when the connection breaks again is not handed on twice."""
    chat = held_room()
    chat.say(7, "chess")
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.answer("join", code="joined", room="chess", recovered=True)

    assert chat.request["after"] == ident(5)
    assert chat.say(7, "chess") == said(7, room="chess")


def test_message_that_is_taken_back_while_it_is_held() -> None:
    """It is not handed on any longer."""
    chat = held_room()
    chat.say(8, "chess")
    chat.answer("history", **page(7, 8))
    chat.hear(code="forgotten", id=ident(7))
    chat.hear(code="forgotten", id=ident(8))

    assert chat.answer("history", **page(4, 5, 6)) == said(6, room="chess")


def test_room_that_is_made_anew() -> None:
    """A room that is spelled in another way after the return is the same one."""
    chat = Chat("chess")
    chat.say(5, "chess")
    chat.core.lose("gone")
    chat.connect(recovered=True)
    chat.answer("join", code="joined", room="Chess", recovered=False)
    chat.answer("history", **page(5, 6))
    assert chat.request["room"] == "Chess"
    chat.say(9, "Chess")
    chat.core.lose("gone")
    chat.connect(recovered=True)

    assert chat.sent() == ["join"]
    assert (chat.requests[0]["room"], chat.requests[0]["after"]) == ("Chess", ident(9))


def test_room_that_cannot_be_joined_again() -> None:
    """The program is told, and it is not tried again."""
    chat = Chat("chess")
    chat.core.lose("gone")
    chat.connect(recovered=True)
    came = chat.answer("join", code="error", error="not_allowed", message="there are too many rooms")
    chat.core.lose("gone")
    chat.connect(recovered=True)

    error = "chess: not_allowed: there are too many rooms"
    assert came == [Gap("chess"), ErrorReply(error="not_in_room", message=error)]
    assert chat.sent() == []


def test_server_without_rooms_at_the_return() -> None:
    """One that knows nothing of them is asked nothing; gaps mark what is not heard any longer."""
    chat = Chat("chess")
    (call,) = under_way(chat, "a")
    chat.core.lose("gone")
    chat.core = Core(lambda: chat.now, chat.session)
    chat.core.hello("ann", is_return=True)
    chat.requests.clear()

    assert chat.answer("hello", code="welcome") == [Reconnected("ann"), Gap(None), Gap("chess")]
    assert chat.sent() == []
    assert call.is_done


def test_client_that_does_not_come_back() -> None:
    """Without `reconnect` nothing is asked for that the program did not want."""
    chat = Chat("chess", resumes=False)
    assert chat.request == {"code": "join", "room": "chess", "ref": chat.request["ref"]}
    chat.say(5, "chess")

    assert chat.sent() == []
    assert "resume" not in chat.session.features
