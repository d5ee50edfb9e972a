"""The conversations in docs/protocol.md, tried as they are printed there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chatroom.hub.ports import Order
from fakes import FakeChat, FakeClient, FakeStore

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
CONVERSATIONS = re.findall(r"^```\n((?:\w+ [<>:].*\n)+)```$", PAGE, flags=re.MULTILINE)


def test_there_are_some() -> None:
    assert len(CONVERSATIONS) == 5


class Talk:
    """A conversation, with the ids, times and secrets that the page prints in place of those of this run."""

    def __init__(self) -> None:
        store = FakeStore()
        self.chat = FakeChat(store=store)
        self.chat.loop.settle = store.work
        self.people: dict[str, FakeClient] = {}
        self.real: dict[str, str] = {}

    def client(self, name: str, *, is_new: bool) -> FakeClient:
        if is_new:
            self.people[name] = self.chat.connect()
        elif name not in self.people:
            self.people[name] = self.chat.join(name)
            if name == "olga":
                self.appoint(name)
        return self.people[name]

    def appoint(self, name: str) -> None:
        """Let somebody have an account, and be an operator."""
        self.people[name].ask(code="register", password="correct horse")
        self.chat.loop.turn()
        assert self.people[name].take() == [{"code": "registered"}]
        assert self.chat.hub.obey(Order(1, "operator", name, "", 0, True, "")) == ""

    def say(self, name: str, line: str) -> None:
        for printed, real in self.real.items():
            line = line.replace(printed, real)
        client = self.client(name, is_new='"hello"' in line)
        client.send(line.encode() + b"\n")
        self.chat.loop.turn()

    def compare(self, got: Any, printed: Any) -> None:
        """Check that one message is as printed; learn what stands for what."""
        if isinstance(printed, dict):
            assert list(got) == list(printed)
            for key, value in printed.items():
                if key in {"id", "session"}:
                    assert self.real.setdefault(value, got[key]) == got[key]
                elif key != "time":
                    self.compare(got[key], value)
        elif isinstance(printed, list):
            assert len(got) == len(printed)
            for one, other in zip(got, printed, strict=True):
                self.compare(one, other)
        else:
            assert got == printed


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_conversation(conversation: str) -> None:
    """Each line that is received is the next that comes, with exactly these members."""
    talk = Talk()
    for name in re.findall(r"^(\w+) [>:]", conversation, flags=re.MULTILINE):
        if name != "eve" and name not in talk.people:
            talk.client(name, is_new=False)
    came: dict[str, list[dict[str, Any]]] = {}
    for line in conversation.splitlines():
        name, sign, rest = line.split(" ", 2)
        if sign == ">":
            talk.say(name, rest)
        elif sign == ":":
            talk.people[name].transport.vanish(ConnectionResetError())
            talk.chat.loop.turn()
        else:
            waiting = came.setdefault(name, [])
            waiting += talk.people[name].take()
            assert waiting, line
            talk.compare(waiting.pop(0), json.loads(rest))
    assert not any(came.values())
