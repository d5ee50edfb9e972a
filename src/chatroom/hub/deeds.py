"""What each entry does: one function an entry, one row in the table.

Whatever depends on the house is decided here, once, and an entry that cannot be done at its place changes
nothing: a `Refusal` comes first. `asked` is the request to be answered, if it came in on this machine.
"""

from collections.abc import Callable
from typing import Any

from chatroom.hub import answers, verdicts
from chatroom.hub.entries import (
    Banned,
    Came,
    Dropped,
    Entry,
    Expired,
    Forgot,
    Joined,
    Kicked,
    Left,
    Muted,
    Returned,
    Said,
    Told,
    Turned,
    Unbanned,
    Unmuted,
    Went,
)
from chatroom.hub.house import Asked, House
from chatroom.hub.refusal import Refusal
from chatroom.hub.room import Room
from chatroom.hub.session import Session
from chatroom.protocol import messages, names
from chatroom.protocol.messages import ErrorCode, stamped


def turned(house: House, entry: Turned, asked: Asked | None) -> None:  # noqa: ARG001
    """Let it be that time; what was said before is in the past."""
    house.delivery.remember_all()
    house.turned(entry.time, entry.least)


def came(house: House, entry: Came, asked: Asked | None) -> None:
    """Let somebody new in."""
    house.verdicts.refuse_banned(entry.account, entry.keys, entry.origin, house.time)
    session = Session(house.next, entry.secret, house.lobby)
    session.origin = entry.origin
    house.enter(session, entry.name, entry.keys)
    house.next += 1
    house.sessions[session.number] = session
    if entry.secret is not None:
        house.secrets[entry.secret] = session
    _let_in(house, session, asked, is_back=False)


def returned(house: House, entry: Returned, asked: Asked | None) -> None:
    """Let a session in again; a connection that it still has is of no use any longer."""
    session = house.sessions.get(entry.session)
    if session is None:
        raise Refusal(ErrorCode.NOT_ALLOWED, "the session has ended meanwhile")
    if session.account is not None or entry.keys != session.keys:  # guests who are in may resume
        house.verdicts.refuse_banned(session.owner if session.account else 0, entry.keys, "", house.time)
    old, name = session.client, session.name
    house.enter(session, entry.name, entry.keys)
    session.origin = entry.origin
    if old is not None:
        house.hang_up(old, name, "replaced")
    _let_in(house, session, asked, is_back=True)


def _let_in(house: House, session: Session, asked: Asked | None, *, is_back: bool) -> None:
    session.may_write = not house.verdicts.is_muted(session.owner)
    house.presence.came(house.lobby, session.name)
    if asked is not None:
        answers.welcome(house, session, asked, is_back=is_back)
    house.know(session)


def dropped(house: House, entry: Dropped, asked: Asked | None) -> None:  # noqa: ARG001
    """Let a session be without a connection: its name goes to whoever asks."""
    session = house.sessions.get(entry.session)
    if session is not None:
        house.drop(session)


def went(house: House, entry: Went, asked: Asked | None) -> None:  # noqa: ARG001
    """Forget a session."""
    session = house.sessions.get(entry.session)
    if session is not None:
        house.end(session)


def joined(house: House, entry: Joined, asked: Asked | None) -> None:
    """Let a session hear a room, which is made if there is none of this name.

    One that has a past keeps its spelling, which stands in what was said there.
    """
    session = house.sessions.get(entry.session)
    if session is None or not session.is_here:
        return
    room = house.rooms.get(entry.room)
    if room is not None and session.number in room.members:
        if asked is not None:
            answers.joined(house, session, room, asked, is_new=False)
        return
    if session.rooms is not None and len(session.rooms) >= entry.most_of_one:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"you are in {len(session.rooms)} rooms, no more are allowed")
    if room is None:
        if not session.may_write:
            _may_write(house, session)
        if len(house.rooms) >= entry.most:
            raise Refusal(ErrorCode.NOT_ALLOWED, f"there are {len(house.rooms)} rooms, no more are allowed")
        name = house.past.spelling(entry.room) or entry.name
        room = house.rooms[entry.room] = Room(entry.room, name)
    if session.rooms is None:
        session.rooms = {}
    session.rooms[room.key] = room
    room.members[session.number] = session
    house.presence.came(room, session.name)
    if asked is not None:
        answers.joined(house, session, room, asked, is_new=True)
    house.know(session)


