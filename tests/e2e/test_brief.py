"""A real server, and clients that know only the brief."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from conftest import ServerProcess
from e2e.brief import BriefClient, LineClient

pytestmark = pytest.mark.slow


def test_the_whole_brief(server: ServerProcess) -> None:
    """Hello, who, a message to one, a broadcast and quit, with exactly the brief's fields."""
    with (
        BriefClient(server.port, "ann") as ann,
        BriefClient(server.port, "bob") as bob,
        BriefClient(server.port, "eve") as eve,
    ):
        ann.ask(code="who")
        assert ann.read() == {"code": "users", "users": ["ann", "bob", "eve"]}

        ann.ask(code="outgoing", to="bob", content="hi bob, été 😀 \u2028")
        assert bob.read() == {"code": "incoming", "from": "ann", "content": "hi bob, été 😀 \u2028"}

        bob.ask(code="outgoing_broadcast", content="hi all")
        for other in (ann, eve):
            assert other.read() == {"code": "incoming_broadcast", "from": "bob", "content": "hi all"}

        bob.ask(code="quit")
        assert bob.is_at_end()
        eve.reset()
        present = ["ann", "eve"]  # for as long as the reset has not been noticed
        while present != ["ann"]:
            ann.ask(code="who")
            answer = ann.read()
            assert answer in ({"code": "users", "users": ["ann", "eve"]}, {"code": "users", "users": ["ann"]})
            present = answer["users"]


@pytest.mark.parametrize("kind", [BriefClient, LineClient])
def test_two_want_one_name(server: ServerProcess, kind: type[BriefClient]) -> None:
    """The second is told so, and offered a free name, on the same connection; the first notices nothing."""
    with kind(server.port, "ann") as ann, kind(server.port) as second:
        second.ask(code="hello", name="ANN")
        refusal = second.read()
        assert (refusal["code"], refusal["error"], refusal["suggestion"]) == ("error", "name_taken", "ANN2")

        second.ask(code="hello", name=refusal["suggestion"])
        assert second.read() == {"code": "welcome"}
        ann.ask(code="who")
        assert ann.read() == {"code": "users", "users": ["ann", "ANN2"]}


@pytest.mark.parametrize("end", ["quit", "close", "reset"])
def test_a_name_is_free_again(server: ServerProcess, end: str) -> None:
    """However its owner went, a name can be had again at once."""
    for _ in range(20):
        with BriefClient(server.port, "ann") as ann:
            if end == "quit":
                ann.ask(code="quit")
                assert ann.is_at_end()
            elif end == "reset":
                ann.reset()


def test_naive_reader_in_a_busy_room(server: ServerProcess) -> None:
    """Who reads one message per `recv()` is not broken by two that are sent at once, nor is its `who`."""
    while (received := read_naively(server)) is None:
        pass

    users = [message for message in received if message["code"] == "users"]
    assert users == [{"code": "users", "users": ["naive", "busy"]}]
    texts = [message["content"] for message in received if message["code"] != "users"]
    assert texts == [str(number) for number in range(30)]


def read_naively(server: ServerProcess) -> list[Any] | None:
    """Return what a naive client gets; None if it had no processor for so long that two messages had come.

    If they were sent together, it would always be None: without a pace, 97 % of its reads break.
    """
    with BriefClient(server.port, "naive") as naive, LineClient(server.port, "busy") as busy:
        for number in range(30):
            busy.ask(code="outgoing_broadcast", content=str(number))
        naive.ask(code="who")
        try:
            return [naive.read() for _ in range(31)]
        except json.JSONDecodeError:
            return None


def test_one_byte_per_segment(server: ServerProcess) -> None:
    """Cut at every byte, requests are understood."""
    with BriefClient(server.port) as ann:
        for request, answer in [
            ('{"code":"hello","name":"ann é"}', {"code": "welcome"}),
            ('{"code":"who"}', {"code": "users", "users": ["ann é"]}),
        ]:
            for byte in request.encode():
                ann.send(bytes([byte]))
            assert ann.read() == answer


def test_many_messages_in_order(server: ServerProcess) -> None:
    """Thousands of messages, direct and broadcast, from two senders at once, all arrive in order."""
    with (
        LineClient(server.port, "ann") as ann,
        LineClient(server.port, "bob") as bob,
        LineClient(server.port, "eve") as eve,
    ):
        count = 3000
        for number in range(count):
            for sender in (ann, bob):
                if number % 3:
                    sender.ask(code="outgoing_broadcast", content=str(number))
                else:
                    sender.ask(code="outgoing", to="eve", content=str(number))
        received = [eve.read() for _ in range(2 * count)]

    for name in ("ann", "bob"):
        assert [message["content"] for message in received if message["from"] == name] == [
            str(number) for number in range(count)
        ]


def test_netcat(server: ServerProcess) -> None:
    """`printf … | nc` gets all its answers, though it ends its own side first."""
    program = shutil.which("nc")
    if program is None:
        pytest.skip("nc is missing: apt-get install netcat-openbsd")
    lines = (
        b'{"code": "hello", "name": "ann"}\n{"code": "who"}\n{"code":"outgoing","to":"ann","content":"me"}\n'
    )

    answers = subprocess.run(
        [program, "-N", server.host, str(server.port)],
        input=lines,
        capture_output=True,
        check=True,
    )

    assert [json.loads(line) for line in answers.stdout.splitlines()] == [
        {"code": "welcome"},
        {"code": "users", "users": ["ann"]},
        {"code": "incoming", "from": "ann", "content": "me"},
    ]
