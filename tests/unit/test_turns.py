"""What is done for a peer in one turn of the event loop, and how much senders may add to what readers get."""

import gc
import itertools
import json
import time

import pytest

from chatroom.doors.connection import FIRST_READS
from chatroom.doors.first_bytes import other_protocol
from chatroom.doors.intake import A_TURN, BYTES_A_REQUEST, CLOSELY, INPUT
from chatroom.hub.delivery import ANSWERS
from chatroom.hub.effort import A_TURN as STEPS_A_TURN
from chatroom.hub.flow import BEHIND, PERIOD, SMALL, TURN
from fakes import FakeChat, FakeClient, FakeKernel

FAR = "192.0.2.7"
WHO = b'{"code":"who"}\n'


def one_turn(chat: FakeChat) -> None:
    """Do what is due now, but not what that puts off until the next turn."""
    soon, chat.loop._soon = chat.loop._soon, []
    for callback in soon:
        callback()


def line(size: int, number: int = 0) -> bytes:
    """Return a broadcast that readers get as about so many bytes."""
    return json.dumps({"code": "outgoing_broadcast", "content": f"{number} ".ljust(size, "x")}).encode() + b"\n"


def received(client: FakeClient) -> int:
    return sum(map(len, client.transport.segments))


def numbers(client: FakeClient) -> list[int]:
    return [int(message["content"].split()[0]) for message in client.take()]


# Input


@pytest.mark.parametrize("host", ["127.0.0.1", FAR])
def test_answers_of_a_turn(host: str) -> None:
    """A turn stops when its answers have 64 KiB; the rest is answered in later turns, all of it."""
    chat = FakeChat(message_burst=10_000, message_rate=10_000)
    asker = chat.join("asker", host)
    for number in range(300):
        chat.join(f"somebody with a long name {number}")

    asker.send(WHO * 1000)
    one_turn(chat)
    one_turn(chat)

    assert ANSWERS <= received(asker) < 2 * (ANSWERS + 12_000)
    assert not asker.transport.is_read
    chat.loop.pass_time(60)
    assert len(asker.take()) == 1000
    assert asker.transport.is_read


def test_others_are_served_between_turns() -> None:
    """While one asks for much, another is answered in the next turn."""
    chat = FakeChat()
    asker, ann = chat.join("asker"), chat.join("ann")

    asker.send(b'{"code":"ping"}\n' * 4000)
    ann.ask(code="ping")
    one_turn(chat)

    assert ann.take() == [{"code": "pong"}]
    assert asker.transport.segments[0].count(b"\n") == A_TURN


def test_asker_who_does_not_read() -> None:
    """Whoever asks and does not read is answered with a few times 64 KiB, and no more is read from it."""
    chat = FakeChat()
    asker = chat.join("asker")
    for number in range(300):
        chat.join(f"somebody with a long name {number}")
    asker.transport.is_reading = False

    for _ in range(100):
        asker.send(WHO * 1000)
        chat.loop.pass_time(0.1)

    outbox = asker.connection._outbox
    assert asker.transport.get_write_buffer_size() + outbox._held_bytes < 3 * ANSWERS
    assert len(asker.transport.unread) > 1_000_000
    asker.transport.unread = asker.transport.unread[:1500]
    asker.transport.read_on()
    chat.loop.pass_time(1)
    assert not asker.transport.unread


def test_what_others_say_holds_nobody_up() -> None:
    """A peer that does not read what others say is still heard, until it is let go."""
    chat = FakeChat()
    deaf, ann = chat.join("deaf"), chat.join("ann")
    deaf.transport.is_reading = False
    for _ in range(8):
        ann.send(line(15_000))
        chat.loop.pass_time(PERIOD)
    assert deaf.transport.is_paused
    ann.take()

    for number in range(50):
        deaf.send(line(10, number))
        deaf.ask(code="ping")
        chat.loop.turn()

    assert numbers(ann) == list(range(50))


def test_objects_that_must_be_looked_at() -> None:
    """Of 64 KiB of wrong objects twenty are looked at, then the connection ends."""
    chat = FakeChat(max_faults=1000)
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.send(b"{}" * 1000)
    bob.ask(code="ping")
    one_turn(chat)

    assert ann.transport.segments[0].count(b"\n") == CLOSELY
    assert bob.take() == [{"code": "pong"}]
    chat.loop.pass_time(1)
    assert ann.connection._client.is_leaving


