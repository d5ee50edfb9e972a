"""Outgoing bytes: paced for those who send no line breaks, bounded for those who do not read."""

import json
import socket

import pytest

from chatroom.doors.deadlines import Deadlines
from chatroom.doors.kernel import Kernel, TcpInfo
from chatroom.doors.pacing import MAX_WAITING, PACE
from chatroom.protocol.limits import Limits
from fakes import FakeChat, FakeClient, FakeLoop


def joined_bare(chat: FakeChat, name: str) -> FakeClient:
    """One who never sends a line break, has just been welcomed, and has not asked for anything yet."""
    client = chat.connect()
    client.ask_bare(code="hello", name=name)
    chat.loop.turn()
    assert client.transport.segments == [b'{"code":"welcome"}\n']
    client.transport.segments.clear()
    return client


def bare(chat: FakeChat, name: str) -> FakeClient:
    """The same a second later, when others' messages are no longer held back."""
    client = joined_bare(chat, name)
    chat.loop.pass_time(1)
    return client


def test_bare_session_gets_one_message_per_segment() -> None:
    """Who sends no line break gets each message in a segment of its own, `PACE` apart."""
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
    """A message that comes just after another waits its time too."""
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


@pytest.mark.parametrize("end", ["quit", "draining"])
def test_bare_session_ends_in_time(end: str) -> None:
    """All that may wait is sent one by one before the end, in half the time that there is at a stop."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), bare(chat, "bob")

    for number in range(MAX_WAITING):
        ann.ask(code="outgoing_broadcast", content=str(number))
    if end == "quit":
        bob.ask_bare(code="quit")
    else:
        chat.door.close()
    chat.loop.pass_time(chat.hub.limits.drain_timeout / 2)

    assert len(bob.transport.segments) == MAX_WAITING
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


def test_hello_and_who_in_one_segment() -> None:
    """The list of users overtakes what others said, never the `welcome`."""
    chat = FakeChat()
    client = chat.connect()

    client.send(b'{"code": "hello", "name": "ann"}{"code": "who"}')
    chat.loop.pass_time(1)

    assert [json.loads(segment)["code"] for segment in client.transport.segments] == ["welcome", "users"]


def test_first_answer_comes_first() -> None:
    """A naive client that sleeps between `welcome` and `who` reads its list of users next."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), joined_bare(chat, "bob")

    for number in range(100):
        ann.ask(code="outgoing_broadcast", content=str(number))
    chat.loop.pass_time(0.5)
    assert bob.take() == []
    bob.ask_bare(code="who")
    chat.loop.pass_time(1)

    contents = [message.get("content", "users") for message in bob.take()]
    assert contents == ["users", *map(str, range(100))]


def test_first_request_is_awaited_for_a_second() -> None:
    """Who asks for nothing is given what others said a second after it was welcome."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), joined_bare(chat, "bob")

    ann.ask(code="outgoing_broadcast", content="hello")
    chat.loop.pass_time(0.9)
    assert bob.take() == []
    chat.loop.pass_time(0.2)

    assert [message["content"] for message in bob.take()] == ["hello"]


def test_first_request_may_be_one_without_an_answer() -> None:
    """A message of its own is a request: what others said follows at once."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), joined_bare(chat, "bob")

    ann.ask(code="outgoing_broadcast", content="hello")
    bob.ask_bare(code="outgoing_broadcast", content="hello")
    chat.loop.pass_time(PACE)

    assert [message["content"] for message in bob.take()] == ["hello"]


def test_long_messages_in_utf_8() -> None:
    """A bare peer gets a message of more than 1,024 bytes unescaped; a shorter one in ASCII."""
    chat = FakeChat()
    ann, eve, bob = chat.join("ann"), chat.join("eve"), bare(chat, "bob")

    for letters in (100, 170):
        ann.ask(code="outgoing_broadcast", content="ж" * letters)
    ann.ask(code="outgoing", to="bob", content="ж" * 170)
    chat.loop.pass_time(1)

    assert [segment.isascii() for segment in bob.transport.segments] == [True, False, False]
    assert all(len(segment) <= 1024 for segment in bob.transport.segments)
    assert [len(message["content"]) for message in bob.take()] == [100, 170, 170]
    assert all(segment.isascii() for segment in eve.transport.segments)


