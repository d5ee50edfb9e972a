"""What each request asks for: one function a request, one row in the table.

Here is checked what could differ between machines: names are folded, receivers found, sizes compared with
settings, lines finished. What others hear, or what changes who is where, becomes an entry (`deeds`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from chatroom.hub import accounts, history, operators
from chatroom.hub.client import Client
from chatroom.hub.effort import CLAIM, FOLD, REPLAY
from chatroom.hub.entries import Joined, Left, Said, Told
from chatroom.hub.flow import Later
from chatroom.hub.house import Asked
from chatroom.hub.naming import folded, room_of
from chatroom.hub.refusal import Refusal
from chatroom.hub.room import Room
from chatroom.hub.session import hashed
from chatroom.protocol import names
from chatroom.protocol.burst import Burst
from chatroom.protocol.messages import (
    Ban,
    Bans,
    ErrorCode,
    Fault,
    Forget,
    Hello,
    History,
    Join,
    Kick,
    Leave,
    Mute,
    Outgoing,
    OutgoingBroadcast,
    Ping,
    Pong,
    PongReply,
    Quit,
    Register,
    Request,
    Rooms,
    RoomsReply,
    Unban,
    Unmute,
    Users,
    Who,
    complete,
    opening,
)
from chatroom.protocol.names import BadName

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub


LOOK = 32
"""Bytes that count as much as a look at one ban, mute or session (see `hub.EFFORT`): operators' requests may
look at all of them."""


def hello(hub: "Hub", client: Client, request: Hello) -> None:
    """Give the client a name; or its session back, if it has one; or an account, for its password."""
    if client.name is not None:
        raise Refusal(ErrorCode.ALREADY_WELCOME, f"you are {client.name} already")
    claims = CLAIM * sum(not text.isascii() for text in (request.name, request.password or ""))
    hub.may_take(client, claims + (0 if request.after is UNSET else REPLAY))
    accounts.hello(hub, client, request)


def ping(hub: "Hub", client: Client, request: Ping) -> None:
    """Say that somebody is there."""
    hub.reply(client, PongReply(), request)


def pong(hub: "Hub", client: Client, request: Pong) -> None:
    """Take a sign of life; that it came was all."""
    client.pings = max(0, client.pings - 1)


def who(hub: "Hub", client: Client, request: Who) -> None:
    """Tell who is here, or in a room."""
    if request.room is UNSET:
        hub.reply(client, Users(users=hub.users()), request)
        return
    room = hub.house.rooms.get(folded(hub, client, request.room))
    if room is None:
        raise Refusal(ErrorCode.UNKNOWN_ROOM, f"there is no room {names.quoted(request.room)}")
    hub.reply(client, Users(users=[one.name for one in room.members.values()], room=room.name), request)


def outgoing(hub: "Hub", client: Client, request: Outgoing) -> None:
    """Pass a message on to one; one may write to oneself."""
    content = request.content
    if len(content) > hub.surely_fits:
        check_content(hub, content)
    receiver = hub.house.spelled.get(request.to) or hub.find(client, request.to)
    if receiver is None:
        if (ref := known_ref(client, request)) is None:
            raise Refusal(ErrorCode.UNKNOWN_USER, hub.why_unknown(request.to))
        told = Told(0, 0.0, client.session.number, b"", 1, ref, 0, request.to)
        hub.append(told, Asked(client, request))
        return
    frame = complete(client.incoming or begin(client, is_direct=True), content)
    flow = hub.flow
    flow.left -= len(frame)
    if flow.left < 0:
        flow.ask(client, receiver.client, len(frame))
    ref = None if request.ref is UNSET else hashed(request.ref)
    hub.append(
        Told(0, 0.0, client.session.number, frame, 1, ref, receiver.owner, receiver.name),
        Asked(client, request),
    )


def outgoing_broadcast(hub: "Hub", client: Client, request: OutgoingBroadcast) -> None:
    """Pass a message on to everybody else, in the lobby or in a room."""
    content = request.content
    if len(content) > hub.surely_fits:
        check_content(hub, content)
    try:
        room = hub.house.lobby if request.room is UNSET else room_of(hub, client, request.room)
    except Refusal:
        if (ref := known_ref(client, request)) is None:
            raise
        said = Said(0, 0.0, client.session.number, b"", 1, ref, str(request.room))
        hub.append(said, Asked(client, request))
        return
    if client.session.posted is not room:
        hub.may_flush(client, client.session.posted)
    beginning = begin_in(client, room) if room.key else client.incoming_broadcast or begin(client)
    frame = complete(beginning, content)
    flow = hub.flow
    flow.left -= len(frame)
    if flow.left < 0:
        flow.ask(client, room, len(frame))
    ref = None if request.ref is UNSET else hashed(request.ref)
    hub.append(Said(0, 0.0, client.session.number, frame, 1, ref, room.key), Asked(client, request))


def burst(hub: "Hub", client: Client, burst: Burst) -> None:
    """Pass many messages on in one piece, if there is nothing to be said of any of them."""
    first, flow = burst.first, hub.flow
    if client.name is None or not client.session.may_write or not burst.fits(hub.limits.max_content):
        pass
    elif type(first) is Outgoing:
        if receiver := hub.house.spelled.get(first.to):
            frames = burst.completed(client.incoming or begin(client, is_direct=True))
            if len(frames) <= flow.left:
                flow.left -= len(frames)
                count = len(burst.contents)
                hub.append(
                    Told(0, 0.0, client.session.number, frames, count, None, receiver.owner, receiver.name),
                    Asked(client, first),
                )
                return
    elif type(first) is OutgoingBroadcast:
        room = hub.house.lobby if first.room is UNSET else (client.session.rooms or {}).get(first.room)
        if room is not None and client.session.posted is room:
            frames = burst.completed(
                begin_in(client, room) if room.key else client.incoming_broadcast or begin(client)
            )
            if len(frames) <= flow.left:
                flow.left -= len(frames)
                count = len(burst.contents)
                hub.append(
                    Said(0, 0.0, client.session.number, frames, count, None, room.key), Asked(client, first)
                )
                return
    if rest := hub.handle(client, burst.one_by_one()):
        raise Later(rest)


def join(hub: "Hub", client: Client, request: Join) -> None:
    """Let the client hear a room, which is made if there is none."""
    fold = 0 if request.room.isascii() else FOLD
    hub.may_take(client, fold + (0 if request.after is UNSET else REPLAY))
    try:
        name = names.checked(request.room)
        key = names.address(name)
    except BadName as error:
        raise Refusal(
            ErrorCode.BAD_NAME, f"no room can be called {names.quoted(request.room)}: {error}"
        ) from None
    limits = hub.limits
    if request.after is not UNSET and (room := hub.house.rooms.get(key)):
        hub.may_flush(client, room)
    hub.append(
        Joined(client.session.number, key, name, limits.max_rooms, limits.max_rooms_each),
        Asked(client, request),
    )


def leave(hub: "Hub", client: Client, request: Leave) -> None:
    """Let the client hear a room no more."""
    hub.append(Left(client.session.number, room_of(hub, client, request.room).key), Asked(client, request))


def rooms(hub: "Hub", client: Client, request: Rooms) -> None:
    """Tell which rooms are the largest."""
    hub.reply(client, RoomsReply(rooms=hub.largest_rooms()), request)


def quit_(hub: "Hub", client: Client, request: Quit) -> None:
    """Let the client go."""
    hub.leave(client, "quit")


def begin(client: Client, *, is_direct: bool = False) -> bytes:
    """Return what the client's messages to one, or to the lobby, begin with, and keep it at hand."""
    beginning = opening(client.name or "", is_direct=is_direct)
    if is_direct:
        client.incoming = beginning
    else:
        client.incoming_broadcast = beginning
    return beginning


