"""Rooms as clients name them."""

from typing import TYPE_CHECKING

from chatroom.hub.client import Client
from chatroom.hub.refusal import Refusal
from chatroom.hub.room import Room
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorCode

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub


def folded(hub: "Hub", client: Client, room: str) -> str:
    """Return a room's key; no room has the one of a name that is none. May raise `Later`."""
    if room in hub.house.rooms:
        return room
    hub.may_fold(client, room)
    try:
        return names.address(room)
    except names.BadName:
        return ""


def room_of(hub: "Hub", client: Client, name: str) -> Room:
    """Return the room of this name that the client is in. Raises a `Refusal`; may raise `Later`."""
    rooms = client.session.rooms
    room = (rooms.get(name) or rooms.get(folded(hub, client, name))) if rooms else None
    if room is None:
        raise Refusal(ErrorCode.NOT_IN_ROOM, f"you are not in the room {names.quoted(name)}; join it first")
    return room
