"""What waits to be received is bounded."""

import pytest

from chatroom.client import inbox
from chatroom.client.inbox import Disconnected, Inbox, Message, Reconnected, Unconfirmed
from chatroom.protocol.messages import ErrorReply, Incoming, IncomingBroadcast

LONG = "x" * 10


def test_full_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many messages, and it is full, until one is taken; all come out in order."""
    monkeypatch.setattr(inbox, "MAX_MESSAGES", 3)
    box = Inbox()
    box.put([Incoming("a", "1"), Incoming("a", "2")])
    assert not box.is_full

    box.put([ErrorReply("x", "3")])

    assert box.is_full
    assert box.take() == Incoming("a", "1")
    assert not box.is_full
    assert [box.take(), box.take()] == [Incoming("a", "2"), ErrorReply("x", "3")]
    assert not box


def test_full_by_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few long messages fill it as well, and make room when they are taken."""
    monkeypatch.setattr(inbox, "MAX_CHARACTERS", 10)
    box = Inbox()

    box.put([Incoming("a", "x" * 5), ErrorReply("x", "y" * 3)])

    assert box.is_full
    box.take()
    assert not box.is_full
    box.take()
    box.put([Incoming("a", "x" * 8)])
    assert not box.is_full


@pytest.mark.parametrize(
    "message",
    [
        Incoming(LONG, ""),
        IncomingBroadcast(LONG, "", ref=LONG),
        ErrorReply(LONG, ""),
        ErrorReply("x", "", suggestion=LONG),
        Unconfirmed(LONG, "", ""),
        Disconnected(LONG),
        Reconnected(LONG),
    ],
)
def test_every_text_counts(monkeypatch: pytest.MonkeyPatch, message: Message) -> None:
    """A server that makes a name or a reason long instead of a content fills it as well."""
    monkeypatch.setattr(inbox, "MAX_CHARACTERS", len(LONG))
    box = Inbox()

    box.put([message])

    assert box.is_full
