"""The stream decoder: objects out of bytes, however they were cut."""

import math
import time
import tracemalloc
from typing import cast, get_args

import pytest
from msgspec import inspect

from chatroom.protocol.messages import (
    AnyRequest,
    ErrorCode,
    Fault,
    Hello,
    Outgoing,
    OutgoingBroadcast,
    Quit,
    Who,
)
from chatroom.protocol.stream import REQUESTS, STEPS, Asked, StreamDecoder

SHORT = "strings of at most 64 characters"


def decode(data: bytes, *, size: int | None = None, max_object: int = 65536) -> list[Asked | Fault]:
    decoder = StreamDecoder(REQUESTS, max_object)
    size = size or len(data) or 1
    return [found for at in range(0, len(data), size) for found in decoder.feed(data[at : at + size])]


def put_off(data: bytes, size: int, max_object: int = 65536) -> list[Asked | Fault]:
    """Decode together what can be, and the rest a piece later, or two."""
    decoder = StreamDecoder(REQUESTS, max_object)
    found: list[Asked | Fault] = []
    for number, at in enumerate(range(0, len(data), size)):
        found += decoder.feed(data[at : at + size], closely=False)
        if number % 2:
            found += decoder.feed(b"")
    return [*found, *decoder.feed(b"")]


def decoded(data: bytes, **options: int) -> list[Asked | ErrorCode]:
    """Decode whole, byte by byte, put off, and with more behind; all must give the same."""
    whole = decode(data, **options)
    assert put_off(data, 1, **options) == put_off(data, 20, **options) == whole
    assert decode(data, size=1, **options) == whole
    assert decode(data, size=3, **options) == whole
    behind = decode(data + b'\n{"code":"quit"}', **options)
    if behind[: len(whole)] != whole:
        # what came behind was the end of something broken
        assert isinstance(whole[-1], Fault)
    return [ErrorCode(one.error) if isinstance(one, Fault) else one for one in whole]


@pytest.mark.parametrize(
    "delimiter", [b"", b"\n", b"\r\n", b" ", b",", b"\x00", b"\x1e", b"\n\n", b"\xef\xbb\xbf", b" ,\t\x00\n"]
)
def test_delimiters(delimiter: bytes) -> None:
    """Objects may be separated by anything harmless, or by nothing."""
    data = delimiter.join([b'{"code":"who"}', b'{"code":"hello","name":"ann"}', b'{"code":"quit"}'])

    assert decoded(data) == [Who(), Hello("ann"), Quit()]


def test_pretty_printed() -> None:
    """An object may stand on many lines, with unknown fields of any shape in it."""
    data = b'{\n "code": "outgoing",\n "x": {"y": [1, [], {"z": null}]},\n "to": "a{b",\n "content": "}"\n}\n'

    assert decoded(data) == [Outgoing("a{b", "}")]


