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

Changes = dict[str, tuple[bool, bool]]
"""By name, whether it first came (or went), and whether it came last."""


class Presence:
    """What has changed in each room since it was last told. Who comes and goes in between is not mentioned."""

    def __init__(self, timing: Timing, delivery: Delivery, people: Callable[[Room], int]) -> None:
        """`people` tells how many are in a room."""
        self._people = people
        self._timing = timing
        self._delivery = delivery
        self._changes: dict[Room, Changes] = {}

    def came(self, room: Room, name: str) -> None:
        """Somebody came into a room."""
        self._changed(room, name, came=True)

    def went(self, room: Room, name: str) -> None:
        """Somebody left a room."""
        self._changed(room, name, came=False)

    def _changed(self, room: Room, name: str, *, came: bool) -> None:
        changes = self._changes.get(room)
        if changes is None:
            if not room.watchers:
                return
            changes = self._changes[room] = {}
            room.watchers = dict.fromkeys(room.watchers, True)
            self._timing.call_later(INTERVAL, lambda: self._tell(room))
        first, _ = changes.get(name, (came, came))
        changes[name] = first, came

    def _tell(self, room: Room) -> None:
        changes, people = self._changes.pop(room), self._people(room)
        # Who came within the second may know of somebody who has come and gone in it.
        net = {name: (first, last) for name, (first, last) in changes.items() if first is last}
        frames = {True: self._frame(room, net, people, ""), False: self._frame(room, changes, people, "")}
        for client, was_here in room.watchers.items():
            own = frames[was_here]
            if client.name in changes and people <= CROWD:
                own = self._frame(room, net if was_here else changes, people, client.name or "")
            if own:
                self._delivery.push_behind(client, own, room)

    def _frame(self, room: Room, changes: Changes, people: int, besides: str) -> bytes:
        """Return the notice without this name; nothing if no other is left."""
        if not changes:
            return b""
        notice = messages.Presence()
        if room.key:
            notice.room = room.name
        if people > CROWD:
            notice.users = people
            return encode(notice)
        notice.joined = [name for name, (_, came) in changes.items() if came and name != besides]
        notice.left = [name for name, (_, came) in changes.items() if not came and name != besides]
        return encode(notice) if notice.joined or notice.left else b""
