"""Coverage-guided fuzzing: `make fuzz`, or `python tests/fuzz/fuzz.py TARGET [libFuzzer options]`.

What it finds is fixed, and kept as a test. The corpus beside it is where each run begins.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

with atheris.instrument_imports(include=["chatroom"]):
    from chatroom.protocol import names
    from chatroom.protocol.burst import Burst
    from chatroom.protocol.stream import REQUESTS, StreamDecoder
    from fakes import FakeChat


def stream(data: bytes) -> None:
    """Any bytes give the same messages and faults, however they are cut, with bursts or without."""
    if not data:
        return
    size, data = data[0] % 16 + 1, data[1:]
    whole = StreamDecoder(REQUESTS, 500)
    cut = StreamDecoder(REQUESTS, 500)
    whole.finds_bursts = True
    found = [
        each for one in whole.feed(data) for each in (one.one_by_one() if isinstance(one, Burst) else [one])
    ]
    parts = [one for at in range(0, len(data), size) for one in cut.feed(data[at : at + size])]

    assert parts == found
    assert (cut.newline_seen, cut.begun is None) == (whole.newline_seen, whole.begun is None)


def legal_name(data: bytes) -> None:
    """Any text is a legal name or a `BadName`; a legal one stays legal, and is found however it is folded."""
    text = data.decode("utf-8", "surrogateescape")
    names.quoted(text)
    try:
        address = names.address(text)
        name = names.checked(text)
    except names.BadName:
        return
    assert names.checked(name) == name
    assert names.keys(name)[0] == address == names.keys(name.casefold())[0]
    assert len(names.keys(name)) == 4


def server(data: bytes) -> None:
    """A whole server on a fake loop, several clients, and anything that they may do."""
    chat = FakeChat(max_backlog=20_000, max_backlogs=50_000, max_content=500, message_burst=5)
    ann = chat.join("ann")
    clients = [ann, chat.connect("192.0.2.1"), chat.connect()]
    at = 0
    while at < len(data):
        client, action, size = clients[data[at] % 3], data[at] // 3 % 6, data[at] // 18 * 8
        piece, at = data[at + 1 : at + 1 + size], at + 1 + size
        if action < 3:
            client.send(piece)
        elif action == 3:
            chat.loop.pass_time(size / 10)
        elif action == 4:
            client.transport.is_reading = not client.transport.is_reading
            if client.transport.is_reading and not client.transport.is_gone:
                client.transport.read_on()
        else:
            client.transport.vanish(None)
        chat.loop.turn()
    for client in clients:
        client.transport.vanish(None)
    chat.loop.pass_time(100)

    assert not any(line.endswith("bug") for line in chat.observer.lines)
    assert not chat.hub.users()
    assert not len(chat.door.deadlines)
    assert chat.door.backlog.size == 0


# What an input costs

Work = Callable[[bytes], float]
"""Does something with bytes; returns the seconds of processor time that it took at a stretch."""

LONG = 16 * 1024
"""Bytes that each input is repeated to, so that what grows faster than its length is seen."""
AGAIN = 5
"""Measurements of an input that seems dear; the cheapest counts, beside the dearest of the reference."""
UNNOTICED = 0.002
"""Seconds that no input is blamed for."""
ORDINARY = (
    b'{"code":"outgoing_broadcast","content":"hello, everybody"}\n'
    b'{"code": "outgoing_broadcast","content":"hello"}\n'
)
"""Messages that are no burst."""


def _name(data: bytes) -> float:
    text = data.decode("utf-8", "surrogateescape")
    began = time.process_time()
    with contextlib.suppress(names.BadName):
        names.keys(names.checked(text))
    return time.process_time() - began


def _decoded(data: bytes) -> float:
    began = time.process_time()
    StreamDecoder(REQUESTS).feed(data)
    return time.process_time() - began


def _served(host: str, name: str | None, before: bytes = b"", behind: bytes = b"") -> Work:
    """Return what a server does with bytes from one at this address: the dearest iteration of its loop.

    `name`: of one who is welcome; `before` and `behind` stand around the bytes.
    """

    def work(data: bytes) -> float:
        chat = FakeChat()
        chat.join("ann")
        client = chat.join(name, host) if name else chat.connect(host)
        began = time.process_time()
        client.send(before + data + behind)
        dearest = time.process_time() - began
        while chat.loop._soon:
            began = time.process_time()
            soon, chat.loop._soon = chat.loop._soon, []
            for callback in soon:
                callback()
            dearest = max(dearest, time.process_time() - began)
        return dearest

    return work


AFAR, NEAR = "192.0.2.1", "127.0.0.1"
"""Addresses for which limits on floods hold, and do not."""

WORKS: list[tuple[Work, Work, bytes, float]] = [
    # what is measured, what the reference is measured by, the reference, and how many times as dear one may be
    (_name, _name, "Ёлка 각".encode() * 3, 30),
    (_decoded, _decoded, b'{"code":"x"}', 5),
    (_served(AFAR, None), _served(NEAR, "bob"), ORDINARY, 10),
    (_served(AFAR, "bob"), _served(NEAR, "bob"), ORDINARY, 10),
    (_served(NEAR, "bob"), _served(NEAR, "bob"), ORDINARY, 10),
    (_served(AFAR, None, b'{"code":"hello","name":"', b'"}\n'), _served(NEAR, "bob"), ORDINARY, 10),
    (
        _served(AFAR, "bob", b'{"code":"outgoing","content":"","to":"', b'"}\n'),
        _served(NEAR, "bob"),
        ORDINARY,
        5,
    ),
]


def cost(data: bytes) -> None:
    """No input takes much more processor time at a stretch than a reference of as many bytes.

    The first byte tells what it is given to: a name, the decoder, or a server, from one peer or another.
    """
    if len(data) < 2:
        return
    work, refer, reference, times = WORKS[data[0] % len(WORKS)]
    piece = data[1:]
    long = piece * (LONG // len(piece))
    ordinary = reference if work is _name else reference * (LONG // len(reference))  # a name is bounded
    taken, bound = work(long), refer(ordinary)
    for _ in range(AGAIN):
        if taken <= max(times * bound, UNNOTICED):
            return
        taken, bound = min(taken, work(long)), max(bound, refer(ordinary))
    raise AssertionError(f"{taken * 1000:.1f} ms, {taken / bound:.0f} times the reference: {piece[:50]!r}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "stream": stream,
    "names": legal_name,
    "server": server,
    "cost": cost,
}

if __name__ == "__main__":
    target, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as found:  # what is new goes there, not into the corpus
        atheris.Setup([sys.argv[0], *options, found, str(HERE / "corpus" / target)], TARGETS[target])
        atheris.Fuzz()
