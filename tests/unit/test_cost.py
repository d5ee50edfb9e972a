"""What the way of one message costs, in steps of the interpreter: the same on every machine, busy or not.

A step is one bytecode instruction executed in our own code; the work of C (decoding, joining, writing) is
not counted. The bounds stand a little above what was counted when they were set. Who makes the way of a
message longer on purpose sets them anew, and says so.
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import chatroom
from chatroom.bench.stall import inputs
from chatroom.doors.connection import FIRST_READS
from chatroom.hub.hub import CHANGES
from fakes import FakeChat, FakeClient

OURS = str(Path(chatroom.__file__).parent)


def steps(work: Callable[[], object]) -> int:
    """Return how many instructions of our code this executes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def room(readers: int) -> tuple[FakeChat, FakeClient]:
    chat = FakeChat()
    sender = chat.join("sender")
    for number in range(readers):
        chat.join(f"reader{number}")
    return chat, sender


def segment(line: bytes, messages: int, *, alike: bool) -> bytes:
    """Return so many lines; if not alike, two spellings in turn, so that they are no burst."""
    spelled = line if alike else line + line.replace(b'"content":', b'"content" :')
    return spelled * (messages if alike else messages // 2)


def turn(line: bytes, readers: int, messages: int, *, alike: bool = False) -> int:
    """Return the steps of one segment of messages, and of the turn that delivers them."""
    chat, sender = room(readers)
    for _ in range(FIRST_READS + 1):
        sender.send(line)  # what its messages begin with is made once, and who is new is watched
        chat.loop.turn()

    def work() -> None:
        sender.send(segment(line, messages, alike=alike))
        chat.loop.turn()

    return steps(work)


BROADCAST = b'{"code":"outgoing_broadcast","content":"hello"}\n'
DIRECT = b'{"code":"outgoing","to":"reader0","content":"hello"}\n'


def test_the_count_is_exact() -> None:
    """The same work is the same number of steps."""
    assert turn(BROADCAST, 10, 10) == turn(BROADCAST, 10, 10)


def test_a_reader_more() -> None:
    """A reader costs one push into its connection a turn, however many messages the turn has."""
    cost = (turn(BROADCAST, 200, 2) - turn(BROADCAST, 100, 2)) / 100
    with_many_messages = (turn(BROADCAST, 200, 64) - turn(BROADCAST, 100, 64)) / 100

    assert cost == with_many_messages
    assert cost <= 15


def test_a_message_more() -> None:
    """A broadcast costs the same whether ten or two hundred hear it: fan-out is messages + readers."""
    cost = (turn(BROADCAST, 10, 128) - turn(BROADCAST, 10, 64)) / 64
    with_many_readers = (turn(BROADCAST, 200, 128) - turn(BROADCAST, 200, 64)) / 64

    assert cost == with_many_readers
    assert cost <= 282


def test_a_direct_message_more() -> None:
    """A direct message is found, made and put to its receiver's own in one short way."""
    assert (turn(DIRECT, 10, 128) - turn(DIRECT, 10, 64)) / 64 <= 256


@pytest.mark.parametrize("line", [BROADCAST, DIRECT])
def test_a_message_more_in_a_burst(line: bytes) -> None:
    """Where messages differ in nothing but their contents, one more costs the interpreter nothing."""
    assert turn(line, 10, 128, alike=True) == turn(line, 10, 64, alike=True)


@pytest.mark.parametrize(("line", "bound"), [(BROADCAST, 800), (DIRECT, 580)])
def test_a_single_message(line: bytes, bound: int) -> None:
    """A turn with one message in it: the way of the message, and what the turn itself costs."""
    assert turn(line, 1, 1, alike=True) <= bound


def iterations(chat: FakeChat, client: FakeClient, data: bytes) -> list[int]:
    """Return the steps of what is done as these bytes come in, and of four iterations behind it."""

    def iteration() -> None:
        soon, chat.loop._soon = chat.loop._soon, []
        for callback in soon:
            callback()

    return [steps(lambda: client.send(data)), *(steps(iteration) for _ in range(4))]


@pytest.mark.parametrize("sender", ["stranger", "member", "exempt"])
def test_the_worst_inputs(sender: str) -> None:
    """Of the worst inputs that we know, none costs much more in an iteration than 512 pings do."""
    found = {}
    for one in inputs():
        if one.sender == sender and not one.is_for_crowd:
            chat = FakeChat()
            host = "127.0.0.1" if sender == "exempt" else "192.0.2.7"
            client = chat.connect(host) if sender == "stranger" else chat.join("peer", host)
            found[one.name] = max(iterations(chat, client, one.data))

    assert max(found.values()) < 110_000, found


LOOKING_BACK = [
    {"code": "history"},
    {"code": "history", "room": "a"},
    {"code": "join", "room": "b", "after": "0" * 16},
    {"code": "forget", "id": "0" * 16},
]
"""Requests behind which what was said must be in memory."""


@pytest.mark.parametrize("request_", LOOKING_BACK)
def test_looking_back_hands_out_no_other_room(request_: dict[str, str]) -> None:
    """It costs the same, in however many rooms something was said, in this turn or before."""

    def cost(rooms: int) -> int:
        chat = FakeChat()
        ann = chat.join("ann")
        ann.ask(code="join", room="a")
        others = [chat.join(f"n{number}") for number in range(rooms)]
        for _ in range(2):
            chat.loop.turn()
            for number, other in enumerate(others):
                other.ask(code="join", room=f"room {number}")
                other.ask(code="outgoing_broadcast", room=f"room {number}", content="x")
        return steps(lambda: ann.ask(**request_))

    assert cost(40) == cost(5)


@pytest.mark.parametrize("request_", LOOKING_BACK)
def test_looking_back_is_bounded(request_: dict[str, str]) -> None:
    """Who says something and looks back, again and again, has it handed out so often in a turn, and no more."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")
    for client, room in itertools.product((ann, bob), "ab"):
        client.ask(code="join", room=room)
    chat.loop.turn()
    bob.take()
    place = {"room": request_["room"]} if "room" in request_ else {}
    for content in range(100):
        ann.ask(code="outgoing_broadcast", content=f"{content}", **place)
        if request_["code"] == "join":  # of another, to whom the room is new
            ann.ask(code="leave", room="b")
        ann.ask(**request_)
    pieces = len(bob.transport.segments)
    chat.loop.turn()

    assert pieces <= 2 * CHANGES
    said = [message["content"] for message in bob.take() if message["code"] == "incoming_broadcast"]
    assert said == [f"{content}" for content in range(100)]


def test_who_is_leaving_costs_nothing() -> None:
    """What comes behind the end costs next to nothing, in the same iteration too."""

    def most(objects: int) -> int:
        chat = FakeChat()
        return max(iterations(chat, chat.connect("192.0.2.7"), b"{}" * objects))

    assert most(60_000) < 1.5 * most(2000)


def test_a_message_more_to_look_through() -> None:
    """Who reads one's messages with somebody has each name folded once, not for each message."""

    def cost(messages: int) -> int:
        chat = FakeChat()
        ann, sender = chat.connect(), chat.join("ΐ" * 28)
        ann.ask(code="hello", name="ann", features=["resume"])
        for _ in range(messages):
            sender.ask(code="outgoing", to="ann", content="x", ref="1")
            sender.ask(code="outgoing", to="ann", content="x")
        chat.loop.turn()
        ann.take()

        def work() -> None:
            ann.ask(code="history", **{"with": "nobody"})
            chat.loop.turn()

        return steps(work)

    cost(1)
    assert (cost(200) - cost(100)) / 100 <= 120


def test_presence_of_all_who_watch() -> None:
    """A watcher more who has come costs a notice of its own, and not a look at each of the others."""

    def cost(people: int) -> int:
        chat = FakeChat(max_per_address=1000, rate_per_address=1000)
        for number in range(people):
            chat.connect().ask(code="hello", name=f"n{number}", features=["presence"])
        return steps(lambda: chat.loop.pass_time(1.1))

    assert cost(400) < 2.5 * cost(200)
