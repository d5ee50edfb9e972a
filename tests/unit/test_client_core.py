"""The client's core: requests to bytes, bytes to answers and messages, on a clock of its own."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chatroom.client import core as rules
from chatroom.client.calls import Call
from chatroom.client.core import Core
from chatroom.client.errors import ConnectionLost, NameTaken, NotAChatroom, OutcomeUnknown, Refused
from chatroom.client.inbox import Message, Reconnected, Unconfirmed
from chatroom.client.session import Session
from chatroom.protocol.messages import ErrorReply, Incoming, IncomingBroadcast

WELCOME = {"code": "welcome", "features": ["notices", "ping"]}


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def refusal(code: str, **fields: Any) -> dict[str, Any]:
    return {"code": "error", "error": code, "message": "?"} | fields


class Wired:
    """A core, its clock, and what it has sent."""

    def __init__(self, *, features: bool = False, known: bool = False) -> None:
        """`known`: its server has said that it knows more than the brief."""
        self.now = 1000.0
        self.session = Session()
        self.core = Core(lambda: self.now, self.session, wants_features=features)
        if known:
            self.core.hello("ann")
            self.sent()
            self.hear(WELCOME)

    def sent(self) -> list[dict[str, Any]]:
        """Return what may be sent, each as soon as the pace for a server of the brief allows it."""
        sent = []
        while (data := self.core.next()) is not None:
            assert data.count(b"\n") == 1
            sent.append(json.loads(data))
            if not self.core.knows_refs:
                self.now += rules.PACE
        return sent

    def hear(self, *messages: dict[str, Any]) -> list[Message]:
        return self.core.receive(lines(*messages))

    def wake(self) -> list[Message]:
        """Let time pass until the core wants to be woken; return what that brings."""
        at = self.core.wake_at()
        assert at is not None
        assert at > self.now
        self.now = at
        return self.core.tick()


def test_requests_are_the_brief_s() -> None:
    """To a server of the brief nothing is sent that it might not know, whatever is to be confirmed."""
    wired = Wired()
    core = wired.core
    core.hello("ann")
    sent = wired.sent()
    wired.hear({"code": "welcome"})
    core.who()
    sent += wired.sent()
    for to in ("bob", None):
        core.send(to, "x", confirm=False)
    core.send("bob", "x")
    core.quit()
    wired.hear({"code": "users", "users": []})
    sent += wired.sent()
    core.receive(lines({"code": "ping"}))
    assert wired.sent() == []  # nothing comes behind quit

    assert sent == [
        {"code": "hello", "name": "ann"},
        {"code": "who"},
        {"code": "outgoing", "to": "bob", "content": "x"},
        {"code": "outgoing_broadcast", "content": "x"},
        {"code": "outgoing", "to": "bob", "content": "x"},
        {"code": "quit"},
    ]


def test_more_than_the_brief() -> None:
    """Whoever wants more asks for it in `hello`; once it is granted, every request carries a ref."""
    wired = Wired(features=True)
    hello = wired.core.hello("ann")
    sent = wired.sent()
    wired.hear(WELCOME | {"ref": "1"})
    wired.core.who()
    wired.core.send(None, "x", confirm=False)
    sent += wired.sent()

    assert hello.result() is None
    assert sent == [
        {"code": "hello", "name": "ann", "features": ["notices", "ping", "stamps"], "ref": "1"},
        {"code": "who", "ref": "2"},
        {"code": "outgoing_broadcast", "content": "x", "ref": "3"},
    ]


def test_features_that_are_not_known() -> None:
    """A server that passes over what it does not know is spoken to as in the brief."""
    wired = Wired(features=True)
    hello = wired.core.hello("ann")
    wired.sent()
    wired.hear({"code": "welcome"})
    wired.core.who()
    wired.core.send(None, "x", confirm=False)

    assert hello.is_done
    assert wired.sent() == [{"code": "who"}, {"code": "outgoing_broadcast", "content": "x"}]
    assert wired.core.wake_at() is None


def test_answers_find_their_calls() -> None:
    """Messages between a request and its answer are not swallowed, and answers are not mixed up."""
    wired = Wired(known=True)
    who, first, second, again = (
        wired.core.who(),
        wired.core.send("bob", "1"),
        wired.core.send(None, "2"),
        wired.core.who(),
    )
    refs = [request["ref"] for request in wired.sent()]
    assert len(set(refs)) == 4

    unasked = wired.hear(
        {"code": "incoming", "from": "bob", "content": "x"},
        {"code": "sent", "id": "7", "time": 1.5, "ref": second.ref},
        {"code": "users", "users": ["second"], "ref": again.ref},
        {"code": "incoming_broadcast", "from": "bob", "content": "y"},
        refusal("unknown_user", ref=first.ref),
        {"code": "users", "users": ["first"], "ref": who.ref},
        refusal("unknown_user"),
    )

    assert who.result() == ["first"]
    assert again.result() == ["second"]
    assert second.result().id == "7"
    with pytest.raises(Refused, match="unknown_user"):
        first.result()
    assert [type(message) for message in unasked] == [Incoming, IncomingBroadcast, ErrorReply]


def test_answers_without_a_ref() -> None:
    """Without refs one question is asked at a time; a refused one does not shift the answers of the others."""
    wired = Wired()
    calls = [wired.core.who() for _ in range(3)]
    assert wired.sent() == [{"code": "who"}]
    wired.hear(refusal("hello_first"))
    assert wired.sent() == [{"code": "who"}]

    unasked = wired.hear(refusal("unknown_user"), {"code": "users", "users": ["2"]})
    assert wired.sent() == [{"code": "who"}]
    wired.hear({"code": "users", "users": ["3"]})

    with pytest.raises(Refused, match="hello_first"):
        calls[0].result()
    assert [call.result() for call in calls[1:]] == [["2"], ["3"]]
    assert len(unasked) == 1  # of a message: it was no answer to who


def test_error_of_another() -> None:
    """An error without a ref is no answer to a `hello` with one; if none comes, it says why."""
    wired = Wired(features=True)
    hello = wired.core.hello("ann")
    wired.sent()
    assert wired.hear(refusal("server_full", message="the proxy is busy")) == []
    assert not hello.is_done

    wired.core.lose("gone")

    with pytest.raises(ConnectionLost, match=r"gone \(the proxy is busy\)"):
        hello.result()


def test_refused_name() -> None:
    """A taken name is an exception with the suggestion; another name may be tried."""
    wired = Wired()
    hello = wired.core.hello("ann")
    wired.sent()
    wired.hear(refusal("name_taken", temporary=True, suggestion="ann2"))

    with pytest.raises(NameTaken) as caught:
        hello.result()

    assert (caught.value.code, caught.value.suggestion, caught.value.temporary) == ("name_taken", "ann2", True)
    hello = wired.core.hello("ann2", is_return=True)
    wired.sent()
    assert wired.hear({"code": "welcome"}) == [Reconnected("ann2")]
    assert hello.result() is None


@pytest.mark.parametrize(
    "extra",
    [
        {"server": {"v": 1}},
        {"features": "none"},
        {"features": [1]},
        {"limits": {"a": "b"}},
        {"limits": None},
        {"name": None},
        {"ref": 7},
        {"ref": None, "features": None, "name": []},
    ],
)
def test_extra_fields_of_another_type(extra: dict[str, Any]) -> None:
    """What is optional and of another type is as if it were not there: the server is one of the brief."""
    wired = Wired()
    hello = wired.core.hello("ann")
    wired.sent()
    wired.hear({"code": "welcome"} | extra)
    who = wired.core.who()
    assert wired.sent() == [{"code": "who"}]
    unasked = wired.hear(
        {"code": "users", "users": ["bob"], "ref": extra.get("ref")},
        {"code": "incoming", "from": "bob", "content": "1", "ref": None},
        {"ref": {}, "content": "2", "from": "bob", "code": "incoming_broadcast", "x": {"ref": 1}},
    )

    assert hello.result() is None
    assert who.result() == ["bob"]
    assert unasked == [Incoming("bob", "1"), IncomingBroadcast("bob", "2")]


def test_extra_fields_of_another_type_in_an_error() -> None:
    """So it is in a refusal: the name is taken, whatever else is said of it."""
    wired = Wired()
    hello = wired.core.hello("ann")
    wired.sent()
    wired.hear(refusal("name_taken", suggestion=None, temporary="perhaps", retry_after="soon", ref=None))

    with pytest.raises(NameTaken) as caught:
        hello.result()
    assert (caught.value.suggestion, caught.value.temporary, caught.value.retry_after) == (None, False, None)


@pytest.mark.parametrize(
    ("reply", "words", "code"),
    [
        ({"code": "error", "message": "name taken"}, "name taken", "error"),
        ({"code": "error", "error": "name taken"}, "name taken", "name taken"),
        ({"code": "error", "error": 404, "message": "no such user"}, "no such user", "error"),
        ({"code": "error", "message": "", "reason": "no"}, "no", "error"),
        ({"code": "error", "message": None}, "error", "error"),
        ({"code": "name_in_use", "reason": "choose another"}, "choose another", "name_in_use"),
        ({"error": "choose another"}, "choose another", "choose another"),
        ({"code": 409, "message": "choose another"}, "choose another", "error"),
    ],
)
def test_refusals_of_other_servers(reply: dict[str, Any], words: str, code: str) -> None:
    """A refusal of another server's making refuses `hello`, and shows in the chat, in its own words."""
    wired = Wired()
    hello = wired.core.hello("ann")
    wired.sent()
    assert wired.hear(reply) == []
    if not hello.is_done:
        assert wired.core.wake_at() == wired.now + rules.DOUBT
        wired.wake()
    with pytest.raises(Refused) as caught:
        hello.result()
    wired.core.hello("ann2")
    wired.sent()
    wired.hear({"code": "welcome"})

    assert (caught.value.message, caught.value.code) == (words, code)
    assert wired.hear(reply) == [ErrorReply(error=code, message=words)]


