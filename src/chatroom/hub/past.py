"""The newest messages, in memory: what one can read again, and what one missed.

A burst stays one piece. A message that is taken back leaves an empty line, so that those behind keep their ids.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from chatroom.hub.entries import Said, Told

ROOM = 1000
"""Messages of one room, and at most a burst more."""
ROOMS = 64 * 1024 * 1024
"""Bytes of all rooms together."""
DIRECT = 10_000
"""Direct messages of all sessions together."""
DIRECT_BYTES = 16 * 1024 * 1024
RECORD = 300
"""Bytes that a piece takes beside its frames, about."""
_GONE = b"\n"


class Record(Struct, gc=False):
    """A message, or a burst of them with consecutive numbers."""

    number: int
    """Of the first."""
    time: float
    entry: Said | Told

    @property
    def last(self) -> int:
        """The number of the last."""
        return self.number + self.entry.count - 1

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return RECORD + len(self.entry.frames)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Return each message that was not taken back, with its number."""
        for place, line in enumerate(self.entry.frames.splitlines(keepends=True)):
            if line != _GONE:
                yield self.number + place, line

    def forget(self, number: int) -> bool:
        """Take this message back; return whether it was still there."""
        lines = self.entry.frames.splitlines(keepends=True)
        was_there = lines[number - self.number] != _GONE
        lines[number - self.number] = _GONE
        self.entry.frames = b"".join(lines)
        return was_there


class Line(deque[Record]):
    """One room's past, or that of all direct messages: oldest first."""

    def __init__(self, floor: int) -> None:
        """`floor`: the number behind which nothing is missing."""
        super().__init__()
        self.floor = floor
        self.total = 0
        """Messages, counting each of a burst."""

    def drop(self) -> int:
        """Forget the oldest; return how many bytes it took."""
        record = self.popleft()
        self.total -= record.entry.count
        self.floor = record.last
        return record.size

    def behind(self, number: int) -> Iterator[Record]:
        """Return what has messages behind this number, newest first."""
        for record in reversed(self):
            if record.last <= number:
                return
            yield record


class Past:
    """What was said lately, in each room and between two."""

    def __init__(self, floor: int) -> None:
        """`floor`: the number behind which nothing is missing."""
        self.floor = floor
        """The number behind which nothing is missing of rooms that have no line."""
        self.rooms: dict[str, Line] = {"": Line(floor)}
        """By folded name; the lobby's is empty."""
        self.direct = Line(floor)
        self.size = 0
        """Bytes of all rooms."""
        self._records = 0
        self._direct_size = 0
        self._order: deque[Record] = deque()  # all records of rooms, and some that their rooms have forgotten

    def keep(self, room: str, records: list[Record], size: int) -> None:
        """Keep what was said in a room, frames of so many bytes, and forget the oldest that is too much."""
        line = self.rooms.get(room)
        if line is None:
            line = self.rooms[room] = Line(self.floor)
        line += records
        self._order += records
        line.total += sum([record.entry.count for record in records])
        self.size += RECORD * len(records) + size
        self._records += len(records)
        if line.total > ROOM or self.size > ROOMS:
            self._make_room(line)

    def keep_direct(self, record: Record) -> None:
        """Keep what was said to one."""
        line = self.direct
        line.append(record)
        line.total += record.entry.count
        self._direct_size += record.size
        while line.total - line[0].entry.count >= DIRECT or self._direct_size > DIRECT_BYTES:
            self._direct_size -= line.drop()

    def find(self, number: int) -> Record | None:
        """Return what has the message of this number, if it is in memory."""
        for records in (self._order, self.direct):
            place = bisect_right(records, number, key=lambda record: record.number) - 1
            if place >= 0 and records[place].last >= number and not self._is_forgotten(records[place]):
                return records[place]
        return None

    def _make_room(self, line: Line) -> None:
        while line.total - line[0].entry.count >= ROOM:
            self._drop(line)
        order = self._order
        while order and (self.size > ROOMS or self._is_forgotten(order[0])):
            oldest = order.popleft()
            if not self._is_forgotten(oldest):
                self._drop(self.rooms[oldest.entry.room])  # type: ignore[union-attr] # it was said in a room
        if len(order) > 2 * self._records + ROOM:
            self._order = deque(record for record in order if not self._is_forgotten(record))

    def _drop(self, line: Line) -> None:
        room = line[0].entry.room  # type: ignore[union-attr]
        self.size -= line.drop()
        self._records -= 1
        if room and not line:
            self.floor = max(self.floor, line.floor)
            del self.rooms[room]

    def _is_forgotten(self, record: Record) -> bool:
        if isinstance(record.entry, Told):
            return record.number <= self.direct.floor
        line = self.rooms.get(record.entry.room)
        return line is None or record.number <= line.floor
