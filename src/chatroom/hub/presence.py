"""Who came and who went, told to those who asked for it: at most once a second in each room."""

import json
from collections.abc import Callable

from chatroom.hub.delivery import Delivery
from chatroom.hub.ports import Timing
from chatroom.hub.room import Room
from chatroom.protocol import messages
from chatroom.protocol.messages import encode

INTERVAL = 1.0
"""Seconds between two notices of one room."""
CROWD = 500
"""People of whom each is named; where there are more, or more have come and gone, it is told how many."""

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
        if max(people, len(changes)) > CROWD:
            count = encode(messages.Presence(room=room.name or None, users=people))
            for client, was_here in room.watchers.items():
                if net or not was_here:
                    self._delivery.push_behind(client, count, room)
            return
        notices = {True: _Notice(room, net), False: _Notice(room, changes)}
        for client, was_here in room.watchers.items():
            notice = notices[was_here]
            own = notice.without(client.name) if client.name in changes else notice.frame
            if own:
                self._delivery.push_behind(client, own, room)


class _Notice:
    """Who came and went: each name is encoded once, though many may get a notice of their own."""

    def __init__(self, room: Room, changes: Changes) -> None:
        nobody = encode(messages.Presence(room=room.name or None, joined=[], left=[]))
        self._around = nobody.rsplit(b"[]", 2)
        self._joined, self._left = (
            b"".join([_item(name) for name, (_, came) in changes.items() if came is whether])
            for whether in (True, False)
        )
        self.frame = self._made(self._joined, self._left)
        """The frame for those of whom it says nothing; empty if nobody came or went."""

    def without(self, name: str) -> bytes:
        """Return the frame without this name."""
        item = _item(name)
        return self._made(self._joined.replace(item, b"", 1), self._left.replace(item, b"", 1))

    def _made(self, joined: bytes, left: bytes) -> bytes:
        if not joined and not left:
            return b""
        before, between, behind = self._around
        return b"%b[%b]%b[%b]%b" % (before, joined[1:], between, left[1:], behind)


def _item(name: str) -> bytes:
    """Return a name as an item of a list; it is no part of another, in which `"` would be escaped."""
    return b"," + json.dumps(name).encode("ascii")