def test_question_refused_by_another_server() -> None:
    """An error refuses `who`; what is of an unknown kind is neither its answer nor its refusal."""
    wired = Wired()
    wired.core.hello("ann")
    wired.sent()
    wired.hear({"code": "welcome"})
    first, second = wired.core.who(), wired.core.who()
    wired.sent()
    wired.hear({"code": "error", "reason": "not now"})
    wired.sent()
    assert len(wired.hear({"code": "notice", "message": "bob is here"})) == 1
    wired.hear({"code": "users", "users": ["bob"]})

    with pytest.raises(Refused, match="not now"):
        first.result()
    assert second.result() == ["bob"]


def test_unknown_kinds_of_our_server() -> None:
    """What a server of ours may say one day harms nothing and is no error."""
    wired = Wired(known=True)
    hello, who = wired.core.hello("ann2"), wired.core.who()
    wired.sent()

    assert (
        wired.hear({"code": "weather", "reason": "quit"}, {"code": "news", "message": "x", "ref": who.ref})
        == []
    )
    wired.now += rules.DOUBT
    wired.core.tick()
    assert not hello.is_done
    assert not who.is_done


def test_greeting_of_another_server() -> None:
    """A server may greet before it answers `hello`; that is no refusal of it."""
    for features in (False, True):
        wired = Wired(features=features)
        assert wired.hear({"code": "motd", "message": "be kind"}) == []
        hello = wired.core.hello("ann")
        wired.sent()
        assert wired.hear({"code": "motd", "message": "be kind"}, {"code": "welcome"}) == []
        wired.now += rules.DOUBT
        wired.core.tick()

        assert hello.is_done
        assert hello.result() is None


