"""Coverage-guided fuzzing: `make fuzz`, or `python tests/fuzz/fuzz.py TARGET [libFuzzer options]`.

What it finds is fixed, and kept as a test. The corpus beside it is where each run begins.
"""

import contextlib
import gc
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

Work = Callable[[bytes], list[float]]
"""Does something with bytes; returns the seconds of processor time of each iteration of the loop."""

LONG = 16 * 1024
"""Bytes that each input is repeated to, so that what grows faster than its length is seen."""
AGAIN = 20
"""Measurements of an input that seems dear, and of the reference in turn; the least of each counts."""
ODD = b'{"x":[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]}\n'
"""What takes as many steps as an iteration may have: a process that is slow is slow at both."""


def _seconds(step: Callable[[], object]) -> float:
    """Return the processor time that this takes, without a collection of what others left."""
    gc.disable()
    began = time.process_time()
    step()
    used = time.process_time() - began
    gc.enable()
    return used


def _name(data: bytes) -> list[float]:
    text = data.decode("utf-8", "surrogateescape")

    def work() -> None:
        with contextlib.suppress(names.BadName):
            names.keys(names.checked(text))

    return [_seconds(work)]


def _decoded(data: bytes) -> list[float]:
    return [_seconds(lambda: StreamDecoder(REQUESTS).feed(data))]


def _served(host: str, name: str | None, before: bytes = b"", behind: bytes = b"") -> Work:
    """Return what a server does with bytes from one at this address.

    `name`: of one who is welcome; `before` and `behind` stand around the bytes.
    """

    def work(data: bytes) -> list[float]:
        chat = FakeChat()
        chat.join("ann")
        client = chat.join(name, host) if name else chat.connect(host)

        def iteration() -> None:
            soon, chat.loop._soon = chat.loop._soon, []
            for callback in soon:
                callback()

        taken = [_seconds(lambda: client.send(before + data + behind))]
        while chat.loop._soon:
            taken.append(_seconds(iteration))
        return taken

    return work


def _dearest(runs: list[list[float]]) -> float:
    """Return the dearest iteration of work that was done again and again, each by its cheapest time."""
    cheapest: list[float] = [min(times) for times in zip(*runs, strict=False)]
    return max(cheapest)


AFAR, NEAR = "192.0.2.1", "127.0.0.1"
"""Addresses for which limits on floods hold, and do not."""
BOB = _served(NEAR, "bob")

WORKS: list[tuple[Work, Work, bytes, float]] = [
    # what is measured, what the reference is measured by, the reference, and how many times as dear one may be
    (_name, BOB, ODD, 0.5),
    (_decoded, _decoded, b"{}", 3),
    (_served(AFAR, None), BOB, ODD, 2),
    (_served(AFAR, "bob"), BOB, ODD, 2),
    (BOB, BOB, ODD, 2),
    (_served(AFAR, None, b'{"code":"hello","name":"', b'"}\n'), BOB, ODD, 2),
    (_served(AFAR, "bob", b'{"code":"outgoing","content":"","to":"', b'"}\n'), BOB, ODD, 2),
    (_served(NEAR, "bob", b'{"code":"ping","x":[', b"0]}\n"), BOB, ODD, 1.7),
]


def cost(data: bytes) -> None:
    """No input takes much more processor time at a stretch than a reference of as many bytes.

    The first byte tells what it is given to: a name, the decoder, or a server, from one peer or another.
    """
    if len(data) < 2:
        return
    work, refer, reference, times = WORKS[data[0] % len(WORKS)]
    piece = data[1:]
    long, known = piece * (LONG // len(piece)), reference * (LONG // len(reference))
    inputs, references = [work(long)], [refer(known)]
    while (taken := _dearest(inputs)) > (bound := times * _dearest(references)):
        if len(inputs) == AGAIN:
            raise AssertionError(f"{taken * 1000:.1f} ms, {bound * 1000:.1f} allowed: {piece[:50]!r}")
        inputs.append(work(long))
        references.append(refer(known))


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
