"""Bursts: messages that differ in nothing but their contents are passed on in one piece."""

import json

import msgspec
import pytest
from msgspec import UNSET

from chatroom.protocol import burst
from chatroom.protocol.messages import Outgoing, OutgoingBroadcast, complete, opening, stamped
from chatroom.protocol.stream import REQUESTS, StreamDecoder
from fakes import FakeChat, FakeClient

ALL = b'{"code":"outgoing_broadcast","content":"%b"}\n'
ONE = b'{"code": "outgoing", "to": "bob", "content": "%b"}\n'


def lines(*contents: bytes, line: bytes = ALL) -> bytes:
    return b"".join(line % content for content in contents)


@pytest.mark.parametrize(
    ("line", "first"),
    [
        (ALL, OutgoingBroadcast("a")),
        (ONE, Outgoing("bob", "a")),
        (b'{"to":"bob","code":"outgoing","content":"%b"}\n', Outgoing("bob", "a")),
    ],
)
def test_a_burst(line: bytes, first: Outgoing | OutgoingBroadcast) -> None:
    """Lines that begin and end alike are a burst, however the fields are spaced; its messages are the same."""
    contents = [b"a", b"", rb"say \"hi\" \\", rb"\u00e9\ud83d\ude00", b",", b"{}"]
    data = lines(*contents, line=line)

    found = burst.found(data)

    assert found
    assert found.first == first
    assert found.contents == contents
    assert found.ref is UNSET
    assert found.one_by_one() == StreamDecoder(REQUESTS).feed(data)
    completed = found.completed(opening("ann", is_direct=True)).splitlines()
    assert [json.loads(one) for one in completed] == [
        {"code": "incoming", "from": "ann", "content": message.content} for message in found.one_by_one()
    ]


@pytest.mark.parametrize(
    "data",
    [
        lines(b"a", b"b", b"c"),
        lines(b"a", b"b", b"c", b"d") + ONE % b"e",
        lines(b"a", b"b", b"c", b"d") + b'{"code":"who"}\n',
        lines(b"a", b"b", b"c", "é".encode()),
        lines(b"a", b"b", b"c", b"\x07"),
        lines(b"a", b"b", b"c", b'd","x":"y'),
        lines(b"a", b"b", b"c", b'd" '),
        lines(b"a", b"b", b"c", rb"\ud83d", rb"\ude00"),
        lines(b"a", b"b", b"c\\", b"nd"),
        lines(b"a", b"b", b"c", b"d").replace(b"\n", b"\r\n"),
        lines(b"a", b"b", b"c", b"d", line=b'{"code":"outgoing_broadcast","ref":"1","content":"%b"}\n'),
        lines(b"a", b"b", b"c", b"d", line=b'{"code":"outgoing_broadcast","x":1,"content":"%b"}\n'),
        lines(b"a", b"b", b"c", b"d", line=b'{"code":"who","code":"outgoing_broadcast","content":"%b"}\n'),
        lines(b"a", b"b", b"c", b"d", line=b'{"code":"outgoing","content":"%b","to":"bob"}\n'),
        lines(b"a", b"b", b"c", b"d", line=b'{"code":"outgoing","content":"%b"}\n'),
        lines(b"ann", b"ann", b"ann", b"ann", line=b'{"code":"hello","content":"%b"}\n'),
        lines(b"a", b"b", b"c", b"d") + b'{"code":"outgoing_broadcast","content":"no end}\n',
        b"\n\n\n\n\n",
        b'"content":""}\n' * 9,
    ],
)
def test_no_burst(data: bytes) -> None:
    """Too few, not alike, or not proven: such lines are decoded one by one, and nothing is lost."""
    decoder = StreamDecoder(REQUESTS)
    decoder.finds_bursts = True

    assert burst.found(data) is None
    assert decoder.feed(data) == StreamDecoder(REQUESTS).feed(data)


def contents(client: FakeClient) -> list[str]:
    return [message["content"] if "content" in message else message["error"] for message in client.take()]


def test_it_is_passed_on() -> None:
    """Receivers get a burst as they get single messages, in order with what comes before and behind."""
    chat = FakeChat()
    ann, bob, eve = chat.join("ann"), chat.join("bob"), chat.join("eve")

    ann.send(ONE % b"0" + lines(b"1", b"2", b"3", b"4") + lines(b"5", b"6", b"7", b"8", line=ONE))
    ann.send(lines(b"9", b"10", b"11", b"12", line=ONE))
    ann.send(lines(b"13", b"14", b"15", b"16"))
    chat.loop.turn()

    assert ann.take() == []
    assert contents(bob) == [str(number) for number in range(17)]
    assert contents(eve) == ["1", "2", "3", "4", "13", "14", "15", "16"]


def test_a_burst_before_hello() -> None:
    """Each of its messages is refused."""
    chat = FakeChat()
    ann = chat.connect()

    ann.send(lines(b"1", b"2", b"3", b"4"))
    chat.loop.turn()

    assert [reply["error"] for reply in ann.take()] == ["hello_first"] * 4


def test_a_burst_to_nobody() -> None:
    """Each of its messages is refused; to a name spelled otherwise each is passed on."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("Bob")

    ann.send(lines(b"1", b"2", b"3", b"4", line=ONE.replace(b"bob", b"nobody")))
    ann.send(lines(b"1", b"2", b"3", b"4", line=ONE))
    chat.loop.turn()

    assert contents(ann) == ["unknown_user"] * 4
    assert contents(bob) == ["1", "2", "3", "4"]


def test_a_content_too_big_in_a_burst() -> None:
    """That one is refused, and the others are passed on."""
    chat = FakeChat(max_content=300)
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.send(lines(b"1", b"2", b"x" * 301, b"4"))
    ann.send(lines(*[b"x" * 300] * 4))
    chat.loop.turn()

    assert contents(ann) == ["too_big"]
    assert contents(bob) == ["1", "2", "4", *["x" * 300] * 4]


def test_a_burst_behind_the_end() -> None:
    """What comes behind `quit` is nothing to anybody."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.send(b'{"code":"quit"}\n')
    ann.connection._door.hub.handle(ann.connection._client, [burst.found(lines(b"1", b"2", b"3", b"4"))])  # type: ignore[list-item]
    chat.loop.turn()

    assert bob.take() == []


def test_who_is_throttled_has_no_bursts() -> None:
    """One whose rate is limited pays for each message of a burst."""
    chat = FakeChat(message_burst=10, message_rate=10)
    ann, bob = chat.join("ann", host="192.0.2.1"), chat.join("bob")

    ann.send(lines(*[b"x"] * 30))
    chat.loop.turn()

    assert 5 < len(contents(bob)) < 15


@pytest.mark.parametrize("count", [1, 2, 5, 300, 600])
@pytest.mark.parametrize("number", [0, 250, 256, 10**15 + 255])
def test_stamps_of_many_lines(count: int, number: int) -> None:
    """Lines of a burst get the same stamps as each would alone."""
    start = opening("ann", is_direct=True)
    alone = [complete(start, f'%s {place}, "é"\n{{"code":"incoming"') for place in range(count)]

    together = stamped(b"".join(alone), number, 1.5)

    assert together == b"".join(stamped(line, number + place, 1.5) for place, line in enumerate(alone))
    last = msgspec.json.decode(together.splitlines()[-1])
    assert (last["id"], last["time"], last["content"]) == (
        f"{number + count - 1:016x}",
        1.5,
        f'%s {count - 1}, "é"\n{{"code":"incoming"',
    )