@pytest.mark.parametrize("reply", [{"code": "error", "message": "what?"}, {"code": "what", "reason": "what?"}])
def test_refusal_of_a_hello_that_wants_more(reply: dict[str, Any]) -> None:
    """It may be about the features: the client is to connect once more, and to ask as the brief has it."""
    wired = Wired(features=True)
    hello = wired.core.hello("ann")
    wired.sent()
    wired.hear(reply)
    wired.now += rules.DOUBT
    wired.core.tick()

    with pytest.raises(ConnectionLost, match="what"):
        hello.result()


def test_greeting_and_refusal() -> None:
    """Once `hello` is refused, what came before counts no longer, and is not held against the next one."""
    wired = Wired()
    wired.core.hello("ann")
    wired.sent()
    wired.hear({"code": "motd", "message": "be kind"}, refusal("name_taken"))
    hello = wired.core.hello("ann2")
    wired.sent()
    assert [type(one) for one in wired.hear(refusal("unknown_user"))] == [ErrorReply]  # of a message before
    wired.now += rules.DOUBT
    wired.core.tick()

    assert not hello.is_done


def test_refusal_and_end() -> None:
    """A server that refuses in its own way and hangs up has refused."""
    wired = Wired()
    hello = wired.core.hello("ann")
    wired.sent()
    wired.hear({"code": "name_taken"})
    wired.core.lose("gone")

    with pytest.raises(NameTaken):
        hello.result()


