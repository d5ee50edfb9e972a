"""Rooms as clients name them."""

from functools import lru_cache

from chatroom.hub.client import Client
from chatroom.hub.refusal import Refusal
from chatroom.hub.room import Room
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorCode


def folded(room: str) -> str:
    """Return a room's key; no room has the one of a name that is none."""
    return _folded(room) if len(room) <= names.MAX_GIVEN else ""


@lru_cache(maxsize=1024)
def _folded(room: str) -> str:
    try:
        return names.address(room)
    except names.BadName:
        return ""


def room_of(client: Client, name: str) -> Room:
    """Return the room of this name that the client is in. Raises a `Refusal`."""
    rooms = client.session.rooms
    room = rooms.get(folded(name)) if rooms else None
    if room is None:
        raise Refusal(ErrorCode.NOT_IN_ROOM, f"you are not in {names.quoted(name)}: join it first")
    return room
