"""The client program's parts that would take half a minute to see from outside."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import ConnectionLost, NameTaken, Refused
from chatroom.client.inbox import Message, Reconnected
from chatroom.protocol.messages import ErrorReply, Incoming
from chatroom.terminal.program import _converse
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import Pieces

TAKEN = NameTaken(ErrorReply(error="name_taken", message="somebody has that name", suggestion="ann2"))


class Client:
    """What the client says, one after the other, and to which names it listens."""

    is_connected = True

    def __init__(self, *heard: Message | Exception, answers: dict[str, Exception]) -> None:
        self.heard = list(heard)
        self.answers = answers
        self.names: list[str] = []

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> Message:
        if not self.heard:
            raise StopAsyncIteration
        if isinstance(item := self.heard.pop(0), Exception):
            raise item
        return item

    async def hello(self, name: str) -> None:
        self.names.append(name)
        if name in self.answers:
            raise self.answers[name]


class Person:
    """A screen with somebody in front of it, who has names at hand."""

    status = 0
    is_interactive = True

    def __init__(self, *names: str | None) -> None:
        self.names = list(names)
        self.shown: list[str] = []
        self.has_left = asyncio.Event()

    async def read_name(self, question: str, offer: str) -> str | None:
        self.shown.append(f"{question} [{offer}]")
        return self.names.pop(0)

    def conversation(self, names: Callable[[], Awaitable[list[str]]], refusal: object) -> Any:
        raise NotImplementedError

    async def read_line(self) -> str | None:
        return await asyncio.Future()

    def show(self, pieces: Pieces) -> None:
        self.shown.append("".join(text for _, text in pieces))

    def complain(self, text: str) -> None:
        self.shown.append(text)


async def converse(client: Client, person: Person) -> None:
    screen: Screen = person
    await _converse(cast("AsyncClient", client), screen, "ann")


async def test_name_taken_for_good() -> None:
    """Whoever took the name and keeps it is named, and another one is asked for until one is free."""
    client = Client(TAKEN, Reconnected("eve"), Incoming("bob", "hi"), answers={"ann2": TAKEN})
    person = Person("ann2", "eve")

    await converse(client, person)

    assert client.names == ["ann2", "eve"]
    assert person.shown[:3] == [
        'the name "ann" was refused: somebody has that name [ann2]',
        'the name "ann2" was refused: somebody has that name [ann2]',
        "connected again, as eve",
    ]
    assert person.shown[3].endswith("bob to you: hi")


async def test_no_connection_for_another_name() -> None:
    """If there is no connection for the other name either, it is asked for again; no name leaves."""
    client = Client(TAKEN, TAKEN, Incoming("bob", "never heard"), answers={"eve": ConnectionLost("gone")})
    person = Person("eve", None)

    await converse(client, person)

    assert person.shown == [
        'the name "ann" was refused: somebody has that name [ann2]',
        "no connection: gone",
        'the name "ann" was refused: somebody has that name [ann2]',
    ]


async def test_not_wanted_back() -> None:
    """Any other refusal at the return ends the chat."""
    with pytest.raises(Refused):
        await converse(Client(Refused(ErrorReply(error="banned", message="no")), answers={}), Person())
