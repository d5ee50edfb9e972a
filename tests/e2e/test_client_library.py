"""The client library, against a real server."""

import asyncio
import doctest
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import chatroom
import chatroom.client.aio
import chatroom.client.inbox
import chatroom.client.sync
from chatroom import (
    AsyncClient,
    BadArgument,
    CannotConnect,
    Client,
    ConnectionLost,
    ErrorReply,
    InboxFull,
    NameTaken,
    Refused,
    TimedOut,
)
from chatroom.client import link
from conftest import PROJECT, ServerProcess, plain
from e2e.brief import LineClient
from e2e.brief_server import BriefServer, incoming, raw

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
        assert first
        assert second
        assert first.id < second.id
        assert [plain(next(ann)), plain(next(ann))] == [
            chatroom.Incoming("bob", "1"),
            chatroom.IncomingBroadcast("bob", "2"),
        ]
        assert bob.read() == {"code": "incoming", "from": "ann", "content": "hi"}
        assert bob.read() == {"code": "incoming_broadcast", "from": "ann", "content": "all"}
        with pytest.raises(TimeoutError):
            ann.receive(timeout=0.01)


def test_refusals(server: ServerProcess, ann: Client) -> None:
    """A refused message raises its error code; an unconfirmed one comes as an error in the iteration."""
    with pytest.raises(Refused) as caught:
        ann.send("nobody", "x")
    assert caught.value.code == "unknown_user"

    assert ann.send("nobody", "x", confirm=False) is None
    error = next(ann)
    assert isinstance(error, ErrorReply)
    assert error.error == "unknown_user"

    with pytest.raises(Refused, match="bad_name"):
        Client.connect(server.host, server.port, "*")


@pytest.mark.parametrize(
    ("to", "content", "error", "said"),
    [
        ("*", "x", BadArgument, r'to is "\*", which is nobody\'s name: broadcast\(\) sends to all'),
        ("", "x", BadArgument, "to is empty"),
        ("\ud800", "x", BadArgument, "to is no Unicode text: lone surrogate at 0"),
        (None, "x", TypeError, "to must be of type str, not NoneType"),
        ("ann", b"x", TypeError, "content must be of type str, not bytes"),
        ("ann", "x\ud800", BadArgument, "content is no Unicode text: lone surrogate at 1"),
        ("x" * 33, "x", Refused, "a name has at most 32 characters"),
        ("ann", "x" * 16_385, Refused, "16385 bytes long; at most 16384"),
    ],
)
def test_what_cannot_be_sent(
    server: ServerProcess, ann: Client, *, to: Any, content: Any, error: type[Exception], said: str
) -> None:
    """What no server takes is refused here, the rest by the server; both say what is wrong. Nothing is sent."""
    with pytest.raises(error, match=said):
        ann.send(to, content)
    if to == "ann":
        with pytest.raises(error, match=said):
            ann.broadcast(content)
    ann.send("ann", "all is well")

    assert plain(ann.receive(timeout=60)) == chatroom.Incoming("ann", "all is well")


@pytest.mark.parametrize(
    ("host", "port", "name", "error", "said"),
    [
        ("127.0.0.1", 1, "ann", CannotConnect, "cannot connect to 127.0.0.1, port 1: .*does the server run"),
        ("a..b", 7777, "ann", CannotConnect, "cannot connect to a..b, port 7777: that is no name of a host"),
        ("127.0.0.1", 65536, "ann", BadArgument, "port is 65536: it must be 1 to 65535"),
        ("127.0.0.1", "1", "ann", TypeError, "port must be of type int, not str"),
        (None, 1, "ann", TypeError, "host must be of type str, not NoneType"),
        ("127.0.0.1", None, "a|b", Refused, r'bad_name: a name may not contain "\|"'),
        (
            "127.0.0.1",
            None,
            "x" * 33,
            Refused,
            "bad_name: the name is 33 characters long; it must have 1 to 32",
        ),
        ("127.0.0.1", None, "ANN", NameTaken, r'name_taken: "ann" is here already \(try ANN2\)'),
        ("127.0.0.1", None, 5, TypeError, "name must be of type str, not int"),
    ],
)
async def test_no_connection(
    server: ServerProcess, ann: Client, *, host: Any, port: Any, name: Any, error: type[Exception], said: str
) -> None:
    """Both clients say in one line what is wrong, and what to look at."""
    arguments = (host, port or server.port, name)
    with pytest.raises(error, match=said) as blocking:
        Client.connect(*arguments)
    with pytest.raises(error, match=said) as asynchronous:
        await AsyncClient.connect(*arguments)

    assert str(blocking.value) == str(asynchronous.value)
    assert "\n" not in str(blocking.value)


