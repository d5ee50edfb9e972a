"""What `chatroom` exports: two clients alike, errors with one base, and messages that read well."""

import importlib.metadata
import inspect
from typing import Any, get_args

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import fields

import chatroom
from chatroom import AsyncClient, ChatroomError, Client, Incoming, Message, Sent
from chatroom.protocol.messages import AnyReply, ErrorReply, Hello

EXPORTED: dict[str, Any] = {name: getattr(chatroom, name) for name in chatroom.__all__}
ERRORS = {name: kind for name, kind in EXPORTED.items() if issubclass(kind, BaseException)}
CLIENTS = (Client, AsyncClient)


def signatures(client: type) -> dict[str, object]:
    """Return what each public method takes and gives, and which attributes there are besides."""
    public = [name for name in vars(client) if not name.startswith("_")]
    return {
        name: inspect.signature(member) if callable(member := getattr(client, name)) else None
        for name in public
    }


def test_clients_are_alike() -> None:
    """Both clients have the same methods with the same parameters, but for `await`."""
    assert signatures(Client) == signatures(AsyncClient)


def test_clients_are_documented_alike() -> None:
    """Who reads about a method of one client is told all that holds for it, and is not sent to the other."""
    names = [name for name in signatures(Client) if not name.startswith("_")]
    texts = {name: inspect.getdoc(getattr(Client, name)) for name in names}

    assert texts == {name: inspect.getdoc(getattr(AsyncClient, name)) for name in names}
    assert "reconnect=True" in str(texts["history"])  # else direct messages are not kept


def test_errors_have_one_base() -> None:
    """All errors are a `ChatroomError`; those that say so are one of Python's too."""
    others = {
        name: [kind.__name__ for kind in (ConnectionError, TimeoutError, ValueError) if issubclass(error, kind)]
        for name, error in ERRORS.items()
    }

    assert [name for name, error in ERRORS.items() if not issubclass(error, ChatroomError)] == []
    assert others == {
        "BadArgument": ["ValueError"],
        "BadPassword": [],
        "Banned": [],
        "CannotConnect": ["ConnectionError"],
        "ChatroomError": [],
        "ConnectionLost": ["ConnectionError"],
        "InboxFull": [],
        "Muted": [],
        "NameReserved": [],
        "NameTaken": [],
        "NotAChatroom": ["ConnectionError"],
        "OutcomeUnknown": ["ConnectionError"],
        "Refused": [],
        "TimedOut": ["TimeoutError"],
    }


def test_no_message_is_called_an_error() -> None:
    """Nobody can write `except chatroom.Error` and mean a message."""
    assert not hasattr(chatroom, "Error")
    assert [name for name, kind in EXPORTED.items() if issubclass(kind, Struct) and kind.__name__ != name] == []


def test_reprs() -> None:
    """A message shows what is in it, and nothing of what is not."""
    assert repr(Incoming("bob", "hi")) == "Incoming(from_='bob', content='hi')"
    assert (
        repr(ErrorReply("x", "y", suggestion="z"))
        == "ErrorReply(error='x', message='y', temporary=False, suggestion='z')"
    )
    assert repr(Sent("1", 2.0, ref="3")) == "Sent(id='1', time=2.0, ref='3')"
    assert repr(Hello(name="ann")) == "Hello(name='ann')"


@pytest.mark.parametrize("kind", [Message, *get_args(AnyReply)])
def test_what_a_reply_has_not(kind: type[Struct]) -> None:
    """What is not in a message is None for a program, and is not sent to a client."""
    required = {field.name: "" for field in fields(kind) if field.required}
    optional = {field.name for field in fields(kind) if not field.required} - {"temporary"}

    message = kind(**required)
    sent = msgspec.json.decode(msgspec.json.encode(message))

    assert {getattr(message, name) for name in optional} <= {None}
    assert not optional & set(sent)
    assert ("temporary" in sent) is (kind is ErrorReply)


def test_version() -> None:
    """The version is that of the package."""
    assert chatroom.__version__ == importlib.metadata.version("chatroom")


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_are_made_by_connecting(client: type) -> None:
    """Who calls the class is told what to call."""
    for arguments in ((), ("badhost",), ("badhost", 7777, "ann")):
        with pytest.raises(TypeError, match=rf"call {client.__name__}\.connect\(host, port, name\)"):
            client(*arguments)