def test_reading_goes_on_in_the_next_turn() -> None:
    """No more than 64 KiB is read from one connection in a turn."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.send(line(1000) * 200)

    assert len(ann.transport.unread) == 200 * len(line(1000)) - INPUT
    chat.loop.pass_time(1)
    assert len(bob.take()) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", FAR])
def test_a_stranger_is_read_from_as_far_as_it_may_send(host: str) -> None:
    """A hello and two hundred messages in one write lose none; of a stranger no more than 4 KiB is read."""
    chat = FakeChat()
    bob, ann, stranger = chat.join("bob"), chat.connect(host), chat.connect(host)

    ann.send(b'{"code":"hello","name":"ann"}\n' + b"".join(line(40, number) for number in range(200)))
    stranger.send(b" " * 60_000)
    chat.loop.pass_time(30)

    assert numbers(bob) == list(range(200))
    assert stranger.connection._strange_bytes == 4097 == chat.door.limits.stranger_in + 1
    assert [message["error"] for message in stranger.take()] == ["too_big"]
    assert stranger.transport.eof_written
    assert any("turned away" in entry and "flood" in entry for entry in chat.observer.lines)


@pytest.mark.parametrize("end", ["", "\n"])
def test_messages_are_acknowledged_at_once(end: str) -> None:
    """What is not answered is acknowledged: all that comes from a bare peer, the first reads of another."""
    chat = FakeChat()
    ann = chat.connect()
    kernel = ann.connection._kernel
    assert isinstance(kernel, FakeKernel)
    ann.send(b'{"code":"hello","name":"ann"}' + end.encode())
    chat.loop.turn()
    kernel.acknowledged = 0

    for _ in range(FIRST_READS):
        ann.send(b'{"code":"outgoing_broadcast","content":"x"}' + end.encode())
        chat.loop.turn()

    first = FIRST_READS - len(end)  # the hello was a read too, and answered
    assert (kernel.acknowledged, kernel.delays) == (first, bool(end))


def test_who_speaks_lines_late_is_acknowledged_late() -> None:
    """A bare peer that sends a line break behind its first reads is one of the others from then on."""
    chat = FakeChat()
    ann = chat.connect()
    ann.ask_bare(code="hello", name="ann")
    chat.loop.turn()
    kernel = ann.connection._kernel
    assert isinstance(kernel, FakeKernel)
    for end in [b""] * FIRST_READS + [b"\n"]:
        assert not kernel.delays
        ann.send(b'{"code":"outgoing_broadcast","content":"x"}' + end)
        chat.loop.turn()
    kernel.acknowledged = 0

    ann.send(b'{"code":"outgoing_broadcast","content":"x"}\n')

    assert (kernel.acknowledged, kernel.delays) == (0, True)


def test_a_read_is_acknowledged_once() -> None:
    """Also of a stranger whose requests wait."""
    chat = FakeChat(message_burst=1)
    stranger = chat.connect(FAR)
    kernel = stranger.connection._kernel
    assert isinstance(kernel, FakeKernel)

    stranger.send(b'{"code":"who"}' * 5)

    assert stranger.connection._intake.is_waiting
    assert kernel.acknowledged == 1


OTHERS = [
    b"POST / HTTP/1.1\r\nHost: chat\r\n\r\n",
    b"GET /{ HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00",
]


@pytest.mark.parametrize("head", OTHERS)
def test_other_protocols(head: bytes) -> None:
    """Nothing that comes behind the first bytes of HTTP or TLS is understood, wherever TCP cuts them."""
    requests = b'{"code":"hello","name":"page"}{"code":"outgoing_broadcast","content":"x"}\n'
    for cut in range(len(head)):
        chat = FakeChat()
        ann, page = chat.join("ann"), chat.connect(FAR)

        page.send(head[:cut])
        page.send(head[cut:] + requests)
        page.send(requests)
        chat.loop.pass_time(1)

        errors = [message["error"] for message in page.take()]
        assert set(errors) == {"bad_json"}
        assert len(errors) == 1 or 0 < cut <= len("POST")
        assert page.transport.eof_written
        assert ann.take() == []
        assert list(chat.hub.house.spelled) == ["ann"]


@pytest.mark.parametrize(
    "first", [b"{", b"\n", b"[", b" GET / ", b"GETTING ", b"get / ", b"\x16\x15", b"POST\n"]
)
def test_no_other_protocol(first: bytes) -> None:
    """What only resembles one is garbage at most, and the connection goes on."""
    assert other_protocol(first) is None


# Time


@pytest.mark.parametrize("host", ["127.0.0.1", FAR])
def test_dripping_into_an_object(host: str) -> None:
    """The time to finish an object is absolute: a byte now and then does not renew it."""
    chat = FakeChat()
    ann = chat.join("ann", host)

    ann.send(b"{")
    for _ in range(20):
        chat.loop.pass_time(0.5)
        ann.send(b" ")
    chat.loop.pass_time(0.6)

    assert [message["error"] for message in ann.take()] == ["bad_json"]
    assert ann.transport.eof_written


def test_nobody_is_waited_for_while_we_do_not_read() -> None:
    """The time for a `pong`, or for the rest of an object, does not pass while it is we who do not read."""
    chat = FakeChat()
    ann = chat.connect(FAR)
    ann.ask(code="hello", name="ann", features=["ping"])
    chat.loop.turn()

    ann.send(line(5) * 1100 + b'{"code":"pong"}\n{"code":')
    chat.loop.pass_time(48)
    assert not ann.transport.is_read
    chat.loop.pass_time(8)
    assert ann.transport.is_read
    ann.send(b'"pong"}\n')
    chat.loop.pass_time(15)

    assert not ann.transport.eof_written
    assert [message.get("code") for message in ann.take()] == ["welcome"]


def test_a_thousand_lines_and_a_quit() -> None:
    """A thousand lines of the brief and a quit, written at once, get through: slowly, and none is refused."""
    chat = FakeChat()
    ann, bob = chat.join("ann", FAR), chat.join("bob")

    ann.send(b"".join(line(20, number) for number in range(1000)) + b'{"code":"quit"}\n')
    chat.loop.pass_time(60)

    assert numbers(bob) == list(range(1000))
    assert ann.take() == []
    assert "left ann quit" in chat.observer.lines


def test_who_waits_for_answers_is_never_refused() -> None:
    """A sender that awaits each `sent` is slowed to the rate, however long it goes on."""
    chat = FakeChat()
    ann, bob = chat.join("ann", FAR), chat.join("bob")

    for number in range(2000):
        ann.ask(code="outgoing_broadcast", content=str(number), ref=str(number))
        while not ann.transport.segments:
            chat.loop.pass_time(0.05)
        assert ann.take()[0]["code"] == "sent"

    assert numbers(bob) == list(range(2000))
    assert 90 < chat.loop.now - 1000 < 110


def test_quit_is_free_and_keeps_its_place() -> None:
    """A `quit` is not refused even to a flood; what stands before it is done first."""
    chat = FakeChat(slow_down_after=0.001)
    ann, bob = chat.join("ann", FAR), chat.join("bob")

    ann.send(line(500) * 400 + b'{"code":"quit"}\n')
    chat.loop.pass_time(300)

    assert {message["error"] for message in ann.take()} == {"slow_down"}
    assert "left ann quit" in chat.observer.lines
    assert bob.take()


def test_what_was_read_is_done_though_its_sender_is_gone() -> None:
    """Lines that were read before a reset are still passed on, at the rate; the name is free meanwhile."""
    chat = FakeChat()
    ann, bob = chat.join("ann", FAR), chat.join("bob")
    ann.send(b"".join(line(20, number) for number in range(80)))
    chat.loop.turn()
    assert len(chat.door.connections) == 2

    ann.transport.vanish(ConnectionResetError())
    chat.loop.pass_time(10)

    assert numbers(bob) == list(range(80))
    assert "left ann reset" in chat.observer.lines
    assert len(chat.door.connections) == 1


# Flow


def test_a_turn_adds_so_much() -> None:
    """Many senders together add 256 KiB in a turn to what one reader gets; the rest comes in later turns."""
    chat = FakeChat()
    senders = [chat.join(f"sender{number}") for number in range(8)]
    bob = chat.join("bob")

    for sender in senders:
        sender.send(b"".join(line(1000, number) for number in range(60)))
    one_turn(chat)
    assert received(bob) <= TURN + 8 * SMALL
    chat.loop.pass_time(1)

    assert len(bob.take()) == 8 * 60


@pytest.mark.parametrize("is_direct", [False, True])
def test_reader_that_is_behind(is_direct: bool) -> None:
    """While a reader is behind, it is given 64 KiB in 100 ms; once it has caught up, all."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    bob.transport.is_reading = False
    begun = b'{"code":"outgoing","to":"bob",' if is_direct else b'{"code":"outgoing_broadcast",'
    text = b'"content":"' + b"x" * 1000 + b'"}\n'
    ann.send((begun + text) * 70)
    chat.loop.turn()
    assert bob.transport.is_paused

    before = bob.connection._outbox._held_bytes
    ann.send((begun + text) * 500)
    for period in range(1, 5):
        chat.loop.pass_time(PERIOD)
        added = bob.connection._outbox._held_bytes - before
        assert (period - 1) * BEHIND <= added <= (period + 1) * (BEHIND + SMALL)
    assert not ann.transport.is_read
    bob.transport.read_on()
    chat.loop.turn()

    assert len(bob.take()) == 570
    assert ann.transport.is_read