@pytest.mark.parametrize("data", [b"who?\n", b"{'code': 'users'}\n", b'{"code":7}\n', b'{"x":1}\n'])
@pytest.mark.parametrize("features", [False, True])
def test_replies_that_are_not_understood(data: bytes, *, features: bool) -> None:
    """What is no reply ends nothing, and is reported: once, since more is likely to come."""
    wired = Wired(features=features)
    wired.core.hello("ann")
    wired.sent()
    wired.hear(WELCOME if features else {"code": "welcome"})
    who = wired.core.who()
    wired.sent()

    reported = wired.core.receive(data) + wired.core.receive(data)

    assert [type(message) for message in reported] == [ErrorReply]
    assert "is not understood" in wired.core.odd
    assert not who.is_done
    wired.hear({"code": "users", "users": []})
    assert who.result() == []
    assert wired.core.odd == ""


@pytest.mark.parametrize("users", [None, "ann,bob", {"ann": 1}])
def test_list_of_users_that_is_none(users: object) -> None:
    """It is the answer, though one that says nothing: nobody waits for another."""
    wired = Wired()
    who = wired.core.who()
    wired.sent()
    assert wired.hear({"code": "users", "users": users}) == []

    with pytest.raises(Refused, match=r"its answer is not understood: \{"):
        who.result()


def test_texts_that_are_none() -> None:
    """A text of another type, or that is no Unicode, is shown as it came; what is no name is none."""
    wired = Wired()
    who = wired.core.who()
    wired.sent()
    unasked = wired.hear(
        {"code": "incoming", "from": 7, "content": 42},
        {"code": "incoming_broadcast", "from": "bob", "content": ["é", None]},
        {"code": "incoming_broadcast", "from": "b\ud83db", "content": "\ud83d"},
    )
    unasked += wired.core.receive(b'{"code":"incoming","from":"b\xe9a","content":"caf\xe9"}\n')
    wired.hear({"code": "users", "users": ["ann", 5, None, ["x"], "ann", "*"]})

    assert unasked == [
        Incoming("7", "42"),
        IncomingBroadcast("bob", '["é", null]'),
        IncomingBroadcast("b\ufffdb", "\ufffd"),
        Incoming("b\ufffda", "caf\ufffd"),
    ]
    assert who.result() == ["ann", "5", "ann", "*"]
    for message in unasked:
        wired.core.send("bob", message.content)  # type: ignore[union-attr]  # it can be sent back


@pytest.mark.parametrize(
    "answer",
    [
        {"code": "hello", "name": "ann"},
        {"code": "WELCOME"},
        {"status": "ok"},
        {"code": "outgoing", "message": "x"},
        "220 mail.example ESMTP\a",
        "HTTP/1.1 400 Bad Request\r\n\r\n<html>" + "x" * 1000,
    ],
)
def test_no_chatroom(answer: Any) -> None:
    """An answer that is neither welcome nor refusal comes from something else, and is shown."""
    for features in (False, True):
        wired = Wired(features=features)
        hello = wired.core.hello("ann")
        wired.sent()
        said = answer if isinstance(answer, str) else json.dumps(answer)
        wired.core.receive(said.encode() + b"\n")
        if not hello.is_done:
            wired.wake()

        with pytest.raises(NotAChatroom) as caught:
            hello.result()
        text = str(caught.value)
        assert text.startswith(f"this is no chatroom server: it answered {said.split()[0]}")
        assert text.isprintable()
        assert len(text) < 120


