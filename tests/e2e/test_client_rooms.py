"""The library's rooms, history and sessions with a real server, and with connections that are cut."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chatroom import (
    AsyncClient,
    Client,
    Disconnected,
    Forgotten,
    Gap,
    Incoming,
    IncomingBroadcast,
    OutcomeUnknown,
    Presence,
    Reconnected,
    Refused,
    Sent,
)
from chatroom.client import link
from chatroom.client.inbox import Message
from conftest import ServerProcess, plain
from e2e.brief_server import BriefServer
from e2e.cable import Cable

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect without long pauses."""
    monkeypatch.setattr(link, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(link, "LAST_DELAY", 0.05)


@pytest.fixture
async def cable(server: ServerProcess) -> AsyncIterator[Cable]:
    """A way to the server that can be cut."""
    async with Cable(server.port) as cable:
        yield cable


async def until(client: AsyncClient, is_last: Callable[[Message], bool]) -> list[Message]:
    """Return what comes up to this message."""
    messages = [await client.receive(timeout=100)]
    while not is_last(messages[-1]):
        messages.append(await client.receive(timeout=100))
    return messages


def test_rooms(server: ServerProcess) -> None:
    """One joins and leaves rooms, sees who is in them, and hears what is said there."""
    with (
        Client.connect(server.host, server.port, "ann") as ann,
        Client.connect(server.host, server.port, "bob", presence=True) as bob,
    ):
        assert (ann.join("Chess"), bob.join("chess")) == ("Chess", "Chess")
        sent = ann.broadcast("e4", room="CHESS")
        ann.broadcast("to all")
        heard = [bob.receive(timeout=100), bob.receive(timeout=100)]
        assert [plain(message) for message in heard] == [
            IncomingBroadcast("ann", "e4", room="Chess"),
            IncomingBroadcast("ann", "to all"),
        ]
        assert isinstance(heard[0], IncomingBroadcast)
        assert sent
        assert (heard[0].id, heard[0].time) == (sent.id, sent.time)
        assert ann.users(room="chess") == ["ann", "bob"]
        assert [(room.room, room.users) for room in ann.rooms()] == [("Chess", 2)]
        ann.leave("chess")

        assert bob.receive(timeout=100) == Presence(room="Chess", joined=[], left=["ann"])
        with pytest.raises(Refused, match="not_in_room"):
            ann.leave("chess")
        with pytest.raises(Refused, match="not_in_room"):
            ann.broadcast("x", room="chess")


async def test_history_and_forget(server: ServerProcess) -> None:
    """One reads what was said, searches it, and takes back what one wrote."""
    async with (
        await AsyncClient.connect(server.host, server.port, "ann") as ann,
        await AsyncClient.connect(server.host, server.port, "bob", reconnect=True) as bob,
    ):
        sent = [await ann.broadcast(f"number {number}") for number in range(5)]
        await ann.send("bob", "psst")
        newest = await bob.history(limit=2)
        older = await bob.history(before=newest.messages[0].id)
        assert [old.content for old in older.messages + newest.messages] == [f"number {n}" for n in range(5)]
        assert (newest.complete, older.complete) == (False, True)
        assert [old.id for old in (await bob.history(find="BER 3")).messages] == [sent[3].id if sent[3] else ""]
        assert [(old.from_, old.to) for old in (await bob.history(with_="ann")).messages] == [("ann", "bob")]
        await ann.forget(newest.messages[0].id)

        await until(bob, lambda message: message == Forgotten(id=newest.messages[0].id))
        assert len((await bob.history()).messages) == 4
        with pytest.raises(Refused, match="not_allowed"):
            await bob.forget(newest.messages[1].id)


@pytest.mark.parametrize("reconnect", [False, True])
def test_server_of_the_brief(*, reconnect: bool) -> None:
    """A server that has no rooms is not asked for them."""
    with (
        BriefServer() as brief,
        Client.connect(brief.host, brief.port, "ann", reconnect=reconnect, presence=True) as ann,
    ):
        requests: list[Callable[[], object]] = [
            lambda: ann.join("chess"),
            lambda: ann.leave("chess"),
            ann.rooms,
            ann.history,
            lambda: ann.forget("1"),
            lambda: ann.users(room="chess"),
            lambda: ann.broadcast("x", room="chess"),
            lambda: ann.broadcast("x", room="chess", confirm=False),
        ]
        for request in requests:
            with pytest.raises(Refused, match="unknown_code: this server has no rooms"):
                request()
        assert ann.users() == ["bob", "ann"]
        assert len(brief.strange) == 1  # the first hello


ROOMS = [None, "chess", "go", "tea"]


async def talk(
    cable: Cable, ann: AsyncClient, eve: AsyncClient, bob: AsyncClient
) -> dict[str | None, list[str]]:
    """Let ann and eve talk in all rooms and to bob, and bob in all rooms, over a cable that is cut.

    Return what ann and eve said: in each room, and to bob.
    """
    chance = random.Random(1)
    said: dict[str | None, list[str]] = {place: [] for place in [*ROOMS, "bob"]}
    answers: list[asyncio.Task[Sent | None]] = []
    for number in range(400):
        talker, place, text = chance.choice([ann, eve]), chance.choice([*said]), str(number)
        if place == "bob":
            await talker.send("bob", text)
        else:
            await talker.broadcast(text, room=place)
        said[place].append(text)
        if number % 4 == 0:
            answers.append(asyncio.create_task(bob.broadcast(f"re {number}", room=chance.choice(ROOMS))))
        if number % 40 == 20:
            cable.cut()
        if number % 40 == 30:
            cable.mend()
        if number % 40 == 35:
            await bob.users()  # it is back
    assert all([await answer for answer in answers])
    return said


async def test_resume(cable: Cable, server: ServerProcess) -> None:
    """While others talk in the lobby, three rooms and directly, cuts lose, double and disorder nothing."""
    async with (
        await AsyncClient.connect(server.host, server.port, "ann") as ann,
        await AsyncClient.connect(server.host, server.port, "eve") as eve,
        await AsyncClient.connect(cable.host, cable.port, "bob", reconnect=True) as bob,
    ):
        for client in (ann, eve, bob):
            for room in ROOMS[1:]:
                await client.join(str(room))
        said = await talk(cable, ann, eve, bob)
        await ann.broadcast("end")
        await bob.broadcast("end")
        heard, of_bob = await until(bob, is_end), await until(eve, is_end_of_bob)

    messages = [message for message in heard if isinstance(message, IncomingBroadcast | Incoming)][:-1]
    others = [message for message in heard if not isinstance(message, IncomingBroadcast | Incoming)]
    for place, texts in said.items():
        here = [message for message in messages if place_of(message) == place]
        assert [message.content for message in here] == texts
        assert [message.id for message in here] == sorted({str(message.id) for message in here})
    echoes = [
        message.content
        for message in of_bob
        if isinstance(message, IncomingBroadcast) and message.from_ == "bob"
    ]
    assert echoes == [*(f"re {number}" for number in range(0, 400, 4)), "end"]
    assert {type(message) for message in others} == {Disconnected, Reconnected}
    assert len(others) == 2 * 10


def place_of(message: IncomingBroadcast | Incoming) -> str | None:
    if isinstance(message, Incoming):
        return "bob"
    return message.room


def is_end_of_bob(message: Message) -> bool:
    return plain(message) == IncomingBroadcast("bob", "end")


async def test_more_than_is_replayed(cable: Cable, server: ServerProcess) -> None:
    """What the server does not send by itself is read back, in its place; a gap marks what is too much."""
    async with (
        await AsyncClient.connect(server.host, server.port, "ann") as ann,
        await AsyncClient.connect(cable.host, cable.port, "bob", reconnect=True) as bob,
    ):
        await ann.join("chess")
        await bob.join("chess")
        await ann.broadcast("before", room="chess")
        await ann.broadcast("before")
        await until(bob, lambda message: plain(message) == IncomingBroadcast("ann", "before"))
        cable.cut()
        await until(bob, lambda message: isinstance(message, Disconnected))
        text = "x" * 2000
        for number in range(1050):
            await ann.broadcast(f"{number} {text}", room="chess", confirm=False)
        for number in range(400):  # too many bytes to be replayed
            await ann.broadcast(f"{number} {text}", confirm=False)
        await ann.broadcast("end", room="chess")
        await ann.broadcast("end")
        cable.mend()
        await until(bob, lambda message: message == Reconnected("bob"))
        lobby, chess = await until(bob, is_end), await until(bob, is_end)

    assert [first_word(message) for message in lobby] == [*map(str, range(400)), "end"]
    assert chess[0] == Gap("chess")
    assert [first_word(message) for message in chess[1:]] == [*map(str, range(51, 1050)), "end"]


def is_end(message: Message) -> bool:
    return isinstance(message, IncomingBroadcast) and message.content == "end"


def first_word(message: Message) -> str:
    assert isinstance(message, IncomingBroadcast)
    return message.content.split()[0]


async def test_restart(tmp_path: Path, loop: str) -> None:
    """A server that has forgotten all is another one: rooms are joined again, and gaps marked."""
    server = ServerProcess(log=tmp_path / "server.log", loop=loop)
    async with Cable(server.port) as cable:
        bob = await AsyncClient.connect(cable.host, cable.port, "bob", reconnect=True)
        async with await AsyncClient.connect(server.host, server.port, "ann") as ann:
            await ann.join("chess")
            await bob.join("chess")
            await ann.broadcast("1", room="chess")
            await until(bob, lambda message: isinstance(message, IncomingBroadcast))
        server.process.send_signal(signal.SIGSTOP)
        lost = asyncio.create_task(bob.broadcast("perhaps"))
        await asyncio.sleep(0)
        server.stop(signal.SIGKILL)
        cable.cut()
        again = ServerProcess(log=tmp_path / "again.log", loop=loop)
        cable.server_port = again.port
        cable.mend()
        with pytest.raises(OutcomeUnknown):
            await lost
        messages = await until(bob, lambda message: message == Gap("chess"))
        assert await bob.users(room="chess") == ["bob"]
        async with await AsyncClient.connect(again.host, again.port, "ann") as ann:
            await ann.join("chess")
            await ann.broadcast("2", room="chess")
            messages.append(plain(await bob.receive(timeout=100)))
        await bob.close()

    assert messages[1:] == [
        Reconnected("bob"),
        Gap(None),
        Gap("chess"),
        IncomingBroadcast("ann", "2", room="chess"),
    ]
    assert again.stop() == 0


async def test_restart_with_a_file(tmp_path: Path, loop: str) -> None:
    """A server that has kept all in a file continues the session: nothing is lost or doubled."""
    words = ["--data", str(tmp_path / "chat.db")]
    server = ServerProcess(*words, log=tmp_path / "server.log", loop=loop)
    async with Cable(server.port) as cable:
        bob = await AsyncClient.connect(cable.host, cable.port, "bob", reconnect=True)
        async with await AsyncClient.connect(server.host, server.port, "ann") as ann:
            await ann.join("chess")
            await bob.join("chess")
            await ann.broadcast("1", room="chess")
            await ann.broadcast("1")
            await until(bob, lambda message: plain(message) == IncomingBroadcast("ann", "1"))
        cable.cut()
        sending = asyncio.create_task(bob.broadcast("perhaps", room="chess"))
        server.stop(signal.SIGKILL)
        again = ServerProcess(*words, log=tmp_path / "again.log", loop=loop)
        cable.server_port = again.port
        async with await AsyncClient.connect(again.host, again.port, "ann") as ann:
            await ann.join("chess")
            await ann.broadcast("2", room="chess")
            await ann.broadcast("2")
            cable.mend()
            assert await sending
            assert plain(await ann.receive(timeout=100)) == IncomingBroadcast("bob", "perhaps", room="chess")
            await ann.broadcast("3")
            messages = await until(bob, lambda message: plain(message) == IncomingBroadcast("ann", "3"))
        await bob.close()

    assert [plain(message) for message in messages[1:]] == [
        Reconnected("bob"),
        IncomingBroadcast("ann", "2"),
        IncomingBroadcast("ann", "2", room="chess"),
        IncomingBroadcast("ann", "3"),
    ]
    assert again.stop() == 0


async def test_another_client_with_the_session(server: ServerProcess) -> None:
    """Whoever is replaced by another connection of the same session does not come back."""
    client = await AsyncClient.connect(server.host, server.port, "bob", reconnect=True)
    other = await AsyncClient.connect(server.host, server.port, "bob", session=client.session)
    with pytest.raises(ConnectionError, match="replaced"):
        await client.receive(timeout=100)
    assert not client.is_connected
    await other.close()