def test_reader_that_stalls_holds_senders_for_two_seconds() -> None:
    """A reader that does not read at all holds a flood for two seconds at most; then it is let go."""
    chat = FakeChat()
    ann, bob, stalled = chat.join("ann"), chat.join("bob"), chat.join("stalled")
    stalled.transport.is_reading = False

    ann.send(line(1000) * 20_000)
    chat.loop.pass_time(2)

    assert "left stalled slow_consumer" in chat.observer.lines
    assert len(bob.take()) == 20_000


def test_who_says_little_is_not_held() -> None:
    """While a flood waits for a reader, who has a word to say does not; nor who writes to others."""
    chat = FakeChat()
    flood, eve, bob, ann = (chat.join(name) for name in ("flood", "eve", "bob", "ann"))
    bob.transport.is_reading = False
    flood.send(line(1000) * 400)
    chat.loop.turn()
    assert not flood.transport.is_read
    ann.take()

    eve.send(line(100, 7))
    eve.ask(code="outgoing", to="ann", content="8 direct")
    chat.loop.turn()

    assert numbers(ann) == [7, 8]


def test_senders_take_turns() -> None:
    """Who waits longest goes on first: of eight that flood a slow reader, all are heard alike."""
    chat = FakeChat()
    senders = [chat.join(f"sender{number}") for number in range(8)]
    bob = chat.join("bob")
    bob.transport.is_reading = False
    for number, sender in enumerate(senders):
        sender.send(line(1000, number) * 3000)

    for _ in range(100):
        chat.loop.pass_time(PERIOD)
        bob.transport.segments += bob.transport.waiting
        bob.transport.waiting.clear()
        bob.transport.is_paused = False
        bob.connection.resume_writing()
        bob.transport.is_reading = False
    heard = numbers(bob)

    shares = [heard.count(number) for number in range(8)]
    assert max(shares) < 1.5 * min(shares)


