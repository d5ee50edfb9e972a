"""What each request does: one function a request, one row in the table."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET, UnsetType

from chatroom.hub.session import Session
from chatroom.protocol.messages import (
    Error,
    Fault,
    Hello,
    Outgoing,
    OutgoingBroadcast,
    Quit,
    Request,
    Users,
    Welcome,
    Who,
    Word,
    complete,
)
from chatroom.protocol.names import BadName

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub


class Refusal(Exception):
    """The request cannot be done; `error` is the answer."""

    def __init__(self, word: Word, message: str, *, suggestion: str | UnsetType = UNSET) -> None:
        super().__init__(message)
        temporary = word is Word.NAME_TAKEN
        self.error = Error(error=word, message=message, temporary=temporary, suggestion=suggestion)


def hello(hub: "Hub", session: Session, request: Hello) -> None:
    """Give the session its name."""
    if session.name is not None:
        raise Refusal(Word.ALREADY_WELCOME, f"you are {session.name} already")
    try:
        hub.name(session, request.name)
    except BadName as error:
        raise Refusal(Word.BAD_NAME, str(error)) from None
    hub.reply(session, Welcome(), request)


def who(hub: "Hub", session: Session, request: Who) -> None:
    """Tell who is here."""
    hub.reply(session, Users(users=hub.users()), request)


def outgoing(hub: "Hub", session: Session, request: Outgoing) -> None:
    """Pass a message on to one; one may write to oneself."""
    if request.ref is not UNSET and answered_before(hub, session, request):
        return
    receiver = hub.spelled.get(request.to) or hub.find(request.to)
    if receiver is None:
        raise Refusal(Word.UNKNOWN_USER, "nobody has that name")
    hub.push(receiver, complete(session.incoming, request.content))
    if request.ref is not UNSET:
        acknowledge(hub, session, request)


def outgoing_broadcast(hub: "Hub", session: Session, request: OutgoingBroadcast) -> None:
    """Pass a message on to everybody else."""
    if request.ref is not UNSET and answered_before(hub, session, request):
        return
    hub.broadcast(session, complete(session.incoming_broadcast, request.content))
    if request.ref is not UNSET:
        acknowledge(hub, session, request)


def quit_(hub: "Hub", session: Session, request: Quit) -> None:
    """Let the session go."""
    hub.leave(session, "quit")


def answered_before(hub: "Hub", session: Session, request: Request) -> bool:
    """Whether this message is a retry of one that was sent; if so, say again that it was."""
    answer = session.sent(str(request.ref))
    if answer is not None:
        hub.reply(session, answer, request)
    return answer is not None


def acknowledge(hub: "Hub", session: Session, request: Request) -> None:
    """Say that the message was sent."""
    answer = hub.next_sent()
    session.remember(str(request.ref), answer)
    hub.reply(session, answer, request)


def fault(hub: "Hub", session: Session, fault: Fault) -> None:
    """Answer bytes that were no request."""
    hub.fault(session, fault)


class Command(NamedTuple):
    """How a request is done, and what it takes."""

    run: Callable[["Hub", Session, Any], None]
    needs_name: bool = True


COMMANDS: dict[type, Command] = {
    Hello: Command(hello, needs_name=False),
    Who: Command(who),
    Outgoing: Command(outgoing),
    OutgoingBroadcast: Command(outgoing_broadcast),
    Quit: Command(quit_, needs_name=False),
    Fault: Command(fault, needs_name=False),
}


def hello_first(hub: "Hub", session: Session, request: Request) -> None:
    """Refuse what needs a name."""
    raise Refusal(Word.HELLO_FIRST, "say hello first")


def nothing(hub: "Hub", session: Session, request: Request) -> None:
    """Pass over what comes behind the end."""


# What a session may do, by how things stand: the conditions are looked up once, not for each message.
FIRST = {kind: hello_first if command.needs_name else command.run for kind, command in COMMANDS.items()}
ANYTHING = {kind: command.run for kind, command in COMMANDS.items()}
NOTHING = dict.fromkeys(COMMANDS, nothing)
