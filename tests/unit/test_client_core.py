"""The client's core: requests to bytes, bytes to answers and messages."""

import json
from typing import Any

import pytest

from chatroom.client.core import Core
from chatroom.client.errors import ConnectionLost, NameTaken, Refused
from chatroom.protocol.messages import Error, Incoming, IncomingBroadcast


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def test_requests_are_the_brief_s() -> None:
    """To a server of the brief nothing is sent that it might not know; only confirmed messages carry a ref."""
    core = Core()

    sent = core.hello("ann")[0] + core.who()[0] + core.send_unconfirmed("bob", "x")
    sent += core.send_unconfirmed(None, "x") + core.quit() + core.send("bob", "x")[0]

    assert [json.loads(line) for line in sent.splitlines()] == [
        {"code": "hello", "name": "ann"},
        {"code": "who"},
        {"code": "outgoing", "to": "bob", "content": "x"},
        {"code": "outgoing_broadcast", "content": "x"},
        {"code": "quit"},
        {"code": "outgoing", "to": "bob", "content": "x", "ref": "1"},
    ]


def test_answers_find_their_calls() -> None:
    """Messages between a request and its answer are not swallowed, and answers are not mixed up."""
    core = Core()
    _, hello = core.hello("ann")
    _, who = core.who()
    _, first = core.send("bob", "1")
    _, second = core.send(None, "2")
    _, again = core.who()

    unasked = core.receive(
        lines(
            {"code": "welcome"},
            {"code": "incoming", "from": "bob", "content": "x"},
            {"code": "sent", "id": 7, "time": 1.5, "ref": "2"},
            {"code": "users", "users": ["ann"]},
            {"code": "incoming_broadcast", "from": "bob", "content": "y"},
            {"code": "error", "error": "unknown_user", "message": "?", "temporary": False, "ref": "1"},
            {"code": "users", "users": ["ann", "bob"]},
            {"code": "error", "error": "unknown_user", "message": "?", "temporary": False},
        )
    )

    assert hello.is_done
    assert who.result() == ["ann"]
    assert again.result() == ["ann", "bob"]
    assert second.result().id == 7
    with pytest.raises(Refused, match="unknown_user"):
        first.result()
    assert [type(message) for message in unasked] == [Incoming, IncomingBroadcast, Error]


def test_refused_name() -> None:
    """A taken name is an exception with the suggestion; another name may be tried."""
    core = Core()
    _, hello = core.hello("ann")
    core.receive(
        lines({"code": "error", "error": "name_taken", "message": "?", "temporary": True, "suggestion": "ann2"})
    )

    with pytest.raises(NameTaken) as caught:
        hello.result()

    assert (caught.value.code, caught.value.suggestion, caught.value.temporary) == ("name_taken", "ann2", True)
    _, hello = core.hello("ann2")
    core.receive(lines({"code": "welcome"}))
    assert hello.result() is None


def test_any_framing_and_unknown_codes() -> None:
    """A server that sends no line breaks is understood; messages of unknown kinds are passed over."""
    core = Core()
    _, who = core.who()
    data = (
        b'{"code":"news","x":[1]}{"code":"incoming","from":"a","content":"{"}{"code":"users","users":[],"x":1}'
    )

    unasked = [message for byte in data for message in core.receive(bytes([byte]))]

    assert [message.content for message in unasked if isinstance(message, Incoming)] == ["{"]
    assert len(unasked) == 1
    assert who.result() == []


def test_forgotten_calls() -> None:
    """The answer to a request that nobody waits for any longer is not taken for another's."""
    core = Core()
    for call in (core.hello("old")[1], core.who()[1], core.send("bob", "1")[1], core.send("bob", "2")[1]):
        core.forget(call)
    _, hello = core.hello("new")
    _, who = core.who()

    unasked = core.receive(
        lines(
            {"code": "error", "error": "unknown_user", "message": "late", "ref": "1"},
            {"code": "error", "error": "name_taken", "message": "old"},
            {"code": "users", "users": ["old"]},
            {"code": "sent", "id": 7, "time": 1.5, "ref": "2"},
            {"code": "welcome"},
            {"code": "users", "users": ["new"]},
        )
    )

    assert hello.is_done
    assert hello.result() is None
    assert who.result() == ["new"]
    assert [message.message for message in unasked if isinstance(message, Error)] == ["late"]
    assert not core._sending


def test_long_lists() -> None:
    """The names of a large room are more than a request may have, and come through."""
    core = Core()
    _, who = core.who()
    names = [f"somebody with a long name {number}" for number in range(10_000)]

    core.receive(lines({"code": "users", "users": names}))

    assert who.result() == names


def test_text_that_is_none() -> None:
    """A lone surrogate cannot be sent; the request is as if it had never been made."""
    core = Core()
    for request in (lambda: core.hello("\ud800"), lambda: core.send("bob", "\ud800")):
        with pytest.raises(UnicodeEncodeError):
            request()

    _, hello = core.hello("ann")
    core.receive(lines({"code": "welcome"}))
    assert hello.is_done
    assert not core._sending


def test_lost_connection() -> None:
    """All that waits for an answer fails when the connection ends, and so does what is asked later."""
    core = Core()
    calls = [core.hello("ann")[1], core.who()[1], core.send("bob", "x")[1]]

    core.lose("gone")

    for call in calls:
        with pytest.raises(ConnectionLost, match="gone"):
            call.result()  # type: ignore[attr-defined]
    for request in (core.who, core.quit, lambda: core.send(None, "x")):
        with pytest.raises(ConnectionLost, match="gone"):
            request()


def test_retry_after() -> None:
    """A refusal for the time being says for how long."""
    core = Core()
    _, call = core.send("bob", "x")
    refusal = {"code": "error", "error": "slow_down", "message": "?", "temporary": True, "ref": "1"}
    core.receive(lines(refusal | {"retry_after": 1.5}))

    with pytest.raises(Refused) as caught:
        call.result()

    assert (caught.value.temporary, caught.value.retry_after) == (True, 1.5)