def begin_in(client: Client, room: Room) -> bytes:
    """Return what the client's messages to a room begin with, and keep that of the last at hand."""
    if client.begun is None or client.begun[0] is not room:
        client.begun = room, opening(client.name or "", room.name)
    return client.begun[1]


def known_ref(client: Client, request: Outgoing | OutgoingBroadcast) -> bytes | None:
    """Return the hash of the `ref` of a retry, which is answered though it could not be delivered now."""
    ref = None if request.ref is UNSET else hashed(request.ref)
    return ref if ref in client.session.refs else None


def check_content(hub: "Hub", content: str) -> None:
    """Refuse what is too long."""
    limit, size = hub.limits.max_content, len(content.encode())
    if size > limit:
        raise Refusal(ErrorCode.TOO_BIG, f"the message is {size} bytes long; at most {limit} are allowed")


def fault(hub: "Hub", client: Client, fault: Fault) -> None:
    """Answer bytes that were no request."""
    hub.fault(client, fault)


class Command(NamedTuple):
    """How a request is done, and what it takes."""

    run: Callable[["Hub", Client, Any], None]
    needs_name: bool = True
    cost: float = 1
    """What it counts as, in requests."""
    needs_operator: bool = False


COMMANDS: dict[type, Command] = {
    Hello: Command(hello, needs_name=False),
    Who: Command(who),
    Outgoing: Command(outgoing),
    OutgoingBroadcast: Command(outgoing_broadcast),
    Join: Command(join),
    Leave: Command(leave),
    Rooms: Command(rooms, cost=5),
    History: Command(history.read, cost=5),
    Forget: Command(history.take_back, cost=5),
    Register: Command(accounts.register, cost=5),
    Kick: Command(operators.kick, needs_operator=True),
    Mute: Command(operators.mute, needs_operator=True),
    Unmute: Command(operators.unmute, needs_operator=True),
    Ban: Command(operators.ban, needs_operator=True),
    Unban: Command(operators.unban, needs_operator=True),
    Bans: Command(operators.bans, needs_operator=True),
    Quit: Command(quit_, needs_name=False),
    Ping: Command(ping, needs_name=False),
    Pong: Command(pong, needs_name=False),
    Burst: Command(burst, needs_name=False),  # each of its messages needs one
    Fault: Command(fault, needs_name=False),
}


