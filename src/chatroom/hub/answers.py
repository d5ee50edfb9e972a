"""What somebody is told when it was let in: a name, a secret to come back with, and what it missed."""

from msgspec import UNSET

from chatroom.hub.house import Asked, House
from chatroom.hub.replay import missed_in_lobby, missed_in_room
from chatroom.hub.room import Room
from chatroom.hub.session import Session
from chatroom.protocol import messages
from chatroom.protocol.messages import Hello, Join, Welcome


def welcome(house: House, session: Session, asked: Asked, *, is_back: bool) -> None:
    """Answer a `hello`; then all that it missed, if that is known, then what is posted from now on."""
    client, request = asked.client, asked.request
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
        if request.session is not UNSET:
            if is_back and request.after is not UNSET:
                house.delivery.remember(house.lobby)
                missed = missed_in_lobby(house.past, session, request.after, last=house.next - 1)
            reply.recovered = missed is not None
            reply.rooms = list(session.was_in)
    house.delivery.reply(client, reply, request)
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