def test_escapes() -> None:
    """Escapes are decoded, quotation marks in a message do no harm."""
    data = rb'{"code":"outgoing_broadcast","content":"say \"hi\" \\ \u00e9 \ud83d\ude00"}'

    assert decoded(data) == [OutgoingBroadcast('say "hi" \\ é 😀')]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[]", [ErrorCode.BAD_JSON]),
        (b"42\n", [ErrorCode.BAD_JSON]),
        (b'null\n{"code":"who"}', [ErrorCode.BAD_JSON, Who()]),
        (b'hello there\n{"code":"who"}\n', [ErrorCode.BAD_JSON, Who()]),
        (b'[{"code":"who"}]', [ErrorCode.BAD_JSON, Who(), ErrorCode.BAD_JSON]),
        (b'\xff\xfe{"code":"who"}', [ErrorCode.BAD_JSON, Who()]),
        (b'{"code":"who"', []),
        (b"{}", [ErrorCode.BAD_REQUEST]),
        (b'{"code":"who"]}', [ErrorCode.BAD_JSON]),
        (b'{"code":who}', [ErrorCode.BAD_JSON]),
        (b"{'code':'who'}", [ErrorCode.BAD_JSON]),
        (b'{"code":"who",}', [ErrorCode.BAD_JSON]),
        (b'{"code":"no such thing"}', [ErrorCode.UNKNOWN_CODE]),
        (b'{"code":7}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":null}', [ErrorCode.BAD_REQUEST]),
        (b'{"name":"ann"}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"hello"}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"hello","name":1}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"outgoing","to":[],"content":"x"}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"outgoing","to":"x","content":{}}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"who","ref":1}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"who","ref":null}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"who","ref":"' + b"x" * 65 + b'"}', [ErrorCode.BAD_REQUEST]),
        (b'{"code":"who","ref":"' + b"x" * 64 + b'"}', [Who(ref="x" * 64)]),
        # what a decoder that skips unknown fields, or takes the last of two, would let pass
        (b'{"code":"quit","code":"who"}', [ErrorCode.BAD_JSON]),
        (b'{"code":"who","x":{"a":1,"\\u0061":2}}', [ErrorCode.BAD_JSON]),
        (b'{"code":"outgoing_broadcast","content":"\\\\","content":"x"}', [ErrorCode.BAD_JSON]),
        (b'{"code":"who","x":[{"\\"":1,"\\u0022":2}]}', [ErrorCode.BAD_JSON]),
        (b'{"code":"who","x":[{"\\\\":1,"\\u0022":"\\\\\\""},{"\\\\":2}]}', [Who()]),
        (b'{"code":"who","x":[1.5,1e999,{"a":{"a":-0.0}}]}', [Who()]),
        (b'{"code":"who","x":"\xff"}', [ErrorCode.BAD_JSON]),
        (
            b'{"code":"outgoing_broadcast","content":"\\\\","ref":"\\\\","\\\\":"\xff\\\\"}',
            [ErrorCode.BAD_JSON],
        ),
        (b'{"code":"who","\xff":1}', [ErrorCode.BAD_JSON]),
        (b'{"code":"who","x":"\\ud800"}', [ErrorCode.BAD_JSON]),
        (b'{"code":"hello","name":"\\udc00"}', [ErrorCode.BAD_JSON]),
        (b'{"code":"hello","name":"\xed\xa0\x80"}', [ErrorCode.BAD_JSON]),
        (b'{"code":"who","x":NaN}', [ErrorCode.BAD_JSON]),
        (b'{"code":"who","x":-Infinity}', [ErrorCode.BAD_JSON]),
        (b'{"code":"who","x":' + b"9" * 20_000 + b"}", [ErrorCode.BAD_REQUEST]),
        (b'{"code":"hello","name":"a\x01b"}', [ErrorCode.BAD_JSON]),
    ],
)
def test_what_is_wrong(data: bytes, expected: list[Asked | ErrorCode]) -> None:
    """Each wrong object, or run of garbage, is one error; what follows is understood."""
    assert decoded(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"code":"who"\n{"code":"quit"}\n', [ErrorCode.BAD_JSON, Quit()]),
        (b'{"code":"who\n{"code":"quit"}\n', [ErrorCode.BAD_JSON, Quit()]),
        (b'{"code":"outgoing","to":{"code":"who"}\n{"code":"quit"}\n', [ErrorCode.BAD_JSON, Quit()]),
        (b'{"code":"a\nb"}\n{"code":"quit"}\n', [ErrorCode.BAD_JSON, ErrorCode.BAD_JSON, Quit()]),
        (b'{"code":"a\\\nb\n{"code":"quit"}\n', [ErrorCode.BAD_JSON, ErrorCode.BAD_JSON, Quit()]),
    ],
)
def test_lost_ends(data: bytes, expected: list[Asked | ErrorCode]) -> None:
    """A lost quotation mark or brace costs one message, not all that follow."""
    assert decoded(data) == expected


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b'{"code":"hello","name":"caf\xe9"}', "byte 0xe9 at offset 27"),
        (b'{"code":"who","x":["caf\xc3\xa9","\xed\xa0\x80"]}', "byte 0xed at offset 28"),
        (b'{"\xff":1,"code":"who"}', "byte 0xff at offset 2"),
    ],
)
def test_error_names_the_byte(data: bytes, where: str) -> None:
    """What is not UTF-8 is shown, and where in its object it stands."""
    [_, fault] = decode(b'{"code":"who"}\n' + data)

    assert isinstance(fault, Fault)
    assert where in fault.message


def test_error_names_the_field_and_carries_the_ref() -> None:
    """An error says which field is wrong, and goes back with the ref of its request."""
    [fault] = decode(b'{"code":"outgoing","ref":"7","to":1,"content":"x"}')

    assert isinstance(fault, Fault)
    assert fault.message == '"to" must be a string'
    assert fault.ref == "7"


