"""The client library, against a real server."""

import asyncio
import doctest
import json
import re
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatroom
import chatroom.client.aio
import chatroom.client.sync
from chatroom import AsyncClient, Client, ConnectionLost, Error, NameTaken, Refused
from conftest import PROJECT, ServerProcess
from e2e.brief import LineClient

pytestmark = pytest.mark.slow


@pytest.fixture
def ann(server: ServerProcess) -> Iterator[Client]:
    with Client.connect(server.host, server.port, "ann") as client:
        yield client


def test_blocking_client(server: ServerProcess, ann: Client) -> None:
    """Names, messages in order, and what comes between a request and its answer."""
    with LineClient(server.port, "bob") as bob:
        bob.ask(code="outgoing", to="ann", content="1")
        bob.ask(code="outgoing_broadcast", content="2")
        bob.ask(code="who")
        bob.read()

        assert ann.users() == ["ann", "bob"]
        first, second = ann.send("bob", "hi"), ann.broadcast("all")
        assert first.id < second.id
        assert [next(ann), next(ann)] == [
            chatroom.Incoming("bob", "1"),
            chatroom.IncomingBroadcast("bob", "2"),
        ]
        assert bob.read() == {"code": "incoming", "from": "ann", "content": "hi"}
        assert bob.read() == {"code": "incoming_broadcast", "from": "ann", "content": "all"}
        with pytest.raises(TimeoutError):
            ann.receive(timeout=0.01)


def test_refusals(server: ServerProcess, ann: Client) -> None:
    """A refused message raises its word; an unconfirmed one comes as an error in the iteration."""
    with pytest.raises(Refused) as caught:
        ann.send("nobody", "x")
    assert caught.value.word == "unknown_user"

    assert ann.send("nobody", "x", confirm=False) is None
    error = next(ann)
    assert isinstance(error, Error)
    assert error.error == "unknown_user"

    with pytest.raises(Refused, match="bad_name"):
        Client.connect(server.host, server.port, "*")


def test_taken_name(server: ServerProcess, ann: Client) -> None:
    """A taken name raises the suggestion; with `open` another name may be tried on the same connection."""
    with pytest.raises(NameTaken) as caught:
        Client.connect(server.host, server.port, "Ann")
    assert caught.value.suggestion == "Ann2"

    with Client.open(server.host, server.port) as client:
        with pytest.raises(NameTaken):
            client.hello("Ann")
        client.hello("Ann2")
        assert client.users() == ["ann", "Ann2"]


def test_lost_server(server: ServerProcess, ann: Client) -> None:
    """When the server goes, what it had sent can still be read; then there is an exception."""
    ann.send("ann", "last words")
    server.stop()

    assert next(ann) == chatroom.Incoming("ann", "last words")
    with pytest.raises(ConnectionLost):
        next(ann)
    with pytest.raises(ConnectionLost):
        ann.users()
    with pytest.raises(OSError, match="refused"):
        Client.connect(server.host, server.port, "ann")


def test_closing_takes_what_is_under_way(server: ServerProcess) -> None:
    """What was sent before the quit can be iterated over after it; the iteration ends."""
    client = Client.connect(server.host, server.port, "ann")
    for number in range(100):
        client.send("ann", str(number), confirm=False)
    client.close()
    client.close()

    assert [message.content for message in client if not isinstance(message, Error)] == [
        str(number) for number in range(100)
    ]


async def test_async_client(server: ServerProcess) -> None:
    """The same with asyncio, many calls at once."""
    async with (
        await AsyncClient.connect(server.host, server.port, "ann") as ann,
        await AsyncClient.connect(server.host, server.port, "bob") as bob,
    ):
        results = await asyncio.gather(
            ann.users(), ann.send("bob", "1"), ann.broadcast("2"), bob.send("bob", "3")
        )
        assert results[0] == ["ann", "bob"]
        received = [(await anext(bob)).content for _ in range(3)]  # type: ignore[union-attr]
        assert sorted(received) == ["1", "2", "3"]
        with pytest.raises(Refused, match="unknown_user"):
            await ann.send("nobody", "x")
        with pytest.raises(NameTaken):
            await AsyncClient.connect(server.host, server.port, "ann")


async def test_async_lost_server(server: ServerProcess) -> None:
    """Iteration and calls raise when the server goes."""
    client = await AsyncClient.connect(server.host, server.port, "ann")
    waiting = asyncio.create_task(anext(client))
    await client.users()
    await asyncio.to_thread(server.stop)

    with pytest.raises(ConnectionLost):
        await waiting
    with pytest.raises(ConnectionLost):
        await client.users()
    await client.close()
    with pytest.raises(StopAsyncIteration):
        await anext(client)


async def test_async_inbox_is_bounded(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not iterate is not flooded; and gets everything, in order, once it does."""
    monkeypatch.setattr(chatroom.client.aio, "MAX_INBOX", 10)
    count = 300
    async with (
        await AsyncClient.connect(server.host, server.port, "ann") as ann,
        await AsyncClient.connect(server.host, server.port, "bob") as bob,
    ):
        for number in range(count):
            await bob.send("ann", f"{number} {'x' * 2000}")
        inbox = ann._wire.inbox
        assert len(inbox) < count
        assert await ann.users() == ["ann", "bob"]
        received = [(await anext(ann)).content.split()[0] for _ in range(count)]  # type: ignore[union-attr]

    assert received == [str(number) for number in range(count)]


@pytest.mark.parametrize("delimiter", ["", "\n", " "])
def test_server_that_knows_only_the_brief(delimiter: str) -> None:
    """The client works with anybody's server of the brief, which may not delimit its messages at all."""
    received: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            for answer in (
                {"code": "welcome"},
                {"code": "incoming", "from": "bob", "content": "hi"},
                {"code": "users", "users": ["ann", "bob"]},
            ):
                if answer["code"] != "incoming":
                    received.append(connection.recv(1000))
                connection.sendall((json.dumps(answer) + delimiter).encode())
            received.extend([connection.recv(1000), connection.recv(1000)])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        with Client.connect("127.0.0.1", listening.getsockname()[1], "ann") as client:
            assert client.users() == ["ann", "bob"]
            assert next(client) == chatroom.Incoming("bob", "hi")
            client.broadcast("x", confirm=False)
        thread.join()

    assert [set(json.loads(line)) for data in received for line in data.splitlines()] == [
        {"code", "name"},
        {"code"},
        {"code", "content"},
        {"code"},
    ]


@pytest.mark.parametrize("module", [chatroom, chatroom.client.sync, chatroom.client.aio])
def test_docstrings(server: ServerProcess, module: types.ModuleType) -> None:
    """The examples in the docstrings run as they stand, but for the port."""
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner()
    for test in finder.find(module, globs={**vars(chatroom), "asyncio": asyncio}):
        for example in test.examples:
            example.source = example.source.replace("7777", str(server.port))
        runner.run(test)

    assert runner.tries > 0
    assert runner.failures == 0


def test_readme_examples(server: ServerProcess, tmp_path: Path) -> None:
    """The ten-line client and the library's example answer who writes to them."""
    examples = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for example, name in zip(examples, ["tenliner", "librarian"], strict=True):
        script = tmp_path / f"{name}.py"
        script.write_text(example.replace("7777", str(server.port)))
        with (
            LineClient(server.port, "ann") as ann,
            subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL) as process,
        ):
            try:
                assert ann.read() == {"code": "incoming_broadcast", "from": name, "content": "hello, everybody"}
                ann.ask(code="outgoing", to=name, content="hi")
                assert ann.read() == {"code": "incoming", "from": name, "content": "you said hi"}
            finally:
                process.kill()