async def test_async_receive(server: ServerProcess) -> None:
    """`receive()` waits for a message as long as it is told to; then for the end."""
    async with await AsyncClient.connect(server.host, server.port, "ann") as ann:
        for seconds in (0, 0.01):
            with pytest.raises(TimedOut, match="in time"):
                await ann.receive(timeout=seconds)
        waiting = asyncio.create_task(ann.receive())
        await ann.send("ann", "1")
        assert plain(await waiting) == chatroom.Incoming("ann", "1")
        await ann.send("ann", "2")
        assert plain(await ann.receive(timeout=0)) == chatroom.Incoming("ann", "2")
    with pytest.raises(ConnectionLost, match="has been closed"):
        await ann.receive()


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


def test_lost_server() -> None:
    """When the server goes, what it had sent can still be read; then there is an exception."""
    with BriefServer(instead={"who": [None]}) as brief:
        client = Client.connect(brief.host, brief.port, "ann")
        brief.send(incoming("last words"))
        with pytest.raises(ConnectionLost, match="the server closed the connection"):
            client.users()

    assert client.receive() == chatroom.Incoming("bob", "last words")
    with pytest.raises(ConnectionLost):
        next(client)
    client.close()
    assert list(client) == []
    with pytest.raises(OSError, match="refused"):
        Client.connect(brief.host, brief.port, "ann")


