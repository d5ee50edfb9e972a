"""What somebody is told when it was let in: a name, a secret to come back with, and what it missed."""

from msgspec import UNSET

from chatroom.hub.house import Asked, House
from chatroom.hub.replay import missed_in_lobby, missed_in_room, waiting
from chatroom.hub.room import Room
from chatroom.hub.session import Session
from chatroom.protocol import messages
from chatroom.protocol.messages import Hello, Join, Welcome, stamped


def welcome(house: House, session: Session, asked: Asked, since: int, *, is_back: bool) -> None:
    """Answer a `hello`; then all that it missed, if that is known, then what is posted from now on.

    `since`: the number behind which direct messages waited for its account, if they did.
    """
    client, request, account = asked.client, asked.request, session.account
    assert isinstance(request, Hello)  # noqa: S101 - for the type checker
    session.client, client.session, client.name = client, session, session.name
    client.stand(house.welcome)
    reply, missed = Welcome(), None
    if request.features is not UNSET:
        reply.name = session.name
        reply.features = sorted(client.features)
        reply.server = "chatroom"
        reply.limits = house.limits
    if asked.secret:
        reply.session = asked.secret
    is_return = request.session is not UNSET and bool(asked.secret)
    if (is_back or account is not None) and client.has_stamps and request.after is not UNSET:
        house.delivery.remember(house.lobby)
        missed = missed_in_lobby(house.past, session, request.after, last=house.next - 1)
    if is_return or (account is not None and request.after is not UNSET):
        reply.recovered = missed is not None
    if is_return:
        reply.rooms = list(session.was_in)
    if account is not None:
        reply.rooms = list(account.rooms.values())
        reply.account, reply.operator = True, account.is_operator or None
    house.delivery.reply(client, reply, request)
    if since and request.after is UNSET:
        waited = waiting(house.past, session.owner, since, asked.waiting)
        missed = b"".join(
            stamped(line, number, time) if client.has_stamps else line for number, time, line in waited
        )
    if missed:
        house.delivery.give(client, missed)
    house.lobby.join(client)
    house.observer.joined(session.name, client.sink.peer)


def joined(house: House, session: Session, room: Room, asked: Asked, *, is_new: bool) -> None:
    """Answer a `join`; then all that it missed, if that is known, then what is posted from now on."""
    client, request = asked.client, asked.request
    assert isinstance(request, Join)  # noqa: S101 - for the type checker
    reply, missed = messages.Joined(room=room.name), None
    if request.after is not UNSET:
        if is_new:
            house.delivery.remember(room)
            missed = missed_in_room(house.past, session, room.key, request.after, last=house.next - 1)
        reply.recovered = missed is not None
    house.delivery.reply(client, reply, request)
    if missed:
        house.delivery.give(client, missed)
    if is_new:
        room.join(client)
