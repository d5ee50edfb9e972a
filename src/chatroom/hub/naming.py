"""Rooms as clients name them."""

from chatroom.hub.client import Client
from chatroom.hub.refusal import Refusal
from chatroom.hub.room import Room
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorCode


def folded(room: str) -> str:
    """Return a room's key; no room has the one of a name that is none."""
    try:
        return names.address(room)
    except names.BadName:
        return ""


def room_of(client: Client, name: str) -> Room:
    """Return the room of this name that the client is in. Raises a `Refusal`."""
    rooms = client.session.rooms or {}
    room = rooms.get(name) or rooms.get(folded(name))
    if room is None:
        raise Refusal(ErrorCode.NOT_IN_ROOM, f"you are not in {names.quoted(name)}: join it first")
    return room
