"""What each request does: one function a request, one row in the table."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET, UnsetType

from chatroom.hub.flow import Later
from chatroom.hub.session import Session
from chatroom.protocol.burst import Burst
from chatroom.protocol.messages import (
    TEMPORARY,
    ErrorCode,
    ErrorReply,
    Fault,
    Hello,
    Incoming,
    IncomingBroadcast,
    Outgoing,
    OutgoingBroadcast,
    Ping,
    Pong,
    PongReply,
    Quit,
    Request,
    Users,
    Welcome,
    Who,
    complete,
    opening,
)
from chatroom.protocol.names import BadName

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub


FEATURES = frozenset({"notices", "ping"})
"""What a client can ask to be sent beyond the base protocol."""


class Refusal(Exception):
    """The request cannot be done; `error` is the answer."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        suggestion: str | UnsetType = UNSET,
        retry_after: float | UnsetType = UNSET,
        is_final: bool = False,
    ) -> None:
        """`is_final`: the session ends with it."""
        super().__init__(message)
        self.is_final = is_final
        self.error = ErrorReply(
            error=code,
            message=message,
            temporary=code in TEMPORARY,
            suggestion=suggestion,
            retry_after=retry_after,
        )


def hello(hub: "Hub", session: Session, request: Hello) -> None:
    """Give the session its name."""
    if session.name is not None:
        raise Refusal(ErrorCode.ALREADY_WELCOME, f"you are {session.name} already")
    try:
        hub.name(session, request.name)
    except BadName as error:
        raise Refusal(ErrorCode.BAD_NAME, str(error)) from None
    welcome = Welcome()
    if request.features is not UNSET:
        session.features = FEATURES.intersection(request.features)
        welcome.name = session.name or ""
        welcome.features = sorted(session.features)
        welcome.server = "chatroom"
        welcome.limits = {"object": hub.limits.max_object, "content": hub.limits.max_content}
    hub.reply(session, welcome, request)


def ping(hub: "Hub", session: Session, request: Ping) -> None:
    """Say that somebody is there."""
    hub.reply(session, PongReply(), request)


def pong(hub: "Hub", session: Session, request: Pong) -> None:
    """Take a sign of life; that it came was all."""
    session.pings = max(0, session.pings - 1)


def who(hub: "Hub", session: Session, request: Who) -> None:
    """Tell who is here."""
    hub.reply(session, Users(users=hub.users()), request)


def outgoing(hub: "Hub", session: Session, request: Outgoing) -> None:
    """Pass a message on to one; one may write to oneself."""
    content = request.content
    if request.ref is not UNSET and answered_before(hub, session, request):
        return
    if len(content) > hub.surely_fits:
        check_content(hub, content)
    receiver = hub.spelled.get(request.to) or hub.find(session, request.to)
    if receiver is None:
        raise Refusal(ErrorCode.UNKNOWN_USER, hub.why_unknown(request.to))
    frame = complete(session.incoming or begin(session, Incoming), content)
    flow = hub.flow
    flow.left -= len(frame)
    if flow.left < 0:
        flow.ask(session, receiver, len(frame))
    hub.push(receiver, frame)
    if request.ref is not UNSET:
        acknowledge(hub, session, request)


def outgoing_broadcast(hub: "Hub", session: Session, request: OutgoingBroadcast) -> None:
    """Pass a message on to everybody else."""
    if request.ref is not UNSET and answered_before(hub, session, request):
        return
    content = request.content
    if len(content) > hub.surely_fits:
        check_content(hub, content)
    hub.broadcast(session, complete(session.incoming_broadcast or begin(session, IncomingBroadcast), content))
    if request.ref is not UNSET:
        acknowledge(hub, session, request)


def burst(hub: "Hub", session: Session, burst: Burst) -> None:
    """Pass many messages on in one piece, if there is nothing to be said of any of them."""
    first, flow = burst.first, hub.flow
    if session.name is not None and burst.fits(hub.limits.max_content):
        if isinstance(first, OutgoingBroadcast):
            frames = burst.completed(session.incoming_broadcast or begin(session, IncomingBroadcast))
            if len(frames) <= flow.left:
                hub.broadcast(session, frames)
                return
        elif receiver := hub.spelled.get(first.to):
            frames = burst.completed(session.incoming or begin(session, Incoming))
            left = flow.left - len(frames)
            if left >= 0:
                flow.left = left
                hub.push(receiver, frames)
                return
    if rest := hub.handle(session, burst.one_by_one()):
        raise Later(rest)


def quit_(hub: "Hub", session: Session, request: Quit) -> None:
    """Let the session go."""
    hub.leave(session, "quit")


def begin(session: Session, kind: type[Incoming | IncomingBroadcast]) -> bytes:
    """Return what the session's messages of this kind begin with, and keep it at hand."""
    beginning = opening(kind, session.name or "")
    if kind is Incoming:
        session.incoming = beginning
    else:
        session.incoming_broadcast = beginning
    return beginning


def check_content(hub: "Hub", content: str) -> None:
    """Refuse what is too long."""
    limit, size = hub.limits.max_content, len(content.encode())
    if size > limit:
        raise Refusal(ErrorCode.TOO_BIG, f"the message is {size} bytes long; at most {limit} are allowed")


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
    Ping: Command(ping, needs_name=False),
    Pong: Command(pong, needs_name=False),
    Burst: Command(burst, needs_name=False),  # each of its messages needs one
    Fault: Command(fault, needs_name=False),
}


def hello_first(hub: "Hub", session: Session, request: Request) -> None:
    """Refuse what needs a name."""
    raise Refusal(ErrorCode.HELLO_FIRST, "say hello first")


def turn_away(hub: "Hub", session: Session, request: Request) -> None:
    """Say why it may not stay."""
    if session.turned_away is not None:
        raise session.turned_away


def later(hub: "Hub", session: Session, request: Request) -> None:
    """Do nothing more in this turn."""
    raise Later


def nothing(hub: "Hub", session: Session, request: Request) -> None:
    """Pass over what comes behind the end."""


# What a session may do, by how things stand: the conditions are looked up once, not for each message.
FIRST = {kind: hello_first if command.needs_name else command.run for kind, command in COMMANDS.items()}
ANYTHING = {kind: command.run for kind, command in COMMANDS.items()}
TURNED_AWAY = dict.fromkeys(COMMANDS, turn_away)
LATER = dict.fromkeys(COMMANDS, later)
NOTHING = dict.fromkeys(COMMANDS, nothing)
