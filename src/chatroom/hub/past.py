"""The newest messages, in memory: what one can read again, and what one missed. A burst stays one piece."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import Any, TypeVar

import msgspec

from chatroom.hub.entries import GONE, Post, Said, Told
from chatroom.protocol.messages import IncomingBroadcast

ROOM = 1000
"""Messages of one room, and at most a burst more."""
ROOMS = 64 * 1024 * 1024
"""Bytes of all rooms together, and at most a turn more."""
SLACK = 4 * 1024 * 1024
"""Bytes that are forgotten at a time when there are more: to look at all rooms takes time."""
LARGEST = 256
"""Rooms that are found in one look."""
DIRECT = 10_000
"""Direct messages of all sessions together."""
DIRECT_BYTES = 16 * 1024 * 1024
POST = 300
"""Bytes that a piece takes beside its frames, about."""
LINE = 1200
"""Bytes that a room's past takes beside its pieces, about."""

_said: msgspec.json.Decoder[IncomingBroadcast] = msgspec.json.Decoder(IncomingBroadcast)

P = TypeVar("P", bound=Post)
Restorable = tuple[int, Sequence[P]]
"""The number behind which nothing is missing, and pieces, oldest first."""


class Line(deque[P]):
    """One room's past, or that of all direct messages: oldest first."""

    def __init__(self, floor: int) -> None:
        """`floor`: the number behind which nothing is missing."""
        super().__init__()
        self.floor = floor
        self.total = 0
        """Messages, counting each of a burst."""
        self.size = 0
        """Bytes in memory, about."""

    def drop(self) -> int:
        """Forget the oldest piece; return how many bytes it took."""
        post = self.popleft()
        count, size = post.count, POST + len(post.frames)
        self.total -= count
        self.size -= size
        self.floor = post.number + count - 1
        return size

    def shrink(self, most: int) -> int:
        """Forget the oldest pieces, as long as `most` messages are left; return how many bytes they took."""
        total, before = self.total, self.size
        size = before
        while self and total - (count := self[0].count) >= most:
            post = self.popleft()
            total -= count
            size -= POST + len(post.frames)
            self.floor = post.number + count - 1
        self.total, self.size = total, size
        return before - size

    def behind(self, number: int) -> Iterator[P]:
        """Return what has messages behind this number, newest first."""
        for post in reversed(self):
            if post.last <= number:
                return
            yield post

    def find(self, number: int) -> P | None:
        """Return the piece that has the message of this number."""
        if self and self[0].number <= number <= self[-1].last:
            post = self[bisect_right(self, number, key=lambda post: post.number) - 1]
            if number <= post.last:
                return post
        return None


class Past:
    """What was said lately, in each room and between two."""

    def __init__(self, floor: int, *, keeps: bool = True) -> None:
        """`floor`: the number behind which nothing is missing; `keeps`: whether anything is kept at all."""
        self._keeps = keeps
        self.floor = floor
        """The number behind which nothing is missing of rooms that have no line."""
        self.rooms: dict[str, Line[Said]] = {"": Line(floor)}
        """By folded name; the lobby's is empty."""
        self.direct: Line[Told] = Line(floor)
        self.size = 0
        """Bytes of all rooms."""

    def restore(self, rooms: Mapping[str, Restorable[Said]], direct: Restorable[Told], floor: int) -> None:
        """Take what a store has, oldest first, each with the number behind which nothing is missing of it.

        `floor`: the same of all other rooms.
        """
        self.floor = self.rooms[""].floor = floor
        for key, (own_floor, posts) in rooms.items():
            self.rooms[key] = Line(own_floor)
            self.size += LINE * bool(key)
            for post in posts:
                self.keep(key, (post,), post.count, POST + len(post.frames))
        self.direct.floor = direct[0]
        for told in direct[1]:
            self.keep_direct(told)
        self.forget_some()

    def keep(self, room: str, posts: Iterable[Said], count: int, size: int) -> None:
        """Keep what was said in a room: so many messages and bytes. Forget the oldest beyond `ROOM`."""
        line = self.rooms.get(room)
        if line is None:
            line = self.rooms[room] = Line(self.floor)
            self.size += LINE
        line += posts
        line.total = total = line.total + count
        line.size += size
        self.size += size
        most = ROOM if self._keeps else 0
        if total > most:
            self.size -= line.shrink(most)

    def keep_direct(self, post: Told) -> None:
        """Keep what was said to one."""
        line = self.direct
        line.append(post)
        line.total += post.count
        line.size += POST + len(post.frames)
        most = DIRECT if self._keeps else 0
        if line.total > most:
            line.shrink(most)
        while line.size > DIRECT_BYTES:
            line.drop()

    def find(self, number: int, room: str | None) -> Said | Told | None:
        """Return the piece that has the message of this number, said in a room or (None) to one.

        None, if it is not in memory.
        """
        if room is None:
            return self.direct.find(number)
        line = self.rooms.get(room)
        return None if line is None else line.find(number)

    def spelling(self, room: str) -> str | None:
        """Return how a room is named in what was said in it; None if nothing is in memory."""
        for post in reversed(self.rooms.get(room, ())):
            for _, line in post.lines():
                return _said.decode(line).room or None
        return None

    def forget(self, number: int, room: str | None) -> None:
        """Take this message back, which was said in a room or (None) to one, if it is in memory."""
        post = self.find(number, room)
        if post is not None:
            before = len(post.frames)
            post.forget(number)
            less = before - len(post.frames)
            if isinstance(post, Told):
                self.direct.size -= less
            else:
                self.rooms[post.room].size -= less
                self.size -= less

    def erase(self, owner: int) -> None:
        """Take back all that an account or a session wrote."""
        lines: list[Line[Any]] = [*self.rooms.values(), self.direct]
        for line in lines:
            for post in line:
                if post.session == owner:
                    less = len(post.frames) - post.count
                    post.frames = GONE * post.count
                    line.size -= less
                    self.size -= 0 if line is self.direct else less

    def expire(self, number: int) -> None:
        """Forget the pieces that end with this number, or before."""
        for key, line in list(self.rooms.items()):
            while line and line[0].last <= number:
                self.size -= line.drop()
            self._forget_room(key, line)
        while self.direct and self.direct[0].last <= number:
            self.direct.drop()

    def _forget_room(self, key: str, line: Line[Said]) -> None:
        """Forget a room of which nothing is left."""
        if key and not line:
            self.floor = max(self.floor, line.floor)
            del self.rooms[key]
            self.size -= LINE

    def forget_some(self) -> None:
        """Forget the older half of what the largest rooms have, until there is room again.

        To be called between turns of the log, whose ends are the same on every machine.
        """
        goal = max(0, ROOMS - SLACK)
        while self.size > goal:
            for key, line in nsmallest(LARGEST, self.rooms.items(), key=lambda item: (-item[1].size, item[0])):
                half = line.size // 2
                while line and line.size >= half and self.size > goal:
                    self.size -= line.drop()
                self._forget_room(key, line)
                if self.size <= goal:
                    return


def newest(floor: int, total: int, posts: list[Said]) -> tuple[int, list[Said]]:
    """Return what a room's past keeps of `total` messages, and the number behind which nothing is missing."""
    first = 0
    while first < len(posts) and total - posts[first].count >= ROOM:
        total -= posts[first].count
        floor, first = posts[first].last, first + 1
    return floor, posts[first:]