def test_closing_takes_what_is_under_way(server: ServerProcess) -> None:
    """What was sent before the quit can be iterated over after it; the iteration ends."""
    client = Client.connect(server.host, server.port, "ann")
    for number in range(100):
        client.send("ann", str(number), confirm=False)
    client.close()
    client.close()

    assert [plain(message) for message in client] == [
        chatroom.Incoming("ann", str(number)) for number in range(100)
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
    """Who does not iterate is not flooded, and told so; and gets everything, in order, once it does."""
    monkeypatch.setattr(chatroom.client.inbox, "MAX_MESSAGES", 10)
    count = 500
    async with (
        await AsyncClient.connect(server.host, server.port, "ann") as ann,
        await AsyncClient.connect(server.host, server.port, "bob") as bob,
    ):
        for number in range(count):
            await bob.send("ann", f"{number} {'x' * 2000}")
        ann._link._timeout = 0.3
        with pytest.raises(InboxFull):
            await ann.users()
        assert len(ann._link.inbox) < count
        received = [(await anext(ann)).content.split()[0] for _ in range(count)]  # type: ignore[union-attr]
        assert await ann.users() == ["ann", "bob"]

    assert received == [str(number) for number in range(count)]


async def test_async_close_while_iterating() -> None:
    """What comes after the quit, in however many pieces, reaches the task that iterates."""
    last = [incoming(f"{number} {'x' * 1000}") for number in range(2000)]
    with BriefServer(instead={"quit": [raw(*last)]}) as brief:
        client = await AsyncClient.connect(brief.host, brief.port, "ann")

        async def count() -> int:
            return len([message async for message in client])

        counting = asyncio.create_task(count())
        await client.close()

        assert await counting == len(last)
        with pytest.raises(ConnectionLost, match="has been closed"):
            await client.users()


async def test_reconnect_loses_nothing_that_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before the connection was lost is still there after it was renewed, and in order."""
    monkeypatch.setattr(link, "FIRST_DELAY", 0.001)
    with BriefServer() as brief:
        client = await AsyncClient.connect(brief.host, brief.port, "ann", reconnect=True)
        brief.wait_for("hello")
        brief.send(incoming("before"))
        brief.hang_up()
        await asyncio.to_thread(brief.wait_for, "hello")

        assert await client.users() == ["bob", "ann"]
        brief.send(incoming("after"))
        assert [await anext(client) for _ in range(4)] == [
            chatroom.Incoming("bob", "before"),
            chatroom.Disconnected("the server closed the connection"),
            chatroom.Reconnected("ann"),
            chatroom.Incoming("bob", "after"),
        ]
        await client.close()


async def test_reconnect_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not want us back says why, to the calls that wait for it and to the iteration."""
    monkeypatch.setattr(link, "FIRST_DELAY", 0.001)
    welcome = raw({"code": "welcome"})
    with BriefServer(instead={"hello": [welcome, b""]}) as brief:
        client = await AsyncClient.connect(brief.host, brief.port, "ann", reconnect=True)
        brief.wait_for("hello")
        brief.hang_up()
        await asyncio.to_thread(brief.wait_for, "hello")
        assert isinstance(await anext(client), chatroom.Disconnected)
        waiting: list[asyncio.Task[object]] = [
            asyncio.create_task(client.users()),
            asyncio.create_task(_next(client)),
        ]
        brief.send({"code": "error", "error": "banned", "message": "go away"})

        for task in waiting:
            with pytest.raises(Refused, match="banned"):
                await task
        await client.close()
        assert [message async for message in client] == []


async def _next(client: AsyncClient) -> object:
    return await anext(client)


async def test_closing_while_reconnecting() -> None:
    """Closing ends the attempts, and the iteration that waits for them, in good order."""
    with BriefServer() as brief:
        client = await AsyncClient.connect(brief.host, brief.port, "ann", reconnect=True)

    async def hear() -> list[object]:
        return [message async for message in client]

    assert isinstance(await anext(client), chatroom.Disconnected)
    hearing = asyncio.create_task(hear())
    asking = asyncio.create_task(client.users())
    await asyncio.sleep(0)  # both begin to wait
    await client.close()

    assert client._link._revival is None
    assert await hearing == []
    with pytest.raises(ConnectionLost):
        await asking


async def test_async_timeout() -> None:
    """A server that does not answer is not waited for; its late answer is not taken for the next."""
    with BriefServer(instead={"who": [b"", b""]}) as brief:
        client = await AsyncClient.connect(brief.host, brief.port, "ann")
        client._link._timeout = 0.05
        with pytest.raises(TimeoutError, match="in time"):
            await client.users()
        client._link._timeout = 100
        asking = asyncio.create_task(client.users())
        await asyncio.to_thread(brief.wait_for, "who")
        brief.send({"code": "users", "users": ["late"]})
        await asyncio.to_thread(brief.wait_for, "who")
        brief.send({"code": "users", "users": ["in time"]})

        assert await asking == ["in time"]
        await client.close()


@pytest.mark.parametrize("delimiter", ["", "\n", " "])
def test_server_that_knows_only_the_brief(delimiter: str) -> None:
    """The client works with anybody's server of the brief, which may not delimit its messages at all."""
    between = raw(incoming("hi"), {"code": "users", "users": ["ann", "bob"]}, delimiter=delimiter)
    with BriefServer(delimiter=delimiter, instead={"who": [between]}) as brief:
        with Client.connect(brief.host, brief.port, "ann") as client:
            assert client.users() == ["ann", "bob"]
            assert next(client) == chatroom.Incoming("bob", "hi")
            client.broadcast("x", confirm=False)
            client.send("bob", "x", confirm=False)
        asked = [brief.requests.get(timeout=100) for _ in range(5)]

    assert asked == [
        {"code": "hello", "name": "ann"},
        {"code": "who"},
        {"code": "outgoing_broadcast", "content": "x"},
        {"code": "outgoing", "to": "bob", "content": "x"},
        {"code": "quit"},
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
    """The README's programs run as printed, but for the port, and together; they answer who writes to them.

    They are not impressed by somebody who leaves before the answer, and end at Ctrl-C without a word.
    """
    examples = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    scripts = {name: tmp_path / f"{name}.py" for name in ("tenliner", "cron", "librarian")}
    for script, example in zip(scripts.values(), examples[:3], strict=True):  # the next needs accounts
        script.write_text(example.replace("7777", str(server.port)))
    names = ["tenliner", "librarian"]
    with LineClient(server.port, "ann") as ann, ExitStack() as stack:
        processes = []
        for name in names:
            command = [sys.executable, str(scripts[name])]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
            while name not in ann_sees(ann):
                pass

        for name in names:
            with LineClient(server.port, f"hasty {name}") as hasty:
                hasty.ask(code="outgoing", to=name, content="bye")
                hasty.ask(code="quit")
            ann.ask(code="outgoing", to=name, content="hi")
            while (message := ann.read())["code"] != "incoming":
                assert message == {
                    "code": "incoming_broadcast",
                    "from": "librarian",
                    "content": "hello, everybody",
                }
            assert message == {"code": "incoming", "from": name, "content": "you said hi"}
        assert {"ann", *names} <= set(ann_sees(ann))
        subprocess.run([sys.executable, str(scripts["cron"])], check=True)
        assert ann.read() == {"code": "incoming_broadcast", "from": "cron", "content": "backup done"}
        for process in processes:
            process.send_signal(signal.SIGINT)
            assert process.stderr
            assert process.stderr.read() == ""
            assert process.wait() == 0


def ann_sees(ann: LineClient) -> list[str]:
    ann.ask(code="who")
    while (message := ann.read())["code"] != "users":
        assert message["code"] == "incoming_broadcast"
    return [str(name) for name in message["users"]]
