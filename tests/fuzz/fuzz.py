"""Coverage-guided fuzzing: `make fuzz`, or `python tests/fuzz/fuzz.py stream|names|server [libFuzzer options]`.

What it finds is fixed, and kept as a test. The corpus beside it is where each run begins.
"""

import sys
import tempfile
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
    assert len(set(names.keys(name))) == len(names.keys(name))


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


TARGETS: dict[str, Callable[[bytes], None]] = {"stream": stream, "names": legal_name, "server": server}

if __name__ == "__main__":
    target, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as found:  # what is new goes there, not into the corpus
        atheris.Setup([sys.argv[0], *options, found, str(HERE / "corpus" / target)], TARGETS[target])
        atheris.Fuzz()