def test_a_sender_that_goes_is_forgotten() -> None:
    """A sender that is held and vanishes leaves nothing behind, and the next goes on."""
    chat = FakeChat()
    ann, eve, bob = chat.join("ann"), chat.join("eve"), chat.join("bob")
    bob.transport.is_reading = False
    for sender in (ann, eve):
        sender.send(line(1000) * 300)
    chat.loop.turn()

    ann.transport.vanish(None)
    bob.transport.read_on()
    chat.loop.pass_time(1)

    assert sum(message["from"] == "eve" for message in bob.take()) == 300
    assert chat.hub.flow.is_calm
    assert not chat.hub.flow._for_readers


def test_one_object_of_many() -> None:
    """An object of ten thousand others is looked at over many turns, in which others are served."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.send(b'{"code":"ping","x":[' + b",".join([b'{"a":1}'] * 5000) + b"]}\n")
    assert 0 < chat.door.effort.left < STEPS_A_TURN  # one batch of steps, not two
    bob.ask(code="ping")
    for _ in range(5):
        one_turn(chat)
    assert ann.take() == []
    assert bob.take() == [{"code": "pong"}]
    chat.loop.turn()

    assert ann.take() == [{"code": "pong"}]


@pytest.mark.parametrize(("name", "most"), [("TAKEN", 2), ("some\tbody", 8), ("peer", 200)])
def test_refused_names_of_a_turn(name: str, most: int) -> None:
    """In a turn few names are refused to one peer: to say what is wrong, and to find another, takes long."""
    chat = FakeChat()
    chat.join("taken")
    peer = chat.connect()
    if name == "peer":  # it is welcome, and everything behind that is refused at little cost
        peer.send(b'{"code":"hello","name":"peer"}\n')
        chat.loop.turn()
        peer.take()

    peer.send(b'{"code":"hello","name":"%b"}\n' % json.dumps(name)[1:-1].encode() * 120)
    one_turn(chat)

    assert 0 < len(peer.take()) <= most


def longest_turn(line: bytes, name: str | None) -> float:
    """Return the processor time of the longest turn while sixty send this at once, at best.

    `name`: one of somebody who is here. Those who send are strangers if there is one, and members if not.
    """
    longest = []
    for _ in range(3):
        chat = FakeChat(rate_per_address=1000.0)
        chat.connect().ask(code="hello", name=name or "ann")
        crowd = [chat.connect(FAR) if name else chat.join(f"peer{number}", FAR) for number in range(60)]
        gc.collect()
        gc.disable()
        began = time.process_time()
        for peer in crowd:
            peer.send(line * 19)
        turns = [time.process_time() - began]
        while not chat.loop.is_idle:
            began = time.process_time()
            one_turn(chat)
            turns.append(time.process_time() - began)
        gc.enable()
        longest.append(max(turns))
    return min(longest)


@pytest.mark.parametrize("name", ["ǅﬃΐ각ß" * 6, "\u1fb7" * 32, "ΐ" * 28])
@pytest.mark.parametrize("is_hello", [True, False])
def test_names_of_many_in_a_turn(name: str, *, is_hello: bool) -> None:
    """Sixty peers whose names take long to fold keep others waiting no longer than with ordinary names."""

    def turn(name: str) -> float:
        asked = {"code": "hello", "name": name} if is_hello else {"code": "outgoing", "to": name, "content": ""}
        return longest_turn(json.dumps(asked).encode() + b"\n", name if is_hello else None)

    assert turn(name) < 2 * turn("x" * 28)


def test_names_that_wait_take_turns() -> None:
    """Whoever has waited longest is given a name first; whose name is ASCII waits for nobody."""
    chat = FakeChat()
    chat.hub.effort.spend(1_000_000)
    peers = {name: chat.connect(FAR) for name in ("Ελένη", "Олексій", "bob", "さくら")}
    for name, peer in peers.items():
        peer.send(json.dumps({"code": "hello", "name": name}).encode() + b"\n" + WHO)
    assert chat.hub.users() == ["bob"]

    peers["Олексій"].transport.vanish(None)
    one_turn(chat)

    assert chat.hub.users() == ["bob", "Ελένη", "さくら"]
    chat.loop.turn()
    assert [message["code"] for message in peers["さくら"].take()] == ["welcome", "users"]


# What an adversary found


@pytest.mark.parametrize(("host", "count"), [("127.0.0.1", 2 * A_TURN), (FAR, A_TURN)])
def test_what_waits_ends_with_a_turn(host: str, count: int) -> None:
    """A peer whose requests end exactly at the bound of a turn is read on."""
    chat = FakeChat(message_burst=10_000)
    ann = chat.join("ann", host)

    ann.send(b'{"code":"pong"}\n' * (count - 1) + b'{"code":"ping"}\n')
    chat.loop.turn()
    ann.ask(code="ping")
    chat.loop.turn()

    assert ann.take() == [{"code": "pong"}] * 2
    ann.transport.unread = b""
    assert ann.connection.eof_received()
    chat.loop.pass_time(1)
    assert chat.hub.users() == []


def test_reset_while_answers_are_owed() -> None:
    """Whoever resets the connection before its answers have left leaves nothing behind."""
    chat = FakeChat()
    bare, lines = chat.connect(FAR), chat.join("lines", FAR)
    bare.ask_bare(code="hello", name="bare")
    chat.loop.turn()
    lines.transport.is_reading = False
    chat.loop.turn()

    for client in (bare, lines):
        client.send(b'{"code": "outgoing", "to": "nobody", "content": "x"}' * 40)
        client.send(b"\n" if client is lines else b"")
    chat.loop.turn()
    for client in (bare, lines):
        client.transport.vanish(ConnectionResetError())
    chat.loop.pass_time(60)

    assert not chat.door.connections
    assert not chat.hub.users()
    assert chat.door.admission.connections == 0


@pytest.mark.parametrize("how", ["name taken", "drained", "reader leaves"])
def test_reset_while_held(how: str) -> None:
    """A sender that is held and resets ends, whoever takes its name, and whatever becomes of the reader."""
    chat = FakeChat()
    sender, reader = chat.join("sender"), chat.join("reader")
    reader.transport.is_reading = False
    sender.send(line(16_000) * 40)
    chat.loop.turn()
    assert sender.connection._client.is_held

    sender.transport.vanish(ConnectionResetError())
    chat.loop.turn()
    if how == "name taken":
        chat.join("sender")
    elif how == "drained":
        chat.door.close()
    else:
        reader.transport.vanish(None)
    chat.loop.pass_time(5)

    assert sender.connection not in chat.door.connections
    assert not chat.hub.flow._tickets
    assert not chat.hub.flow._for_readers


def test_released_without_asking_again() -> None:
    """A sender that is let go on and has nothing to add leaves no ticket behind."""
    chat = FakeChat()
    sender, reader = chat.join("sender"), chat.join("reader")
    reader.transport.is_reading = False
    sender.send(b'{"code":"outgoing","to":"reader","content":"%b"}\n' % (b"x" * 16_000) * 40)
    chat.loop.turn()
    assert chat.hub.flow._tickets

    reader.transport.vanish(ConnectionResetError())
    chat.loop.pass_time(1)

    assert not chat.hub.flow._tickets
    assert {message["error"] for message in sender.take()} == {"unknown_user"}


def test_the_dead_are_ended() -> None:
    """A peer whose name was given away as it seemed dead is not left connected, unheard."""
    chat = FakeChat()
    old = chat.join("ann")
    old.connection._kernel.is_silent = True  # type: ignore[attr-defined]

    chat.join("ann")
    chat.loop.turn()

    assert old.transport.is_gone
    assert len(chat.door.connections) == 1


def test_a_stranger_s_rest_is_read_in_large_pieces() -> None:
    """What comes behind the end is passed over as cheaply as it comes."""
    chat = FakeChat()
    stranger = chat.connect()

    stranger.send(b" " * 5000)
    chat.loop.turn()

    assert stranger.transport.eof_written
    assert len(stranger.connection.get_buffer(-1)) == INPUT


def test_pongs_are_free_only_if_asked_for() -> None:
    """Pongs that nobody asked for are limited like any request."""
    chat = FakeChat()
    ann = chat.join("ann", FAR)

    ann.send(b'{"code":"pong"}\n' * 100)
    chat.loop.turn()

    assert not ann.transport.is_read


@pytest.mark.parametrize(
    "odd",
    [
        b'{"code":"ping","x":[' + b",".join([b"[]"] * 20_000) + b"]}\n",
        b'{"x":' + b"[]" * 30_000,
        b'{"code":"pong","x":1}\n' * 3000,
    ],
)
def test_many_who_send_what_is_hard_to_decode(odd: bytes) -> None:
    """Fifty peers that send odd objects share what a turn has for such work, and pay for it by their rate."""
    chat = FakeChat()
    crowd = [chat.join(f"odd{number}", f"192.0.2.{number}") for number in range(50)]
    ann, bob = chat.join("ann"), chat.join("bob", "192.0.2.99")

    for client in crowd:
        client.send(odd)
    most = 0
    for _ in range(50):
        before = sum(len(client.connection._decoder.rest) + len(client.transport.unread) for client in crowd)
        one_turn(chat)
        after = sum(len(client.connection._decoder.rest) + len(client.transport.unread) for client in crowd)
        most = max(most, before - after)

    assert most < 60_000  # bytes in one turn: of three thousand thousand
    for peer in (ann, bob):
        peer.ask(code="ping")
        one_turn(chat)
        assert peer.take() == [{"code": "pong"}]


def test_unread_at_a_reset() -> None:
    """What a throttled peer sent before it reset the connection is done, though nobody had read it."""
    chat = FakeChat()
    ann, bob = chat.join("ann", FAR), chat.join("bob")
    for number in range(60):
        ann.send(line(20, number))
    assert ann.transport.unread

    ann.transport.vanish(ConnectionResetError())
    chat.loop.pass_time(30)

    assert numbers(bob) == list(range(60))


@pytest.mark.parametrize("host", ["127.0.0.1", FAR])
def test_first_request_of_whoever_is_limited(host: str) -> None:
    """A bare peer that limits hold for is pushed nothing before its first request, too."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.connect(host)
    bob.ask_bare(code="hello", name="bob")
    chat.loop.turn()
    bob.take()

    ann.send(line(5, 1))
    chat.loop.pass_time(0.5)
    assert bob.take() == []
    bob.ask_bare(code="who")
    chat.loop.pass_time(0.1)

    assert [message["code"] for message in bob.take()] == ["users", "incoming_broadcast"]


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_object_that_ended_later_is_not_waited_for(host: str) -> None:
    """Objects that are decoded in a later turn have ended, though nothing comes behind them."""
    chat = FakeChat()
    ann = chat.join("ann", host)
    odd = b'{"code":"ping",' + b",".join(b'"x%d":"\\u0041"' % number for number in range(8)) + b"}\n"

    ann.send(odd * 30)  # a turn's steps end within one
    assert ann.connection._decoder.begun
    chat.loop.pass_time(60)

    assert not ann.transport.is_gone
    assert [message["code"] for message in ann.take()] == ["pong"] * 30


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_object_that_began_later_is_waited_for(host: str) -> None:
    """An object whose beginning is decoded in a later turn must end in time, too."""
    chat = FakeChat()
    ann = chat.join("ann", host)

    ann.send(b"[]\n" * 19 + b'{"code":"ping","x":"\\u0041"}\n' + b"[]\n" * 5 + b'{"code":"pi')
    chat.loop.pass_time(chat.door.limits.object_timeout + 10)

    assert ann.take()[-1]["message"] == "an object was not finished within 10 s"
    assert ann.transport.eof_written


