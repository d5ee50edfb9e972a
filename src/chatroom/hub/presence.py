"""Who came and who went, told to those who asked for it: at most once a second in each room."""

from collections.abc import Callable

from chatroom.hub.delivery import Delivery
from chatroom.hub.ports import Timing
from chatroom.hub.room import Room
from chatroom.protocol import messages
from chatroom.protocol.messages import encode

INTERVAL = 1.0
"""Seconds between two notices of one room."""
CROWD = 500
"""People of whom each is named; where there are more, it is told how many."""


class Presence:
    """What has changed in each room since it was last told. Who comes and goes in between is not mentioned."""

    def __init__(self, timing: Timing, delivery: Delivery, people: Callable[[Room], int]) -> None:
        """`people` tells how many are in a room."""
        self._people = people
        self._timing = timing
        self._delivery = delivery
        self._changes: dict[Room, dict[str, bool]] = {}  # by name, whether it came

    def came(self, room: Room, name: str) -> None:
        """Somebody came into a room."""
        self._changed(room, name, came=True)

    def went(self, room: Room, name: str) -> None:
        """Somebody left a room."""
        self._changed(room, name, came=False)

    def _changed(self, room: Room, name: str, *, came: bool) -> None:
        if not room.watchers:
            return
        changes = self._changes.get(room)
        if changes is None:
            changes = self._changes[room] = {}
            self._timing.call_later(INTERVAL, lambda: self._tell(room))
        if changes.get(name) is (not came):
            del changes[name]
        else:
            changes[name] = came

    def _tell(self, room: Room) -> None:
        changes = self._changes.pop(room)
        people = self._people(room)
        if not changes:
            return
        frame = self._frame(room, changes, people, "")
        for client in room.watchers:
            own = frame
            if client.name in changes and people <= CROWD:
                own = self._frame(room, changes, people, client.name or "")
            if own:
                self._delivery.push_behind(client, own, room)

    def _frame(self, room: Room, changes: dict[str, bool], people: int, besides: str) -> bytes:
        """Return the notice without this name; nothing if no other is left."""
        notice = messages.Presence()
        if room.key:
            notice.room = room.name
        if people > CROWD:
            notice.users = people
            return encode(notice)
        notice.joined = [name for name, came in changes.items() if came and name != besides]
        notice.left = [name for name, came in changes.items() if not came and name != besides]
        return encode(notice) if notice.joined or notice.left else b""