def test_banner() -> None:
    """What is no JSON before the welcome does no harm."""
    wired = Wired(features=True)
    assert wired.core.receive(b"Welcome to MyChat 1.0!\r\n") == []
    hello = wired.core.hello("ann")
    wired.sent()
    assert wired.core.receive(b'Say hello!\r\n{"code": "welcome"}') == []

    assert hello.is_done
    wired.now += rules.DOUBT
    assert wired.core.tick() == []
    assert hello.result() is None


def test_any_framing_and_unknown_codes() -> None:
    """A server that sends no line breaks is understood; messages of unknown kinds are passed over."""
    wired = Wired()
    who = wired.core.who()
    wired.sent()
    data = (
        b'{"code":"news","x":[1]}{"code":"incoming","from":"a","content":"{"}{"code":"users","users":[],"x":1}'
    )

    unasked = [message for byte in data for message in wired.core.receive(bytes([byte]))]

    assert [message.content for message in unasked if isinstance(message, Incoming)] == ["{"]
    assert len(unasked) == 1
    assert who.result() == []


def test_naive_server() -> None:
    """A server of the brief gets one message at a time, 20 ms apart, and `quit` last."""
    wired = Wired()
    core = wired.core
    core.receive(b"\n")  # though it sends line breaks, it may read one message a `recv()`
    core.hello("ann")
    core.quit()
    for number in range(3):
        core.send(None, str(number))
    begun, sent = wired.now, []
    while data := core.next():
        sent.append((wired.now - begun, json.loads(data)["code"]))
        assert core.next() is None
        wired.now = core.wake_at() or wired.now

    assert [code for _, code in sent] == ["hello", *["outgoing_broadcast"] * 3, "quit"]
    assert [when for when, _ in sent] == pytest.approx([0, 0.020, 0.040, 0.060, 0.080])


def test_confirmation_nobody_asked_for() -> None:
    """A server that confirms knows more than the brief: it gets the rest at full speed."""
    wired = Wired()
    for number in range(100):
        wired.core.send(None, str(number))
    assert wired.core.next() is not None
    assert wired.core.next() is None

    wired.hear({"code": "sent", "id": "1", "time": 1.5, "ref": "another's"})

    assert len(wired.sent()) == 99


def test_loss_to_a_server_of_the_brief() -> None:
    """What left within the last second before a loss is reported; behind `quit`, nothing is."""
    for quits in (False, True):
        wired = Wired()
        for content in ("old", "new", "newer"):
            wired.core.send(None, content, confirm=False)
            wired.now += 0.6
            wired.sent()
        if quits:
            wired.core.quit()
            wired.now += rules.PACE
            assert wired.sent() == [{"code": "quit"}]

        assert wired.core.lose("gone") == (
            [] if quits else [Unconfirmed(None, "new", "2"), Unconfirmed(None, "newer", "3")]
        )


def test_answer_to_a_later_question() -> None:
    """It shows that what left before the question arrived; what left behind it may have got lost."""
    wired = Wired()
    wired.core.send(None, "before")
    wired.sent()
    wired.core.who()
    wired.sent()
    wired.core.send(None, "behind")
    wired.sent()
    wired.hear({"code": "users", "users": []})

    assert wired.core.lose("gone") == [Unconfirmed(None, "behind", "3")]


def test_window() -> None:
    """Eight messages are under way, or 16 KiB; what has been confirmed makes room."""
    wired = Wired(known=True)
    calls = [wired.core.send(None, str(number), confirm=number % 2 > 0) for number in range(20)]
    assert [request["content"] for request in wired.sent()] == [str(number) for number in range(8)]

    wired.hear({"code": "sent", "id": "1", "time": 1.5, "ref": calls[3].ref}, refusal("x", ref=calls[0].ref))

    assert [request["content"] for request in wired.sent()] == ["8", "9"]
    assert calls[3].result().id == "1"


