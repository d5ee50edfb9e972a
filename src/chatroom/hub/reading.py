"""Pages of the past: from memory, and behind that from the store."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from chatroom.hub.past import Past, Record
from chatroom.protocol import names
from chatroom.protocol.messages import Incoming, IncomingBroadcast, Message, ident

PAGE = 50
"""Messages in a page, if the request does not say."""
BYTES = 256 * 1024
"""Bytes with which a page ends."""
SEARCHED = 20_000
"""Messages that one request looks through."""
MOST_DIRECT = 100
"""Direct messages in a page."""
_MESSAGE = 100
"""Bytes of a message in a page, beside its line."""

_line: msgspec.json.Decoder[Incoming | IncomingBroadcast] = msgspec.json.Decoder(Incoming | IncomingBroadcast)


class Query(NamedTuple):
    """What one wants to read."""

    room: str | None
    """By folded name; None: one's direct messages."""
    session: int
    """Who asks."""
    partner: str | None
    """The folded name of the other end; None is anybody. Of direct messages only."""
    before: int | None
    after: int | None
    limit: int
    find: bytes | None
    """In UTF-8, ASCII letters in lower case."""

    @property
    def is_forward(self) -> bool:
        """Whether it goes from old to new."""
        return self.after is not None

    def without(self, page: "Page", before: int) -> "Query":
        """Return what is still wanted before this number, after a page that has the newest."""
        return self._replace(before=before, limit=self.limit - len(page.messages))


class Stored(NamedTuple):
    """One message as it was kept."""

    number: int
    time: float
    line: bytes
    to: str | None = None
    """Whom it was said to, if to one."""
    session: int = 0
    """Who said it."""
    room: str | None = None
    """Where, by folded name; None if to one."""
    receiver: int = 0
    """To whom, if to one."""


class Page:
    """What was found, in the order in which it was looked for."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._looked_at = 0
        self.size = 0
        self.messages: list[Message] = []
        self.complete = True
        """There is nothing more that way."""
        self.go_on: int | None = None
        """The number at which a search was broken off."""

    def take(self, stored: Iterable[Stored]) -> bool:
        """Take what fits the query; return whether more may be taken."""
        find = self._query.find
        for one in stored:
            self._looked_at += 1
            if find is not None and self._looked_at > SEARCHED:
                self.complete, self.go_on = False, one.number + 1
                return False
            message = _line.decode(one.line)
            if find is not None and find not in message.content.encode().lower():
                continue
            if len(self.messages) >= self._query.limit or self.size + len(one.line) + _MESSAGE > BYTES:
                self.complete = False
                return False
            self.size += len(one.line) + _MESSAGE
            to = UNSET if one.to is None else one.to
            self.messages.append(Message(ident(one.number), one.time, message.from_, message.content, to))
        return True

    def oldest_first(self) -> list[Message]:
        """Return the messages."""
        return self.messages if self._query.is_forward else self.messages[::-1]


def in_memory(past: Past, query: Query) -> Iterator[Stored]:
    """Return what memory has, in the order of the query, before any search."""
    if query.room is None:
        return _direct(past, query)
    line = past.rooms.get(query.room)
    return iter(()) if line is None else _of_records(line, query, lambda _: None)


def floor(past: Past, query: Query) -> int:
    """Return the number behind which memory lacks nothing."""
    if query.room is None:
        return past.direct.floor
    line = past.rooms.get(query.room)
    return past.floor if line is None else line.floor


def _direct(past: Past, query: Query) -> Iterator[Stored]:
    own = [record for record in past.direct if is_between(record, query)]
    return _of_records(own, query, lambda record: record.entry.to)  # type: ignore[union-attr]


def is_between(record: Record, query: Query) -> bool:
    """Whether a direct message is the asker's, and with the one it asks for."""
    entry, me = record.entry, query.session
    if me not in {entry.session, entry.receiver}:  # type: ignore[union-attr]
        return False
    if query.partner is None:
        return True
    if entry.session == me and names.address(entry.to) == query.partner:  # type: ignore[union-attr]
        return True
    sender = next((line for _, line in record.lines()), None)
    return (
        entry.receiver == me  # type: ignore[union-attr]
        and sender is not None
        and names.address(_line.decode(sender).from_) == query.partner
    )


def _of_records(
    records: Iterable[Record], query: Query, to: Callable[[Record], str | None]
) -> Iterator[Stored]:
    ordered = list(records) if query.is_forward else list(records)[::-1]
    for record in ordered:
        if query.after is not None and record.last <= query.after:
            continue
        if query.before is not None and record.number >= query.before:
            continue
        lines = list(record.lines())
        for number, line in lines if query.is_forward else reversed(lines):
            if (query.after or -1) < number and (query.before is None or number < query.before):
                yield Stored(number, record.time, line, to(record))
