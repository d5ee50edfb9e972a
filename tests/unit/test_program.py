"""The client program's parts that would take half a minute to see from outside."""

import asyncio
from typing import Any, cast

import pytest

from chatroom.client import inbox
from chatroom.client.aio import AsyncClient
from chatroom.client.errors import ConnectionLost, NameTaken, Refused
from chatroom.client.inbox import Disconnected, Message, Reconnected, Unconfirmed
from chatroom.protocol.messages import ErrorReply, HistoryReply, Incoming
from chatroom.terminal.conversation import Conversation
from chatroom.terminal.screen import Chat, Screen
from chatroom.terminal.text import Pieces

TAKEN = NameTaken(ErrorReply(error="name_taken", message="somebody has that name", suggestion="ann2"))


class Client:
    """What the client hears, until it is given another name; and to which names it listens."""

    retry_in: float | None = 1.0

    def __init__(self, *heard: Message | Exception, answers: dict[str, Exception] | None = None) -> None:
        self.heard = list(heard)
        self.answers = answers or {}
        self.names: list[str] = []
        self.retries = 0
        self.is_connected = True

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> Message:
        await asyncio.sleep(0)
        if not self.heard:
            raise StopAsyncIteration
        if isinstance(item := self.heard.pop(0), Exception):
            raise item
        if isinstance(item, Disconnected | Reconnected):
            self.is_connected = isinstance(item, Reconnected)
        return item

    async def hello(self, name: str) -> None:
        self.names.append(name)
        if name in self.answers:
            raise self.answers[name]
        self.is_connected = True

    def retry_now(self) -> None:
        self.retries += 1


class Person:
    """A screen with somebody in front of it, who types these lines, each when something was complained of."""

    status = 0
    is_interactive = True
    has_editor = True
    place = ""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.shown: list[str] = []
        self.has_left = asyncio.Event()
        self.chat: Chat

    async def read_name(self, question: str, offer: str) -> str | None:
        raise NotImplementedError

    async def read_password(self, prompt: str, question: str = "") -> str | None:
        raise NotImplementedError

    def conversation(self, chat: Chat) -> Any:
        raise NotImplementedError

    async def read_line(self) -> str | None:
        return await asyncio.Future()

    def show(self, pieces: Pieces) -> None:
        self.shown.append("".join(text for _, text in pieces))

    def complain(self, text: str) -> None:
        self.shown.append(text)
        if self.lines:
            asyncio.get_running_loop().call_soon(self._type, self.lines.pop(0))

    def _type(self, line: str) -> None:
        if said := self.chat.take(line):
            self.complain(said)


async def converse(client: Client, person: Person) -> None:
    screen: Screen = person
    conversation = Conversation(cast("AsyncClient", client), screen, "ann")
    person.chat = conversation
    await conversation.go_on()


async def test_name_taken_for_good() -> None:
    """Whoever took the name and keeps it is named, and /name, or Enter for the old name, answers that."""
    lost, back = Disconnected("gone"), Reconnected("eve")
    client = Client(lost, TAKEN, back, Incoming("bob", "hi"), answers={"ann": TAKEN, "ann2": TAKEN})
    client.retry_in = None
    person = Person("secret", "*|secret", "/name ann2", "/name eve")

    await converse(client, person)

    assert client.names == ["ann", "ann2", "eve"]
    assert person.shown[0] == "the connection was lost: gone; reconnecting… (Enter tries at once)"
    assert person.shown[1:-1] == [
        "still offline: somebody has that name; Enter tries again, /name ann2 takes another name",
        'asking for the name "ann"',
        "not sent: you are offline",
        'the name "ann" was refused: somebody has that name; /name ann2 takes another name',
        'asking for the name "ann2"',
        'asking for the name "eve"',
        'the name "ann2" was refused: somebody has that name; /name ann2 takes another name',
        "connected again, as eve",
    ]
    assert person.shown[-1].endswith("bob to you: hi")


async def test_no_connection_for_another_name() -> None:
    """If there is no connection for the other name either, that is said, and it may be asked for again."""
    client = Client(Disconnected("gone"), TAKEN, Reconnected("bea"), answers={"eve": ConnectionLost("gone")})
    person = Person("?", "/name eve", "/name bea")

    await converse(client, person)

    assert client.names == ["eve", "bea"]
    assert "no connection: gone" in person.shown


async def test_retry() -> None:
    """Offline, an empty line, or any message, makes the next attempt at once; a command does not."""
    for line, retries in ("", 1), ("*|x", 1), ("who", 1), ("/help", 0), ("nonsense", 0):
        client = Client(Disconnected("gone"), Incoming("bob", "hi"), Incoming("bob", "hi"))

        await converse(client, Person(line))

        assert client.retries == retries


async def test_not_wanted_back() -> None:
    """Any other refusal at the return ends the chat."""
    with pytest.raises(Refused):
        await converse(Client(Refused(ErrorReply(error="banned", message="no"))), Person())


class Host(Client):
    """A server with rooms, in which nothing has been said yet."""

    last_ref = "7"

    async def users(self) -> list[str]:
        return ["ann"]

    async def history(self, limit: int) -> HistoryReply:
        return HistoryReply(messages=[], complete=limit > 0)

    async def broadcast(self, content: str, *, room: str, confirm: bool) -> None:
        pass


class Talker(Person):
    """A screen with somebody in front of it, who types these lines, one after the other."""

    async def read_line(self) -> str | None:
        return self.lines.pop(0) if self.lines else await asyncio.Future()


async def test_message_to_a_room_of_unknown_fate() -> None:
    """Of a message to a room it is said to which, if it is not known whether it arrived."""
    client = Host()
    person = Talker("#chess|e4")
    screen: Screen = person
    conversation = Conversation(cast("AsyncClient", client), screen, "ann")
    await conversation.list_first_users()
    client.heard = [
        *[Incoming("bob", "x")] * 10,
        Unconfirmed(None, "e4", "7"),
        Unconfirmed(None, "x", "8"),
    ]
    await conversation.go_on()

    assert person.shown[-2:] == [
        "it is not known whether this arrived: #chess|e4",
        "it is not known whether this arrived: *|x",
    ]


class Flood(Client):
    """A server that sends messages without end, and takes its time to say who is here."""

    taken = 0

    async def __anext__(self) -> Message:
        await asyncio.sleep(0)
        self.taken += 1
        return Incoming("x" * 4, "")

    async def users(self) -> list[str]:
        for _ in range(100):
            await asyncio.sleep(0)
        return ["ann"]

    async def history(self, limit: int) -> HistoryReply:
        raise Refused(ErrorReply(error="unknown_code", message=f"no {limit} messages"))


def test_what_comes_before_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what comes before the list of users no more is taken than a client holds; the rest waits unread."""
    monkeypatch.setattr(inbox, "MAX_CHARACTERS", 10)
    flood, person = Flood(), Person()
    screen: Screen = person

    early = asyncio.run(Conversation(cast("AsyncClient", flood), screen, "ann").list_first_users())

    assert person.shown == ["current users:", "ann", ""]
    assert len(early) == flood.taken == 3
