"""A real server gets what no client should send: an answer or a clean end, and nobody else notices."""

import contextlib
import json
import random
import socket
from collections.abc import Iterator

import pytest

from conftest import ServerProcess
from e2e.brief import BriefClient, LineClient

pytestmark = pytest.mark.slow


@pytest.fixture
def witness(server: ServerProcess) -> Iterator[None]:
    """Somebody else in the room, who must not notice anything."""
    with LineClient(server.port, "witness") as witness:
        yield
        witness.ask(code="outgoing", to="witness", content="still here")
        while (message := witness.read())["code"] == "incoming_broadcast":
            pass
        assert message == {"code": "incoming", "from": "witness", "content": "still here"}


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\xff\xfe\xfd", "bad_json"),
        (b'{"code":"outgoing_broadcast","content":"\xff"}', "bad_json"),
        (b"HELO / HTTP/1.1\r\nHost: x\r\n", "bad_json"),
        (b"[]", "bad_json"),
        (b"null", "bad_json"),
        (b'"who"', "bad_json"),
        (b"[" * 5000, "bad_json"),
        (b'{"x":' + b"[" * 5000, "too_deep"),
        (b'{"code":"who","x":' + b"9" * 20_000 + b"}", "bad_request"),
        (b'{"code":"who","x":' + b"9" * 1000 + b"}", "bad_request"),
        (b'{"code":"outgoing_broadcast","content":"\\ud800"}', "bad_json"),
        (b'{"code":"who","code":"quit"}', "bad_json"),
        (b'{"code":"hello","name":["x"]}', "bad_request"),
        (b'{"code":"outgoing","to":1,"content":"x"}', "bad_request"),
        (b'{"code":"outgoing","to":"x","content":null}', "bad_request"),
        (b'{"code":"outgoing_broadcast","content":{"x":1}}', "bad_request"),
        (b'{"code":{"x":1}}', "bad_request"),
        (b'{"code":"shutdown"}', "unknown_code"),
    ],
    ids=lambda value: str(value[:30]),
)
def test_wrong_bytes(server: ServerProcess, witness: None, data: bytes, word: str) -> None:
    """What is wrong is answered by an error; on the next line all is well again."""
    with LineClient(server.port, "ann") as ann:
        ann.send(data)
        first = ann.read()
        ann.send(b"\n" if data.startswith(b"{") and word == "bad_request" else b'"\n"\n')
        ann.ask(code="who", ref="end")
        answers = [first]
        while answers[-1].get("ref") != "end":
            answers.append(ann.read())

    assert first["error"] == word
    assert answers[-1]["users"] == ["witness", "ann"]


def test_message_of_64_mib(server: ServerProcess, witness: None) -> None:
    """It is refused once 64 KiB have come, the rest is not kept, and the next message is understood."""
    with LineClient(server.port, "ann") as ann:
        ann.ask(code="who")
        ann.read()
        before = server.memory()
        ann.send(b'{"code":"outgoing_broadcast","content":"')
        ann.send(b"x" * 100_000)
        refusal = ann.read()
        for _ in range(64):
            ann.send(b"x" * 1024 * 1024)
        ann.send(b'"}\n')
        ann.ask(code="who")
        answer = ann.read()

    assert refusal["error"] == "too_big"
    assert answer["users"] == ["witness", "ann"]
    assert server.memory() - before < 4 * 1024 * 1024


def test_port_scan(server: ServerProcess, witness: None) -> None:
    """Connections that come and go without a word, whole or reset, do no harm."""
    for number in range(300):
        with BriefClient(server.port) as scanner:
            if number % 3 == 1:
                scanner.reset()
            elif number % 3 == 2:
                scanner.send(random.Random(number).randbytes(number))


def test_thousand_idle_connections(server: ServerProcess, witness: None) -> None:
    """A thousand who connect and say nothing cost a little memory, and nobody's time."""
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection((server.host, server.port)))
        with BriefClient(server.port, "late") as late:
            late.ask(code="who")
            assert late.read() == {"code": "users", "users": ["witness", "late"]}


def test_reset_at_any_moment(server: ServerProcess, witness: None) -> None:
    """A RST after any byte of a conversation harms nobody, and frees the name."""
    talk = b'{"code":"hello","name":"ann"}\n{"code":"who"}\n{"code":"outgoing_broadcast","content":"x"}\n'
    with LineClient(server.port, "listener") as listener:
        for length in range(len(talk)):
            with BriefClient(server.port) as client:
                client.send(talk[:length])
                client.reset()
        for _ in range(100):
            # Messages are still on their way in when the reset comes.
            with BriefClient(server.port, "ann") as client:
                client.send(talk[30:] * 50)
                client.reset()
        listener.ask(code="who", ref="end")
        answer = listener.read()
        while answer.get("ref") != "end":
            assert answer == {"code": "incoming_broadcast", "from": "ann", "content": "x"}
            answer = listener.read()

    assert set(answer["users"]) - {"ann"} == {"witness", "listener"}


def test_half_closed_with_half_an_object(server: ServerProcess, witness: None) -> None:
    """Who ends its side within an object is let go at once."""
    with BriefClient(server.port, "ann") as ann:
        ann.send(b'{"code":"who"')
        ann.socket.shutdown(socket.SHUT_WR)

        assert ann.is_at_end()


def test_garbage_for_long(server: ServerProcess, witness: None) -> None:
    """Twenty wrong lines in a row are answered, then the connection ends."""
    with LineClient(server.port, "ann") as ann:
        with contextlib.suppress(ConnectionError):
            ann.send(b"garbage\n" * 10_000)
        errors = []
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                errors.append(ann.read())

    assert len(errors) == 20
    assert {error["error"] for error in errors} == {"bad_json"}


def test_random_bytes(server: ServerProcess, witness: None) -> None:
    """Anything at all: each answer is a line of JSON, and the server lives."""
    pieces = [
        b"{",
        b"}",
        b'"',
        b"\\",
        b"[",
        b":",
        b",",
        b"\n",
        b'{"code":"who"}',
        b"\xff",
        b"null",
        b'"code"',
    ]
    for seed in range(100):
        chance = random.Random(seed)
        with LineClient(server.port) as client:
            with contextlib.suppress(ConnectionError):
                client.send(b"".join(chance.choices(pieces, k=200)))
                client.socket.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionError):
                while data := client.socket.recv(65536):
                    received += data
        for line in received.splitlines():
            assert json.loads(line)["code"] == "error"
