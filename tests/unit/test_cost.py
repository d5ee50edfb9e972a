"""What the way of one message costs, in steps of the interpreter: the same on every machine, in any mood.

A step is one bytecode instruction executed in our own code; the work of C (decoding, joining, writing) is
not counted. The bounds stand a little above what was counted when they were set. Who makes the way of a
message longer on purpose sets them anew, and says so.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import chatroom
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


def broadcast(readers: int, messages: int) -> int:
    """Return the steps of one segment of messages, and of the turn that delivers them."""
    chat, sender = room(readers)
    segment = b'{"code":"outgoing_broadcast","content":"hello"}\n' * messages

    def work() -> None:
        sender.send(segment)
        chat.loop.turn()

    return steps(work)


def test_the_count_is_exact() -> None:
    """The same work is the same number of steps."""
    assert broadcast(10, 10) == broadcast(10, 10)


def test_a_reader_more() -> None:
    """A reader costs one push into its connection a turn, however many messages the turn has."""
    cost = (broadcast(200, 1) - broadcast(100, 1)) / 100
    with_many_messages = (broadcast(200, 64) - broadcast(100, 64)) / 100

    assert cost == with_many_messages
    assert cost <= 30


def test_a_message_more() -> None:
    """A broadcast costs the same whether ten or two hundred hear it: fan-out is messages + readers."""
    cost = (broadcast(10, 128) - broadcast(10, 64)) / 64
    with_many_readers = (broadcast(200, 128) - broadcast(200, 64)) / 64

    assert cost == with_many_readers
    assert cost <= 180


def test_a_direct_message_more() -> None:
    """A direct message is found, made and put to its receiver's own in one short way."""

    def direct(messages: int) -> int:
        chat, sender = room(10)
        segment = b'{"code":"outgoing","to":"reader3","content":"hello"}\n' * messages

        def work() -> None:
            sender.send(segment)
            chat.loop.turn()

        return steps(work)

    assert (direct(128) - direct(64)) / 64 <= 130