def test_depth() -> None:
    """32 objects and arrays in one another are allowed, 33 are refused, 5,000 cost no more."""
    assert decoded(b'{"code":"who","x":' + b"[" * 31 + b"]" * 31 + b"}") == [Who()]
    assert decoded(b'{"code":"who","x":' + b"[" * 32 + b"]" * 32 + b"}") == [ErrorCode.TOO_DEEP]
    assert decoded(b'{"code":"who","x":' + b'{"a":' * 32 + b"1" + b"}" * 32 + b"}") == [ErrorCode.TOO_DEEP]
    assert decoded(b'{"code":"who","x":' + b"[" * 5000 + b'\n{"code":"who"}') == [ErrorCode.TOO_DEEP]


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_size(newline: bytes) -> None:
    """An object of exactly the limit passes; one byte more is refused, once, and its end is found."""
    fits = b'{"code":"outgoing_broadcast","content":"' + b"x" * 58 + b'"}'
    assert len(fits) == 100
    longer = fits.replace(b"xx", b"xxx", 1)
    nested = b'{"code":"who","x":{"code":"quit","y":"' + b'{\\"code\\":' * 20 + b'"}}'

    for behind in [b"", newline + b'{"code":"who"}' + newline]:
        more = [Who()] if behind else []
        assert decoded(fits + behind, max_object=100) == [OutgoingBroadcast("x" * 58), *more]
        assert decoded(longer + behind, max_object=100) == [ErrorCode.TOO_BIG, *more]
        assert decoded(nested + behind, max_object=100) == [ErrorCode.TOO_BIG, *more]
    assert decoded(b'{"x":"' + b"x" * 200 + b'\n{"code":"who"}', max_object=100) == [ErrorCode.TOO_BIG, Who()]