def test_window_of_large_messages() -> None:
    """One that is larger than the window goes alone; a question is not held up by it."""
    wired = Wired(known=True)
    sizes = [7000, 7000, 7000, 20_000, 1]
    calls = [wired.core.send(None, "x" * size) for size in sizes]
    sent = []
    for call in calls:
        sent.append([len(request["content"]) for request in wired.sent()])
        wired.hear({"code": "sent", "id": "1", "time": 1.5, "ref": call.ref})
    wired.core.send(None, "x" * 20_000)
    wired.core.send(None, "x")
    wired.core.who()

    assert sent == [[7000, 7000], [7000], [], [20_000], [1]]
    assert [request["code"] for request in wired.sent()] == ["who", "outgoing_broadcast"]


def test_slow_down() -> None:
    """What is refused with `slow_down` is sent again when the server says so, in order, before what is new."""
    wired = Wired(known=True)
    calls = [wired.core.send(None, str(number), confirm=number > 0) for number in range(3)]
    wired.sent()
    slow = [refusal("slow_down", temporary=True, retry_after=2.5, ref=call.ref) for call in calls]

    assert wired.hear(*slow) == []
    wired.core.send(None, "3")
    wired.core.who()
    assert wired.sent() == []
    begun = wired.now
    wired.wake()
    again = wired.sent()

    assert wired.now - begun == pytest.approx(2.5)
    assert [request.get("content") for request in again] == [None, "0", "1", "2", "3"]
    assert again[1]["ref"] == calls[0].ref
    assert not any(call.is_done for call in calls)


def test_slow_down_for_ever() -> None:
    """After a minute of it, the refusal is told; at once if the server asks for more than that."""
    wired = Wired(known=True)
    asked, left, hopeless = (
        wired.core.who(),
        wired.core.send(None, "x", confirm=False),
        wired.core.send(None, "y"),
    )
    wired.sent()
    wired.hear(refusal("slow_down", retry_after=61.0, ref=hopeless.ref))
    begun, unasked = wired.now, []
    while not (asked.is_done and left.is_done):
        unasked += wired.hear(*(refusal("slow_down", ref=call.ref) for call in (asked, left)))
        wired.now = max(wired.now, wired.core._resting_until)
        wired.sent()

    assert wired.now - begun == pytest.approx(60)
    for call in (asked, hopeless):
        with pytest.raises(Refused, match="slow_down"):
            call.result()
    assert [message.error for message in unasked if isinstance(message, ErrorReply)] == ["slow_down"]


def test_no_confirmation() -> None:
    """A message that nobody waits for and the server does not answer is reported, and its place is free."""
    wired = Wired(known=True)
    refs: list[str] = []
    for number in range(9):
        wired.core.send("bob" if number else None, str(number), confirm=False)
        refs.append(wired.session.last_ref)
    assert len(wired.sent()) == 8
    begun = wired.now
    reported: list[Message] = []
    while not reported:
        reported = wired.wake()
        wired.core.receive(b" ")  # it is there

    assert wired.now - begun == rules.ANSWERED_WITHIN
    assert reported == [
        Unconfirmed("bob" if number else None, str(number), refs[number]) for number in range(8)
    ]
    assert [request["content"] for request in wired.sent() if "content" in request] == ["8"]


def test_forgotten_calls() -> None:
    """The answer to a request that nobody waits for any longer is not taken for another's."""
    wired = Wired()
    core = wired.core

    def forgotten(call: Call[Any]) -> Call[Any]:
        wired.sent()
        core.forget(call)
        return call

    forgotten(core.hello("old"))
    first, second = forgotten(core.send("bob", "1")), forgotten(core.send("bob", "2"))
    hello = core.hello("new")
    assert wired.sent() == []
    wired.hear(refusal("name_taken", message="old"))
    wired.sent()
    unasked = wired.hear(
        refusal("unknown_user", message="late", ref=first.ref),
        {"code": "sent", "id": "7", "time": 1.5, "ref": second.ref},
        {"code": "welcome"},
    )
    forgotten(core.who())
    unsent = core.who()
    core.forget(unsent)
    who = core.who()
    wired.hear({"code": "users", "users": ["old"]})
    assert wired.sent() == [{"code": "who", "ref": who.ref} if who.ref else {"code": "who"}]
    wired.hear({"code": "users", "users": ["new"]})

    assert hello.is_done
    assert hello.result() is None
    assert who.result() == ["new"]
    assert [message.message for message in unasked if isinstance(message, ErrorReply)] == ["late"]


