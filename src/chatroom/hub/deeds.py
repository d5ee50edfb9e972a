"""What each entry does: one function an entry, one row in the table.

Whatever depends on the house is decided here, once, and an entry that cannot be done at its place changes
nothing: a `Refusal` comes first. `asked` is the request to be answered, if it came in on this machine.
"""

from collections.abc import Callable
from typing import Any

from chatroom.hub import answers, verdicts
from chatroom.hub.account import MOST_SESSIONS, Account
from chatroom.hub.client import Client
from chatroom.hub.entries import (
    Appointed,
    Banned,
    Came,
    Changed,
    Dropped,
    Entry,
    Erased,
    Expired,
    Forgot,
    Joined,
    Kicked,
    Left,
    Muted,
    Registered,
    Removed,
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
from chatroom.protocol.messages import ErrorCode, stamped, with_to


def turned(house: House, entry: Turned, asked: Asked | None) -> None:  # noqa: ARG001
    """Let it be that time; what was said before is in the past."""
    house.delivery.remember_all()
    house.turned(entry.time, entry.least)


def came(house: House, entry: Came, asked: Asked | None) -> None:
    """Let somebody new in."""
    house.verdicts.refuse_banned(entry.account, entry.keys, entry.origin, house.next, house.time)
    account = None
    if entry.account:
        account = house.accounts.get(entry.account)
        if account is None or account.version != entry.version:
            raise Refusal(ErrorCode.BAD_PASSWORD, "the password has changed meanwhile")
    session = Session(house.next, entry.secret, house.lobby, account)
    session.origin = entry.origin
    house.enter(session, entry.name, entry.keys)
    house.next += 1
    house.sessions[session.number] = session
    if entry.secret is not None:
        house.secrets[entry.secret] = session
    if account is not None:
        account.has_returned = True
        account.sessions[session.number] = session
        if len(account.sessions) > MOST_SESSIONS:
            house.end(next(one for one in account.sessions.values() if not one.is_here))
    _let_in(house, session, asked, is_back=False)


def returned(house: House, entry: Returned, asked: Asked | None) -> None:
    """Let a session in again; a connection that it still has is of no use any longer."""
    session = house.sessions.get(entry.session)
    if session is None or 0 < session.until <= house.time:
        raise Refusal(ErrorCode.NOT_ALLOWED, "the session has ended meanwhile")
    old, name, account = session.client, session.name, session.account
    number = 0 if account is None else account.number
    house.verdicts.refuse_banned(number, entry.keys, entry.origin, session.number, house.time)
    if account is None:
        house.enter(session, entry.name, entry.keys)
    else:
        house.enter(session, account.name, account.keys)
        session.until = 0.0
    session.origin = entry.origin
    if old is not None:
        house.hang_up(old, name, "replaced")
    _let_in(house, session, asked, is_back=True)


def _let_in(house: House, session: Session, asked: Asked | None, *, is_back: bool) -> None:
    since = 0 if session.account is None else house.welcome_back(session.account)
    session.may_write = not house.verdicts.is_muted(session.owner)
    if asked is not None:
        answers.welcome(house, session, asked, since, is_back=is_back)
    house.know(session)


def dropped(house: House, entry: Dropped, asked: Asked | None) -> None:  # noqa: ARG001
    """Let a session be without a connection: its name goes to whoever asks, unless that is an account's."""
    session = house.sessions.get(entry.session)
    if session is not None and session.is_here:
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
    if room is not None and session.rooms is not None and room.key in session.rooms:
        if asked is not None:
            answers.joined(house, session, room, asked, is_new=False)
        return
    if session.rooms is not None and len(session.rooms) >= entry.most_of_one:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"you are in {len(session.rooms)} rooms, no more are allowed")
    if room is None:
        room = _make_room(house, session, entry)
    if session.rooms is None:
        session.rooms = {}
    session.rooms[room.key] = room
    if session.owner not in room.members:
        room.members[session.owner] = session
        house.presence.came(room, session.name)
    if asked is not None:
        answers.joined(house, session, room, asked, is_new=True)
    house.know(session)
    house.went_to(session, room, entry.most_of_one)


