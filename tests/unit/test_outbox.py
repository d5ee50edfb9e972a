"""Outgoing bytes: paced for those who send no line breaks, bounded for those who do not read."""

import json

from chatroom.doors.pacing import MAX_WAITING, PACE
from fakes import FakeChat, FakeClient


def bare(chat: FakeChat, name: str) -> FakeClient:
    """One who never sends a line break, and reads one message per segment."""
    client = chat.connect()
    client.ask_bare(code="hello", name=name)
    chat.loop.turn()
    assert client.transport.segments == [b'{"code":"welcome"}\n']
    client.transport.segments.clear()
    chat.loop.pass_time(1)
    return client


def test_bare_session_gets_one_message_per_segment() -> None:
    """Who sends no line break gets each message in a segment of its own, 5 ms apart."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")

    for number in range(3):
        ann.ask(code="outgoing_broadcast", content=str(number))
    chat.loop.turn()

    for number in range(3):
        segments = bob.transport.segments
        assert [json.loads(segment)["content"] for segment in segments] == [str(number)]
        segments.clear()
        chat.loop.pass_time(PACE)
    assert not bob.transport.segments


def test_bare_session_is_paced_across_turns() -> None:
    """A message that comes just after another waits its 5 ms too."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")

    for number in range(2):
        ann.ask(code="outgoing", to="bob", content=str(number))
        chat.loop.turn()

    assert len(bob.transport.segments) == 1
    chat.loop.pass_time(PACE)
    assert len(bob.transport.segments) == 2


def test_users_come_ahead() -> None:
    """The answer to `who` overtakes the messages that wait: a naive client takes the next for it."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")

    for number in range(3):
        ann.ask(code="outgoing_broadcast", content=str(number))
    bob.ask_bare(code="who")
    chat.loop.pass_time(1)

    assert [message.get("content", "users") for message in bob.take()] == ["users", "0", "1", "2"]


def test_many_waiting_go_together() -> None:
    """When more than 64 messages wait, they are sent together after all."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")

    for number in range(1 + MAX_WAITING):
        ann.ask(code="outgoing_broadcast", content=str(number))
    chat.loop.turn()

    assert len(bob.transport.segments) == 1
    assert [message["content"] for message in bob.take()] == [str(number) for number in range(1 + MAX_WAITING)]
    ann.ask(code="outgoing_broadcast", content="next")
    chat.loop.turn()
    assert not bob.transport.segments
    chat.loop.pass_time(PACE)
    assert len(bob.transport.segments) == 1


def test_one_newline_gives_full_speed() -> None:
    """With the first line break, what waits goes out at once, and so does all that follows."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")

    for number in range(3):
        ann.ask(code="outgoing_broadcast", content=str(number))
    chat.loop.turn()
    bob.send(b"\n")
    ann.ask(code="outgoing_broadcast", content="3")
    chat.loop.turn()

    assert [message["content"] for message in bob.take()] == ["0", "1", "2", "3"]


def test_bare_session_quits_at_its_pace() -> None:
    """Who quits without a line break still gets what waits one by one, and then the end."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")

    for number in range(3):
        ann.ask(code="outgoing_broadcast", content=str(number))
    bob.ask_bare(code="quit")
    chat.loop.turn()
    assert not bob.transport.eof_written
    chat.loop.pass_time(3 * PACE)

    assert len(bob.transport.segments) == 3
    assert bob.transport.eof_written


def test_stalled_reader_gets_all_when_it_reads_again() -> None:
    """What a congested transport does not take is held, in order."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    bob.transport.is_reading = False
    text = "x" * 10_000

    for number in range(40):
        ann.ask(code="outgoing_broadcast", content=f"{number} {text}")
        chat.loop.turn()
    assert bob.transport.is_paused
    bob.transport.read_on()
    ann.ask(code="outgoing_broadcast", content="40 last")
    chat.loop.turn()

    assert [message["content"].split()[0] for message in bob.take()] == [str(number) for number in range(41)]


def test_stalled_bare_reader_gets_all() -> None:
    """The same for one who sends no line breaks; it quits only when it has all."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")
    bob.transport.is_reading = False
    text = "x" * 10_000

    for number in range(40):
        ann.ask(code="outgoing_broadcast", content=f"{number} {text}")
        chat.loop.pass_time(0.1)
    bob.ask_bare(code="quit")
    chat.loop.pass_time(1)
    assert bob.transport.is_paused
    assert not bob.transport.eof_written
    bob.transport.read_on()
    chat.loop.pass_time(1)

    assert [message["content"].split()[0] for message in bob.take()] == [str(number) for number in range(40)]
    assert bob.transport.eof_written


def test_slow_consumer_is_let_go() -> None:
    """A reader that has stopped reading is closed at 1 MiB; the others still get everything."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")
    bob.transport.is_reading = False
    text = "x" * 15_000

    for _ in range(80):
        ann.ask(code="outgoing_broadcast", content=text)
        chat.loop.pass_time(0.1)

    assert bob.transport.is_gone
    assert bob.transport.get_write_buffer_size() < 128 * 1024
    assert "left bob slow_consumer" in chat.observer.lines
    assert len(eve.take()) == 80


def test_backlogs_are_shared() -> None:
    """A hundred stalled readers hold the same objects, not copies."""
    chat = FakeChat()
    ann = chat.join("ann")
    stalled = [chat.join(f"reader{number}") for number in range(100)]
    for client in stalled:
        client.transport.is_reading = False

    for _ in range(20):
        ann.ask(code="outgoing_broadcast", content="x" * 15_000)
        chat.loop.turn()

    outboxes = [client.connection._outbox for client in stalled]
    held = {id(data) for outbox in outboxes for data in outbox._held or ()}
    assert all(outbox._held for outbox in outboxes)
    assert len(held) <= 20