def test_line_break_that_is_decoded_later() -> None:
    """Whoever sends line breaks is served at full speed, as soon as one has been decoded."""
    chat = FakeChat()
    ann = chat.join("ann", "192.0.2.1")
    bob = chat.connect("192.0.2.1")

    bob.send(b'{"code":"hello","name":"bob"}' + b'{"code":"ping","x":{}}' * 40 + b"\n")
    chat.loop.pass_time(5)
    bob.take()
    ann.ask(code="outgoing_broadcast", content="x" * 100)
    ann.ask(code="outgoing_broadcast", content="y" * 100)
    chat.loop.turn()

    assert [message["content"][0] for message in bob.take()] == ["x", "y"]


def test_nobody_answers_the_dead() -> None:
    """Of what a slowed peer sent before a reset, only what others hear is done: it is soon gone."""
    chat = FakeChat()
    ann, bob = chat.join("ann", "192.0.2.1"), chat.join("bob")
    message = b'{"code":"outgoing","to":"bob","content":"x"}\n'

    ann.send(b'{"code":"ping"}\n' * 1000 + message + b'{"code":"ping"}\n' * 1000 + message)
    ann.transport.vanish(ConnectionResetError())
    chat.loop.pass_time(2)

    assert [reply["content"] for reply in bob.take()] == ["x", "x"]
    assert chat.hub.users() == ["bob"]