def _make_room(house: House, session: Session, entry: Joined) -> Room:
    if not session.may_write:
        _may_write(house, session)
    if len(house.rooms) >= entry.most:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"there are {len(house.rooms)} rooms, no more are allowed")
    name = house.past.spelling(entry.room) or entry.name
    room = house.rooms[entry.room] = Room(entry.room, name)
    return room


def left(house: House, entry: Left, asked: Asked | None) -> None:
    """Let a session hear a room no more."""
    session = house.sessions.get(entry.session)
    room = None if session is None or session.rooms is None else session.rooms.pop(entry.room, None)
    if session is None or room is None:
        raise Refusal(ErrorCode.NOT_IN_ROOM, "you are not in this room")
    house.leave_room(session, room, session.client)
    house.know(session)
    if session.account is not None and session.owner not in room.members:
        session.account.rooms.pop(room.key, None)
        house.know_account(session.account)
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
    if session.account is not None:
        _said_by_account(entry, session, session.account, room)
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
    if receiver is None or receiver.is_kept or session.is_kept:
        _told_and_kept(house, entry, asked, session)
        return
    if not receiver.is_here:
        raise _gone(entry)
    entry.number, entry.time = house.next, house.time
    house.next += entry.count
    client = receiver.client
    if client is not None:
        if session.posted.log:
            session.posted.settle(client)
        frames = entry.frames
        house.delivery.push(client, stamped(frames, entry.number, entry.time) if client.has_stamps else frames)
    if ref is not None:
        house.keeper.confirm(session, entry, asked)


def _told_and_kept(house: House, entry: Told, asked: Asked | None, session: Session) -> None:
    """The same, where an end can come back, or the receiver has gone: all connections of both ends hear it."""
    receiver = house.sessions.get(entry.receiver)
    account = house.accounts.get(entry.receiver) if receiver is None else receiver.account
    if account is not None and account.hashed:
        house.let_wait(account, entry.count)
    elif receiver is None or not (receiver.is_here or house.away.get(receiver.keys[names.ADDRESS]) is receiver):
        raise _gone(entry)
    entry.number, entry.time = house.next, house.time
    house.next += entry.count
    if session.account is not None:
        entry.session, entry.device = session.owner, session.number
    for client in house.clients(entry.receiver):
        if entry.receiver != entry.session or client is session.client:
            _hand(house, session, client, entry, entry.frames)
    if session.account is not None:
        for client in house.clients(entry.session):
            if client.has_stamps and client is not session.client:
                _hand(house, session, client, entry, with_to(entry.frames, entry.to))
    house.past.keep_direct(entry)
    if entry.ref is not None or house.store is not None:
        house.keeper.keep(session, entry, asked)


def _gone(entry: Told) -> Refusal:
    return Refusal(ErrorCode.UNKNOWN_USER, f"{names.quoted(entry.to)} has just gone")


def _hand(house: House, session: Session, client: Client, entry: Told, frames: bytes) -> None:
    """Hand somebody's message to a client, behind what that one said before."""
    if client.has_stamps:
        frames = stamped(frames, entry.number, entry.time)
    house.delivery.push_behind(client, frames, session.posted)


def _said_by_account(entry: Said, session: Session, account: Account, room: Room) -> None:
    """What an account says is the account's; its other connections get it only if they asked for stamps."""
    entry.session, entry.device = account.number, session.number
    for device in account.devices:
        if device is not session and device.client is not None and device.client in room.plain:
            room.pass_over(device.client)