def test_question_that_is_never_answered() -> None:
    """It does not keep the others from being asked for ever."""
    wired = Wired()
    wired.core.forget(wired.core.who())
    lost = wired.core.who()
    assert wired.sent() == [{"code": "who"}]
    wired.core.forget(lost)
    wired.core.who()
    assert wired.sent() == []

    wired.now += rules.ANSWERED_WITHIN

    assert wired.sent() == [{"code": "who"}]


def test_long_lists() -> None:
    """The names of a large room are more than a request may have, and come through."""
    wired = Wired()
    who = wired.core.who()
    wired.sent()
    names = [f"somebody with a long name {number}" for number in range(10_000)]

    wired.hear({"code": "users", "users": names})

    assert who.result() == names


def test_text_that_is_none() -> None:
    """A lone surrogate cannot be sent; the request is as if it had never been made."""
    wired = Wired()
    for request in (lambda: wired.core.hello("\ud800"), lambda: wired.core.send("bob", "\ud800")):
        with pytest.raises(UnicodeEncodeError):
            request()

    assert wired.sent() == []


def test_silence() -> None:
    """After 15 s of silence the server is pinged; if that is not answered in 10 s, the connection is lost."""
    wired = Wired(known=True)
    begun = wired.now
    wired.wake()
    assert wired.now - begun == 15
    assert wired.sent() == [{"code": "ping"}]
    wired.hear({"code": "pong"})
    wired.wake()
    assert wired.sent() == [{"code": "ping"}]
    assert not wired.core.is_silent
    wired.wake()

    assert wired.core.is_silent
    assert wired.now - begun == 15 + 25


def test_silence_that_is_our_own() -> None:
    """While we do not read, a server is not held to be silent; when we read again, its time begins anew."""
    wired = Wired(known=True)
    wired.core.is_deaf = True
    assert wired.core.wake_at() is None
    wired.now += 100
    assert wired.core.tick() == []
    assert wired.sent() == []
    assert not wired.core.is_silent

    wired.core.hear_again()

    assert wired.core.wake_at() == wired.now + 15


def test_ping_of_the_server() -> None:
    """The server's ping is answered, at once and once."""
    wired = Wired(known=True)
    for number in range(20):
        wired.core.send(None, str(number))
    wired.sent()

    assert wired.hear({"code": "ping"}, {"code": "ping"}) == []
    assert wired.sent() == [{"code": "pong"}]


def test_lost_connection() -> None:
    """All that waits for an answer fails when the connection ends, and so does what is asked later."""
    wired = Wired(known=True)
    core = wired.core
    asked, sent, unconfirmed = core.who(), core.send("bob", "x"), core.send(None, "y", confirm=False)
    wired.sent()
    waiting = [core.send("bob", "z") for _ in range(8)]
    wired.sent()

    assert core.lose("gone") == [Unconfirmed(None, "y", unconfirmed.ref or "")]

    for call in (asked, sent, unconfirmed, *waiting):
        with pytest.raises(ConnectionLost, match="gone") as caught:
            call.result()  # type: ignore[attr-defined]
        may_have_arrived = call in (sent, unconfirmed, *waiting[:6])
        assert isinstance(caught.value, OutcomeUnknown) is may_have_arrived
    requests: list[Callable[[], Any]] = [core.who, lambda: core.send(None, "x")]
    for request in requests:
        with pytest.raises(ConnectionLost, match="gone"):
            request()


def test_last_word() -> None:
    """Whether to come back is kept."""
    wired = Wired(known=True)
    assert wired.hear({"code": "closing", "reason": "flood", "reconnect": False}) == []

    assert wired.core.closing
    assert (wired.core.closing.reason, wired.core.closing.reconnect) == ("flood", False)


def test_retry_after() -> None:
    """A refusal for the time being says for how long."""
    wired = Wired(features=True)
    hello = wired.core.hello("ann")
    wired.sent()
    wired.hear(refusal("slow_down", temporary=True, retry_after=1.5, ref=hello.ref))

    with pytest.raises(Refused) as caught:
        hello.result()

    assert (caught.value.temporary, caught.value.retry_after) == (True, 1.5)