def test_stalled_bare_readers_share_what_waits() -> None:
    """Naive readers that stall hold the room's own frames, and their transports are handed no more."""
    chat = FakeChat()
    ann = chat.join("ann")
    stalled = [bare(chat, f"naive{number}") for number in range(50)]
    for client in stalled:
        client.transport.is_reading = False

    for _ in range(10):
        ann.send(b'{"code":"outgoing_broadcast","content":"%b"}\n' % (b"x" * 500) * 100)
        chat.loop.pass_time(0.1)

    outboxes = [client.connection._outbox for client in stalled]
    assert all(client.transport.get_write_buffer_size() < 2 * 64 * 1024 for client in stalled)
    shared = {id(piece) for outbox in outboxes for piece in outbox._pacer._pushed}  # type: ignore[union-attr]
    assert len(shared) < 30
    kept = sum(client.transport.get_write_buffer_size() for client in stalled)
    assert kept < chat.door.backlog.size < kept + 700_000


# Ends


def test_end_waits_for_what_is_not_acknowledged() -> None:
    """A connection is not cut while its last bytes are on their way, nor before one more second."""
    chat = FakeChat()
    ann = chat.join("ann")
    kernel = ann.connection._kernel
    left = [50_000]
    kernel.unacknowledged = lambda: left[0]  # type: ignore[method-assign]

    ann.ask(code="quit")
    for _ in range(20):
        chat.loop.pass_time(1)
        left[0] -= 2_500
        assert ann.transport.eof_written
        assert not ann.transport.is_gone
    chat.loop.pass_time(3)

    assert ann.transport.is_gone


def test_end_without_progress() -> None:
    """Whoever takes nothing of what is left for 30 s is let go."""
    chat = FakeChat()
    ann = chat.join("ann")
    ann.connection._kernel.unacknowledged = lambda: 1000  # type: ignore[method-assign]

    ann.ask(code="quit")
    chat.loop.pass_time(29)
    assert not ann.transport.is_gone
    chat.loop.pass_time(3)

    assert ann.transport.is_gone


def test_trouble_at_the_end_reaches_nobody_else() -> None:
    """If one connection cannot be closed in good order, the others of the same turn are."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    def broken() -> None:
        raise OSError(107, "Transport endpoint is not connected")

    ann.transport.write_eof = broken  # type: ignore[method-assign]
    ann.ask(code="quit")
    bob.ask(code="quit")
    chat.loop.turn()

    assert ann.transport.is_gone
    assert bob.transport.eof_written


def test_trouble_in_a_sink_reaches_nobody_else() -> None:
    """Whatever one connection raises as it is written to, the next gets its bytes."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")

    def broken(data: bytes) -> None:
        raise ValueError("a bug")

    bob.connection._outbox.push = broken
    ann.ask(code="outgoing_broadcast", content="x")
    chat.loop.turn()

    assert bob.transport.is_gone
    assert len(eve.take()) == 1


def test_trouble_in_a_deadline_reaches_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """One deadline that raises is logged, and the next is handled."""
    loop, handled = FakeLoop(), []

    def missed(key: str) -> None:
        handled.append(key)
        if key == "first":
            raise ValueError("a bug")

    deadlines = Deadlines[str](loop, missed)
    deadlines.set("first", 1)
    deadlines.set("second", 1)
    loop.pass_time(2)

    assert handled == ["first", "second"]
    assert "a bug" in caplog.text


@pytest.mark.parametrize(
    ("info", "seconds"),
    [
        (TcpInfo(1, 0, 0, 0.2, since_sent=100, since_acknowledged=100), 0),  # nothing under way
        (TcpInfo(1, 1, 0, 0.4, since_sent=0.1, since_acknowledged=60), 0.3),  # sent just now, after a minute
        (TcpInfo(1, 6, 0, 12.8, since_sent=1, since_acknowledged=13.5), 13.5),
        (TcpInfo(1, 0, 1, 0.2, since_sent=60, since_acknowledged=16), 0),  # the answer to one probe is awaited
        (TcpInfo(1, 0, 2, 0.2, since_sent=60, since_acknowledged=21), 6),
        (TcpInfo(1, 0, 3, 0.2, since_sent=60, since_acknowledged=27), 12),
    ],
)
def test_how_long_a_peer_has_not_answered(info: TcpInfo, seconds: float) -> None:
    """What the kernel tells is read as: for so long data and probes have gone unanswered."""
    assert info.unanswered(15) == pytest.approx(seconds, abs=0.01)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux lets a program choose")
def test_acknowledgements_of_a_real_socket() -> None:
    """What the kernel is told of acknowledgements, it does: at once, or with an answer, if one comes soon."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as near,
    ):
        kernel = Kernel(near, Limits())
        kernel.acknowledge()
        at_once = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
        kernel.delay_acknowledgements()

        assert (at_once, near.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)) == (1, 0)