def hello_first(hub: "Hub", client: Client, request: Request) -> None:
    """Refuse what needs a name."""
    raise Refusal(ErrorCode.HELLO_FIRST, "say hello first")


def operators_only(run: Callable[["Hub", Client, Any], None]) -> Callable[["Hub", Client, Any], None]:
    """Return what does this for operators, and refuses it to others."""

    def run_for_operators(hub: "Hub", client: Client, request: Request) -> None:
        if not client.session.is_operator:
            raise Refusal(ErrorCode.NOT_ALLOWED, "only operators may ask for this")
        house = hub.house
        hub.delivery.charge(client, LOOK * (len(house.verdicts) + len(house.sessions)))
        run(hub, client, request)
        if isinstance(request, Kick | Mute | Unmute | Ban | Unban):
            hub.house.observer.decided(type(request).__name__.lower(), request.name, client.name)

    return run_for_operators


def turn_away(hub: "Hub", client: Client, request: Request) -> None:
    """Say why it may not stay."""
    if client.turned_away is not None:
        raise client.turned_away


def later(hub: "Hub", client: Client, request: Request) -> None:
    """Do nothing more in this turn."""
    raise Later


def nothing(hub: "Hub", client: Client, request: Request) -> None:
    """Pass over what comes behind the end."""


# What a client may do, by how things stand: the conditions are looked up once, not for each message.
FIRST = {kind: hello_first if command.needs_name else command.run for kind, command in COMMANDS.items()}
ANYTHING = {
    kind: operators_only(command.run) if command.needs_operator else command.run
    for kind, command in COMMANDS.items()
}
TURNED_AWAY = dict.fromkeys(COMMANDS, turn_away)
LATER = dict.fromkeys(COMMANDS, later)
NOTHING = dict.fromkeys(COMMANDS, nothing)
