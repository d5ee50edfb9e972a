"""Pages of the past: from memory, and behind that from the store."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from chatroom.hub.entries import Said, Told
from chatroom.hub.past import Line, P, Past
from chatroom.protocol import names
from chatroom.protocol.messages import Incoming, IncomingBroadcast, Message, ident

PAGE = 50
"""Messages in a page, if the request does not say."""
BYTES = 256 * 1024
"""Bytes with which a page ends."""
SEARCHED = 20_000
"""Messages that one request looks through."""
SEARCHED_BYTES = 4 * 1024 * 1024
"""Bytes of messages that one request looks through: in memory, all others wait for that."""
MOST_DIRECT = 100
"""Direct messages in a page."""
_MESSAGE = 100
"""Bytes of a message in a page, beside its line."""

_CONTENT = b',"content":'
"""What comes behind the sender's name in a line; in a name, the quotation marks would be escaped."""

_folded = lru_cache(10_000)(names.address)
_line: msgspec.json.Decoder[Incoming | IncomingBroadcast] = msgspec.json.Decoder(Incoming | IncomingBroadcast)


class Query(NamedTuple):
    """What one wants to read."""

    room: str | None
    """By folded name; None: one's direct messages."""
    session: int
    """Who asks: a session, or an account."""
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

    @property
    def is_search(self) -> bool:
        """Whether much may have to be looked through for little."""
        return not self.is_forward and (self.find is not None or self.partner is not None)


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
        self.left = SEARCHED
        """Messages that a search may still look through."""
        self._searched = 0  # bytes
        self.size = 0
        self.messages: list[Message] = []
        self.complete = True
        """There is nothing more that way."""
        self.has_failed = False
        """Something could not be read."""
        self.go_on: int | None = None
        """The number at which a search was broken off."""

    def take(self, stored: Iterable[Stored]) -> bool:
        """Take what fits the query; return whether more may be taken."""
        find = self._query.find
        if not self.complete:
            return False
        for one in stored:
            if find is not None and (not self.left or self._searched >= SEARCHED_BYTES):
                self.break_off(one.number)
                return False
            self.left -= 1
            self._searched += len(one.line)
            if find is not None and b"\\" not in one.line and find not in one.line.lower():
                continue  # without escapes, the content stands in the line as it is
            message = _line.decode(one.line)
            if find is not None and find not in message.content.encode().lower():
                continue
            size = self.size + len(one.line) + _MESSAGE
            if len(self.messages) >= self._query.limit or (self.messages and size > BYTES):
                self.complete = False
                return False
            self.size = size
            self.messages.append(Message(ident(one.number), one.time, message.from_, message.content, one.to))
        return True

    def break_off(self, number: int) -> None:
        """End a search: this number, and what is before it, was not looked at."""
        self.complete, self.go_on = False, number + 1

    def fail(self) -> None:
        """End, as the rest cannot be read."""
        self.complete, self.has_failed = False, True

    def oldest_first(self) -> list[Message]:
        """Return the messages."""
        return self.messages if self._query.is_forward else self.messages[::-1]


def in_memory(past: Past, query: Query) -> Iterator[Stored]:
    """Return what memory has, in the order of the query, before any search."""
    if query.room is None:
        return _direct(past, query)
    line = past.rooms.get(query.room)
    posts: Iterable[Said] = () if line is None else _ordered(line, query)
    return _of_posts(posts, query)


def floor(past: Past, query: Query) -> int:
    """Return the number behind which memory lacks nothing."""
    if query.room is None:
        return past.direct.floor
    line = past.rooms.get(query.room)
    return past.floor if line is None else line.floor


def _direct(past: Past, query: Query) -> Iterator[Stored]:
    return _of_posts((post for post in _ordered(past.direct, query) if is_between(post, query)), query)


def is_between(post: Told, query: Query) -> bool:
    """Whether a direct message is the asker's, and with the one it asks for."""
    me, partner = query.session, query.partner
    if me not in (post.session, post.receiver):
        return False
    if partner is None or (post.session == me and _folded(post.to) == partner):
        return True
    if post.receiver != me or (start := post.frames.find(b"{")) < 0:
        return False
    return _sender(post.frames[start : post.frames.index(_CONTENT, start)]) == partner


@lru_cache(10_000)
def _sender(beginning: bytes) -> str:
    """Return the folded name of who sent a message that begins so."""
    return _folded(_line.decode(beginning + _CONTENT + b'""}').from_)


def _ordered(line: Line[P], query: Query) -> Iterator[P]:
    return iter(line) if query.is_forward else reversed(line)


def _of_posts(posts: Iterable[Said | Told], query: Query) -> Iterator[Stored]:
    """Return each message of these that lies between the query's ends."""
    after, before = query.after or -1, query.before
    for post in posts:
        if post.last <= after or (before is not None and post.number >= before):
            continue
        to = post.to if isinstance(post, Told) else None
        lines = list(post.lines())
        for number, line in lines if query.is_forward else reversed(lines):
            if after < number and (before is None or number < before):
                yield Stored(number, post.time, line, to)