def test_memory_stays_flat() -> None:
    """Of a message of 64 MiB nothing is kept; it is refused once, and the next one is understood."""
    decoder = StreamDecoder(REQUESTS)
    chunk = b"x" * 65536
    assert decoder.feed(b'{"code":"outgoing_broadcast","content":"') == []

    tracemalloc.start()
    try:
        found = [fault for _ in range(1024) for fault in decoder.feed(chunk)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [one.error for one in found if isinstance(one, Fault)] == [ErrorCode.TOO_BIG]
    assert peak < 1_000_000
    assert decoder.feed(b'"}{"code":"who"}') == [Who()]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"' + b"x" * 60_000,
        b'{"a":["' + b'","' * 20_000,
        b'{"a":[' + b"[]," * 20_000,
        b"{" + b" " * 60_000,
        b'{"a":' + b"\n" * 60_000 + b"}",
        b'{"a":"' + b"\\\\" * 30_000,
        b'{"code":"who"}' * 4_000,
        b'{"code":"who","x":{}}\n' * 3_000,
        b"x" * 60_000,
        b"\n" * 60_000,
    ],
    ids=lambda data: str(data[:20]),
)
def test_time_is_linear(data: bytes) -> None:
    """Eight times the bytes take about eight times as long, one at a time too: no scan starts over.

    If one did, it would be sixty-four times; the bound between leaves room for measurement noise.
    """

    def work(data: bytes, size: int) -> float:
        return min(_timed(data, size) for _ in range(3))

    for size in (1, 50):
        eighth, whole = work(data[: len(data) // 8], size), work(data, size)
        assert whole < 24 * eighth + 0.02


def test_what_is_hard_to_decode_is_counted() -> None:
    """Whatever an object is made of, its steps take no longer than four times those of nested lists."""

    def a_step(item: bytes) -> float:
        data = b'{"code":"ping","x":[' + b",".join([item] * (60_000 // (len(item) + 1))) + b"]}\n"
        least = math.inf
        for _ in range(5):
            decoder, began, rest = StreamDecoder(REQUESTS, batch=20), time.process_time(), data
            while rest:
                decoder.feed(rest if rest is data else b"")
                rest = decoder.rest
            least = min(least, (time.process_time() - began) / decoder.effort)
        return least

    items = [b"1", b"0.1", b"1e9", b"null", b"9" * 19, b"9" * 20, b"9" * 300, b"9" * 640, b"1." + b"7" * 400]
    items += [b'""', b'"a"', b"{}", b'{"a":1}', b'{"a":{"b":[1]}}']
    items += [b'"%b"' % (piece * 9000) for piece in (b"\\n", b"\\u00e9", b'\\"', b"\\\\", b"x", "é".encode())]
    items += [b"{%b}" % b",".join(b'"%d":1' % number for number in range(6000))]
    known = a_step(b"[[]]")
    assert {item[:20]: a_step(item) / known for item in items if a_step(item) > 4 * known} == {}


@pytest.mark.parametrize("value", [b"1.7976931348623157e308", b'{"a":{}}'])
def test_unknown_values(value: bytes) -> None:
    """An object of values that are hard to read takes about as long as one of digits, and is counted."""
    size = 60_000
    odd, plain = (
        b'{"code":"who","x":[%b]}' % b",".join([one] * (size // (len(one) + 1))) for one in (value, b"1")
    )
    decoder = StreamDecoder(REQUESTS)
    assert decoder.feed(odd) == [Who()]
    assert decoder.effort >= size // STEPS

    def work(data: bytes) -> float:
        return min(_examined(data) for _ in range(5))

    assert work(odd) < 6 * work(plain)


def _examined(data: bytes) -> float:
    decoder = StreamDecoder(REQUESTS)
    start = time.process_time()
    assert decoder._decode(data) == Who()
    return time.process_time() - start


def _timed(data: bytes, size: int) -> float:
    start = time.process_time()
    decode(data, size=size)
    return time.process_time() - start


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"code":"who"}', False),
        (b'{"code":"who"}{"code":"who"}', False),
        (b'{\n"code":\n"who"\n}', False),
        (b'{\n"code":\n"who"\n}{"code":"who"}', False),
        (b"garbage\n", False),
        (b'{"code":"a\nb', False),
        (b'{"code":"who"}\n', True),
        (b'{"code":"who"} \r\n', True),
        (b'\n{"code":"who"}', True),
        (b'{"code":"who"}\n{"code":"who"}', True),
    ],
)
def test_newline_seen(data: bytes, expected: bool) -> None:
    """A line break between or behind objects tells a peer that speaks in lines; others do not."""
    for size in (1, len(data)):
        decoder = StreamDecoder(REQUESTS)
        for at in range(0, len(data), size):
            decoder.feed(data[at : at + size])

        assert decoder.newline_seen is expected


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (rb'{"code":"hello","name":"\ud800"}', "a lone surrogate is not allowed"),
        (rb'{"code":"hello","name":"a\ud83d\u0041"}', "a lone surrogate is not allowed"),
        (rb'{"code":"hello","name":"\udc00 and more"}', "a lone surrogate is not allowed"),
        (rb'{"code":"who","unknown":[["\udbff"]]}', "a lone surrogate is not allowed"),
        (rb'{"code":"who","unknown":"\u1"}', "an escape is incomplete"),
        (b'{"code":"who","code":"who"}', "duplicate key"),
    ],
)
def test_sentences(data: bytes, sentence: str) -> None:
    """An error says what is wrong with the object as its author would look for it."""
    [fault] = decode(data)

    assert isinstance(fault, Fault)
    assert (fault.error, fault.message) == (ErrorCode.BAD_JSON, sentence)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ('{"code":"join"}', '"room" is missing'),
        ("{}", '"code" is missing'),
        ('{"code":1}', '"code" must be a string'),
        ('{"code":"hello","name":1}', '"name" must be a string'),
        ('{"code":"hello","name":"ann","features":"ping"}', '"features" must be an array of ' + SHORT),
        ('{"code":"hello","name":"ann","features":[1]}', '"features" must be an array of ' + SHORT),
        ('{"code":"history","limit":201}', '"limit" must be a whole number from 1 to 200'),
        ('{"code":"history","limit":null}', '"limit" must be a whole number from 1 to 200'),
        ('{"code":"history","find":""}', '"find" must be a string of 1 to 256 characters'),
        ('{"code":"history","with":5}', '"with" must be a string'),
        ('{"code":"who","ref":5}', '"ref" must be a string of at most 64 characters'),
    ],
)
def test_what_is_wrong_with_a_field(request_: str, sentence: str) -> None:
    """The field is named as the protocol calls it, and what it must be, in words of JSON."""
    assert [fault.message for fault in decode(request_.encode()) if isinstance(fault, Fault)] == [sentence]


def test_fields_of_one_name_are_of_one_type() -> None:
    """So what a field must be can be said by its name."""
    types: dict[str, set[str]] = {}
    for kind in get_args(AnyRequest):
        for field in cast("inspect.StructType", inspect.type_info(kind)).fields:
            types.setdefault(field.encode_name, set()).add(str(field.type))

    assert [name for name, kinds in types.items() if len(kinds) > 1] == []