def forgot(house: House, entry: Forgot, asked: Asked | None) -> None:
    """Take a message back; those with stamps who got it are told."""
    room = house.lobby if not entry.room else house.rooms.get(entry.room)
    if room is not None:
        house.delivery.remember(room)
    house.past.forget(entry.number, entry.room)
    if entry.room is None:
        clients = [client for end in {entry.session, entry.receiver} for client in house.clients(end)]
    else:
        clients = [] if room is None else list(room.stamped)
    frame = messages.encode(messages.Forgotten(id=messages.ident(entry.number)))
    for client in clients:
        if client.has_stamps and (asked is None or client is not asked.client):
            house.delivery.push_behind(client, frame, room or house.lobby)
    house.keeper.forget(entry.number, asked)


def registered(house: House, entry: Registered, asked: Asked | None) -> None:
    """Let a name be owned from now on, by the session that has it or by whoever is given the password."""
    session = house.sessions.get(entry.session)
    if entry.session and (session is None or not session.is_here or session.account is not None):
        raise Refusal(ErrorCode.NOT_ALLOWED, "the name is not yours, or you have registered already")
    if why := house.reservation(entry.name, entry.keys):
        raise Refusal(ErrorCode.NAME_RESERVED, why)
    if len(house.accounts) >= entry.most:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"there are {len(house.accounts)} accounts, no more are allowed")
    account = Account(entry.session or house.next, entry.name, entry.keys, entry.hashed)
    if session is None:
        house.next += 1
        account.away_since = account.number
    else:
        account.seen = house.day
        session.register(account)
        account.devices.append(session)
        account.sessions[session.number] = session
        account.rooms = {key: room.name for key, room in (session.rooms or {}).items()}
        house.renew(session, entry.secret)
    house.add_account(account)
    house.confirm(account, asked)


def changed(house: House, entry: Changed, asked: Asked | None) -> None:
    """Let an account have another password; whoever came with the old one goes, but for who has changed it."""
    account = house.accounts.get(entry.account)
    if account is None or not account.hashed or (entry.version and entry.version != account.version):
        raise Refusal(ErrorCode.BAD_PASSWORD, "the password has changed meanwhile")
    account.hashed = entry.hashed
    account.version += 1
    for session in list(account.sessions.values()):
        if session.number == entry.session:
            house.renew(session, entry.secret)
        else:
            house.cut_off(session, "kicked", "the password of this account has changed")
    house.confirm(account, asked)


def appointed(house: House, entry: Appointed, asked: Asked | None) -> None:
    """Let an account be an operator's, or no longer."""
    account = house.accounts.get(entry.account)
    if account is not None:
        account.is_operator = entry.is_operator
        house.confirm(account, asked)


def removed(house: House, entry: Removed, asked: Asked | None) -> None:
    """Let an account be no more; what it wrote to others is theirs too, and stays."""
    account = house.accounts.get(entry.account)
    if account is None:
        return
    for session in list(account.sessions.values()):
        house.cut_off(session, "kicked", "the account was removed")
    account.hashed, account.is_operator, account.waiting = "", False, 0
    house.verdicts.unmute(account.number)
    account.rooms.clear()
    account.version += 1
    if entry.frees:
        del house.accounts[account.number]
        house.reserved.free(account)
        house.verdicts.free(account.number, account.keys)
        if house.store is not None:
            house.store.remove_account(account.number)
    else:
        house.confirm(account, asked)


def erased(house: House, entry: Erased, asked: Asked | None) -> None:  # noqa: ARG001
    """Forget the texts of all that an account or a session wrote; nobody is told."""
    house.delivery.remember_all()
    house.past.erase(entry.owner)
    if house.store is not None:
        house.store.erase(entry.owner, lambda is_done: None)  # noqa: ARG005 - it says so itself if it fails


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
    Registered: registered,
    Changed: changed,
    Appointed: appointed,
    Removed: removed,
    Erased: erased,
    Kicked: verdicts.kicked,
    Muted: verdicts.muted,
    Unmuted: verdicts.unmuted,
    Banned: verdicts.banned,
    Unbanned: verdicts.unbanned,
    Expired: expired,
}