def test_first_request_when_hello_was_done_later() -> None:
    """A bare peer's first request is one, though its hello, or the request itself, waited for others' work."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.connect(FAR)
    chat.door.effort.spend(1_000_000)
    bob.ask_bare(code="hello", name="bob", odd=1)
    assert chat.hub.users() == ["ann"]
    chat.loop.turn()
    bob.take()
    ann.send(line(5, 1))
    chat.loop.turn()

    chat.door.effort.spend(1_000_000)
    bob.ask_bare(code="who", odd=1)
    assert bob.take() == []
    chat.loop.pass_time(0.1)

    assert [message["code"] for message in bob.take()] == ["users", "incoming_broadcast"]


def test_who_has_left_is_not_waited_for() -> None:
    """Behind a `quit` no object is waited for, and no sign of life, though what is left goes out slowly."""
    chat = FakeChat()
    ann, bob = chat.connect(FAR), chat.join("bob")
    ann.ask(code="hello", name="ann", features=["ping"])
    chat.loop.turn()
    ann.transport.is_reading = False
    bob.send(line(15_000) * 5)
    chat.loop.turn()

    ann.send(b'{"code":"quit"}\n{"code":')
    for _ in range(60):
        chat.loop.pass_time(1)
        ann.transport.read_some(10)

    assert not ann.transport.is_gone
    assert not any(entry.startswith("refused") for entry in chat.observer.lines)


@pytest.mark.parametrize("blank", [b" ", b"\n", b"x"])
def test_bytes_that_ask_for_nothing(blank: bytes) -> None:
    """A flood of white space or garbage is read no faster than one of requests of 16 KiB."""
    chat = FakeChat()
    ann = chat.join("ann", FAR)
    sent, limits = 0, chat.door.limits

    for _ in range(20):
        size = 2_000_000 - len(ann.transport.unread)
        ann.send(blank * size)
        sent += size
        chat.loop.pass_time(1)

    requests = limits.message_burst + 20 * limits.message_rate
    assert sent - len(ann.transport.unread) <= requests * BYTES_A_REQUEST + INPUT


def test_reads_that_ask_for_nothing() -> None:
    """Hundreds of single bytes are no way around the rate; a line break every few seconds costs nothing."""
    chat = FakeChat()
    ann, bob = chat.join("ann", FAR), chat.join("bob", FAR)

    for _ in range(500):
        ann.send(b" ")
    assert ann.transport.unread
    for _ in range(60):
        bob.send(b"\n")
        assert bob.transport.is_read
        chat.loop.pass_time(2)
    assert bob.connection._intake._throttle._bucket.is_full  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("request_", "a_turn"),
    [
        ({"code": "history", "find": "x"}, 1),
        ({"code": "history", "with": "ann"}, 1),
        ({"code": "join", "room": "a", "after": "0" * 16}, 2),
    ],
)
def test_searches_and_replays_of_many_in_a_turn(request_: dict[str, str], a_turn: int) -> None:
    """All connections together get so many; the others wait for the next turn of the event loop."""
    chat = FakeChat()
    peers = [chat.join(f"peer{number}") for number in range(6)]
    for peer in peers:
        peer.ask(**request_)

    waiting = [len(peers), len(chat.hub.effort._waiting)]
    while waiting[-1]:
        one_turn(chat)
        waiting.append(len(chat.hub.effort._waiting))

    assert max(before - now for before, now in itertools.pairwise(waiting)) == a_turn
    chat.loop.turn()
    assert all(peer.take() for peer in peers)


def test_replays_of_one_connection() -> None:
    """They count as answers: who asks for many waits until those before have left."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    ann.ask(code="join", room="a")
    bob.ask(code="join", room="a")
    for _ in range(20):
        ann.ask(code="outgoing_broadcast", room="a", content="x" * 16_000)
        chat.loop.turn()
    bob.take()
    bob.transport.is_reading = False
    for _ in range(20):
        bob.ask(code="leave", room="a")
        bob.ask(code="join", room="a", after=f"{1:016x}")
    chat.loop.turn()

    assert bob.transport.get_write_buffer_size() < 2 * 20 * 16_200