def left(house: House, entry: Left, asked: Asked | None) -> None:
    """Let a session hear a room no more."""
    session = house.sessions.get(entry.session)
    room = None if session is None or session.rooms is None else session.rooms.pop(entry.room, None)
    if session is None or room is None:
        raise Refusal(ErrorCode.NOT_IN_ROOM, "you are not in this room")
    house.leave_room(session, room, session.client)
    house.know(session)
    if asked is not None:
        house.delivery.reply(asked.client, messages.Left(room=room.name), asked.request)


def _may_write(house: House, session: Session, ref: bytes | None = None) -> bool:
    """Whether one may write, with this `ref`, of whom that is not known. Raises a `Refusal` if it is muted."""
    if not session.is_here:
        return False
    if ref is None or ref not in session.refs:  # a retry is answered
        house.verdicts.refuse_muted(session.owner, house.time)
        session.may_write = True
    return True


def said(house: House, entry: Said, asked: Asked | None) -> None:
    """Let all in a room hear a message, or a burst of them."""
    session = house.sessions.get(entry.session)
    if session is None or not (session.may_write or _may_write(house, session, entry.ref)):
        return
    key = entry.room
    room = house.lobby if not key else session.rooms.get(key) if session.rooms else None
    ref = entry.ref
    if ref is not None and ref in session.refs:
        house.keeper.again(session, entry, asked)
        return
    if room is None:
        raise Refusal(ErrorCode.NOT_IN_ROOM, "you are not in this room: join it first")
    entry.number, entry.time = house.next, house.time
    house.next += entry.count
    if session.posted is not room:
        if session.posted.log:
            house.delivery.flush_room(session.posted)
        session.post_in(room)
    if not room.log:
        house.delivery.begin(room)
    room.post(entry, session.client)
    if ref is not None or house.store is not None:
        house.keeper.keep(session, entry, asked)


def told(house: House, entry: Told, asked: Asked | None) -> None:
    """Let one hear a message of another, or a burst of them."""
    session, receiver = house.sessions.get(entry.session), house.sessions.get(entry.receiver)
    if session is None or not (session.may_write or _may_write(house, session, entry.ref)):
        return
    ref = entry.ref
    if ref is not None and ref in session.refs:
        house.keeper.again(session, entry, asked)
        return
    if receiver is None or not (receiver.is_here or house.away.get(receiver.keys[names.ADDRESS]) is receiver):
        raise Refusal(ErrorCode.UNKNOWN_USER, f"{names.quoted(entry.to)} has just gone")
    entry.number, entry.time = house.next, house.time
    house.next += entry.count
    client = receiver.client
    if client is not None:
        if session.posted.log:
            session.posted.settle(client)
        frames = entry.frames
        house.delivery.push(client, stamped(frames, entry.number, entry.time) if client.has_stamps else frames)
    if receiver.secret is not None or session.secret is not None:
        house.past.keep_direct(entry)
        if ref is not None or house.store is not None:
            house.keeper.keep(session, entry, asked)
    elif ref is not None:
        house.keeper.confirm(session, entry, asked)


def forgot(house: House, entry: Forgot, asked: Asked | None) -> None:
    """Take a message back; those with stamps who got it are told."""
    room = house.lobby if not entry.room else house.rooms.get(entry.room)
    if room is not None:
        house.delivery.remember(room)
    house.past.forget(entry.number, entry.room)
    if entry.room is None:
        ends = [house.sessions.get(number) for number in {entry.session, entry.receiver}]
        clients = [one.client for one in ends if one is not None and one.client is not None]
    else:
        clients = [] if room is None else list(room.stamped)
    frame = messages.encode(messages.Forgotten(id=messages.ident(entry.number)))
    for client in clients:
        if client.has_stamps and (asked is None or client is not asked.client):
            house.delivery.push_behind(client, frame, room or house.lobby)
    house.keeper.forget(entry.number, asked)


def expired(house: House, entry: Expired, asked: Asked | None) -> None:  # noqa: ARG001
    """Let the past forget what is too old, a store does so by itself; and what was decided until now."""
    house.past.expire(entry.number)
    house.verdicts.sweep(house.time)


Deed = Callable[[House, Any, Asked | None], Any]
DEEDS: dict[type[Entry], Deed] = {
    Turned: turned,
    Came: came,
    Returned: returned,
    Dropped: dropped,
    Went: went,
    Joined: joined,
    Left: left,
    Said: said,
    Told: told,
    Forgot: forgot,
    Kicked: verdicts.kicked,
    Muted: verdicts.muted,
    Unmuted: verdicts.unmuted,
    Banned: verdicts.banned,
    Unbanned: verdicts.unbanned,
    Expired: expired,
}
