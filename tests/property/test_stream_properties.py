"""The stream decoder, held against any messages, any chunks, and any bytes at all."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from chatroom.protocol import burst
from chatroom.protocol.burst import Burst
from chatroom.protocol.messages import (
    AnyRequest,
    Fault,
    Hello,
    Outgoing,
    OutgoingBroadcast,
    Quit,
    Who,
    complete,
    encode,
    opening,
)
from chatroom.protocol.stream import REQUESTS, Asked, StreamDecoder

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
refs = st.none() | st.text(max_size=64).filter(str.isprintable)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
requests = st.one_of(
    st.builds(Hello, texts),
    st.builds(Who),
    st.builds(Outgoing, texts, texts),
    st.builds(OutgoingBroadcast, texts),
    st.builds(Quit),
)
delimiters = st.text(" \t\r\n,\0\x1e\ufeff", max_size=4).map(str.encode)


@st.composite
def written(draw: st.DrawFn) -> tuple[AnyRequest, bytes]:
    """A request, and one of the many ways to write it."""
    request = draw(requests)
    fields = {"code": type(request).__struct_config__.tag}
    fields |= {one.name: getattr(request, one.name) for one in structs.fields(request) if one.required}
    ref = draw(refs)
    if ref is not None:
        fields["ref"] = request.ref = ref
    known = {"code", "name", "features", "to", "content", "ref"}
    extra = draw(st.dictionaries(texts.filter(lambda key: key not in known), values, max_size=2))
    items = draw(st.permutations([*fields.items(), *extra.items()]))
    text = json.dumps(dict(items), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2])))
    return request, text.encode()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def feed(chunks: list[bytes]) -> tuple[list[Asked | Fault], bool, bool]:
    decoder = StreamDecoder(REQUESTS, max_object=2000)
    found: list[Asked | Fault] = []
    for chunk in chunks:
        found += decoder.feed(chunk)
    return found, decoder.newline_seen, decoder.begun is not None


@given(st.lists(st.tuples(written(), delimiters), max_size=6), st.lists(st.integers(0), max_size=12))
def test_any_messages_in_any_chunks(
    parts: list[tuple[tuple[AnyRequest, bytes], bytes]], places: list[int]
) -> None:
    """Whatever the spelling, the delimiters and the chunks, the messages are those that were written."""
    data = b"".join(text + delimiter for (_, text), delimiter in parts)

    found, _, unfinished = feed(cut(data, places))

    assert found == [request for (request, _), _ in parts]
    assert not unfinished


pieces = st.one_of(
    st.binary(max_size=30),
    written().map(lambda pair: pair[1]),
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b"\n", b'{"code":"who"}', b'"a":', b"x" * 2100]
    ),
)


@given(st.lists(pieces, max_size=12).map(b"".join), st.lists(st.integers(0), max_size=12))
def test_any_bytes_in_any_chunks(data: bytes, places: list[int]) -> None:
    """Any bytes give messages and faults, never an exception, and the same ones for all chunks."""
    whole = feed([data])

    assert feed(cut(data, places)) == whole
    assert feed([bytes([byte]) for byte in data]) == whole


@given(st.lists(pieces, max_size=8).map(b"".join))
def test_the_stream_recovers(data: bytes) -> None:
    """After any bytes, and two lines with nothing but a quotation mark, the next line is understood."""
    found, _, unfinished = feed([data + b'"\n"\n{"code":"outgoing_broadcast","content":"here I am"}\n'])

    assert found[-1] == OutgoingBroadcast("here I am")
    assert not unfinished


alike = st.sampled_from(
    [
        b'{"code":"outgoing_broadcast","content":"',
        b'{"code": "outgoing", "to": "b", "content": "',
        b'{"code":"outgoing","to":"\\"content\\":","content":"',
        b'{"code":"outgoing","to":"content","content":"',
        b'{"code":"who","x":"","content":"',
        b' ,{"code":"outgoing_broadcast","content":"',
    ]
)
bits = st.sampled_from(
    [
        b"a",
        b",",
        b" ",
        b"{",
        b"}",
        b'"',
        b'\\"',
        b"\\",
        b"\\\\",
        b"\\n",
        b"n",
        b"\\ud83d",
        b"\\ude00",
        b"\x01",
        b"\xc3\xa9",
    ]
)
tails = st.sampled_from(
    [*[b'"}\n'] * 9, b'"} \n', b'" }\n', b'"}', b'"}\r\n', b'","content":"b"}\n', b'","x":1}\n']
)
rows = st.lists(st.tuples(st.lists(bits, max_size=4).map(b"".join), tails, st.none() | alike), max_size=9)


@given(alike, rows, st.lists(st.integers(0), max_size=3))
def test_bursts_are_their_messages(
    head: bytes, parts: list[tuple[bytes, bytes, bytes | None]], places: list[int]
) -> None:
    """Lines that are nearly alike give the same messages and faults, whether bursts are looked for or not."""
    data = b"".join((other or head) + content + tail for content, tail, other in parts)
    decoder = StreamDecoder(REQUESTS, max_object=2000)
    decoder.finds_bursts = True

    found: list[Asked | Fault] = []
    for chunk in cut(data, places):
        for one in decoder.feed(chunk):
            found += one.one_by_one() if isinstance(one, Burst) else [one]

    assert found == feed([data])[0]


@given(st.lists(texts, min_size=3, max_size=9), st.text('abc\u0451"\\', min_size=1, max_size=9))
def test_a_completed_burst(contents: list[str], sender: str) -> None:
    """What receivers get of a burst reads the same as its messages one by one."""
    messages = [OutgoingBroadcast(content) for content in ["", *contents]]
    start = opening(sender)

    found = burst.found(b"".join(map(encode, messages)))

    assert found
    assert found.one_by_one() == messages
    completed, singly = found.completed(start), b"".join(complete(start, one.content) for one in messages)
    assert completed.isascii()
    assert [*map(json.loads, completed.splitlines())] == [*map(json.loads, singly.splitlines())]
