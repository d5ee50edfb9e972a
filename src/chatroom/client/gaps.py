"""What a client has had of each place, and how it gets what it missed while there was no connection.

A place is a room, or the lobby together with what is said to the client alone: within one, ids grow from
message to message. As long as what was missed is being read back, what comes meanwhile is held.
"""

from collections.abc import Callable, Generator

from chatroom.client.inbox import Gap, Message, OwnMessage, size
from chatroom.protocol.messages import MAX_PAGE, History, HistoryReply, Incoming, IncomingBroadcast
from chatroom.protocol.messages import Message as Old

MOST = 1000
"""Messages of one place that are read back; of the lobby, and of those to the client alone, so many each."""

Stamped = Incoming | IncomingBroadcast | OwnMessage
Fill = Generator[History, HistoryReply | None, list[Message]]
"""Asks for pages of the past, and returns what was missed; None: a page was refused."""
Attribute = Callable[[Incoming | IncomingBroadcast], Stamped]
"""Tells one's own messages from those of others."""


class Line:
    """A history: of a room (None: the lobby), or of direct messages."""

    def __init__(self, room: str | None, *, is_direct: bool = False) -> None:
        self.room = room
        self.is_direct = is_direct
        self.has_begun = False
        """Whether the client has had a message of it, which is found again if nothing is missing."""

    def page(self, *, limit: int, before: str | None = None) -> History:
        """Return the request for the newest messages, or for those before an id."""
        request = History(limit=limit)
        if self.is_direct:
            request.with_ = "*"
        elif self.room is not None:
            request.room = self.room
        if before is not None:
            request.before = before
        return request


class Place:
    """A room, or (None) the lobby with what is said to the client alone."""

    def __init__(self, room: str | None) -> None:
        self.room = room
        self.lines = [Line(room)] if room is not None else [Line(None), Line(None, is_direct=True)]
        self.last: str | None = None
        """The id of the last message that the client has had, its own too; "" if there was none before it came.

        None: not known yet.
        """
        self.held: list[Stamped] | None = None
        """What came while that before it is read back; None if nothing is."""
        self.held_characters = 0
        self._own: set[str] = set()  # its own messages, and those taken back, while it is read back
        self._forgotten: set[str] = set()

    def begin(self, *, is_held: bool) -> None:
        """The client is back; hold what comes, or not."""
        self.held = [] if is_held else None
        self.held_characters = 0
        self._own.clear()
        self._forgotten.clear()

    def forget_direct(self) -> None:
        """The direct messages that the client has had belong to a session that has ended."""
        self.lines[-1].has_begun = False

    def rename(self, room: str) -> None:
        """The room has been made anew, and is spelled in another way."""
        self.room = self.lines[0].room = room

    def knows(self, reply: HistoryReply) -> None:
        """The newest message that was there when the client came, or none."""
        if self.last is None:
            self.last = reply.messages[-1].id if reply.messages else ""
            self.lines[0].has_begun = bool(reply.messages)

    def had(self, ident: str, *, is_direct: bool = False) -> None:
        """The client has had this message, or sent it."""
        self.last = max(self.last or "", ident)
        self.lines[is_direct].has_begun = True

    def hold(self, message: Stamped) -> None:
        """Keep a message until what was said before it has been read back."""
        if self.held is not None:
            self.held.append(message)
            self.held_characters += size(message)

    @property
    def held_messages(self) -> int:
        """How many messages are held, and news of those that were taken back."""
        return len(self.held or ()) + len(self._forgotten)

    def said(self, ident: str, *, is_direct: bool) -> None:
        """The client has sent this message, and had all before it, unless that is being read back."""
        if self.held is None:
            self.had(ident, is_direct=is_direct)
        else:
            self._own.add(ident)

    def forgotten(self, ident: str) -> None:
        """This message was taken back: it is not handed on any longer."""
        if self.held is not None:
            self._forgotten.add(ident)

    def fill(
        self, names: set[str], attributed: Attribute, *, is_continued: bool, is_account: bool = False
    ) -> Fill:
        """Read back what was said behind the last message; return all of it, oldest first, and what was held.

        `names`: what the client has been called. `is_continued`: the server knows what was said to the client
        alone, and that nothing was said in a place where it says nothing was. `is_account`: it knows the first
        in any case.
        """
        found: list[Stamped] = []
        is_whole = self.last is not None
        for line in self.lines if is_whole else ():
            is_known = is_continued or (line.is_direct and is_account)
            if line.is_direct and not is_known:
                is_whole = False  # it went with the session
            else:
                is_whole &= yield from self._read(line, found, names, attributed, is_continued=is_known)
        return self.release(found, is_whole=is_whole)

    def release(self, found: list[Stamped], *, is_whole: bool) -> list[Message]:
        """Return what was missed and what was held, behind the mark of a gap if that is not all."""
        messages = {str(message.id): message for message in [*found, *(self.held or ())]}
        whole = [messages[ident] for ident in sorted(messages) if ident not in self._own | self._forgotten]
        for message in whole:
            self.had(str(message.id), is_direct=is_direct(message))
        if whole or self._own or is_whole:
            self.last = max(self.last or "", *self._own, "")
        else:  # the server may have nothing of what the client had
            self.last = None
            for line in self.lines:
                line.has_begun = False
        self.begin(is_held=False)
        return whole if is_whole else [Gap(self.room), *whole]

    def _read(
        self, line: Line, found: list[Stamped], names: set[str], attributed: Attribute, *, is_continued: bool
    ) -> Generator[History, HistoryReply | None, bool]:
        """Read back one history; return whether nothing is missing."""
        last, before, count = self.last or "", None, 0
        while count < MOST:
            page = yield line.page(limit=min(MAX_PAGE, MOST - count), before=before)
            if page is None:
                return False
            new = [old for old in page.messages if old.id > last]
            found += [message for old in new if (message := _message(old, line, names, attributed))]
            count += len(new)
            if len(new) < len(page.messages):
                return True
            if page.complete or not new or (before is not None and new[0].id >= before):
                return page.complete and is_continued and not line.has_begun
            before = new[0].id
        return False


def is_direct(message: Stamped) -> bool:
    """Whether it was said to one alone."""
    return isinstance(message, Incoming) or (isinstance(message, OwnMessage) and message.to is not None)


def _message(old: Old, line: Line, names: set[str], attributed: Attribute) -> Stamped | None:
    """Return what would have come; None if it would not have come to this client."""
    if not line.is_direct:
        return attributed(IncomingBroadcast(old.from_, old.content, line.room, old.id, old.time))
    message = attributed(Incoming(old.from_, old.content, old.to, old.id, old.time))
    if isinstance(message, Incoming):
        message.to = None
        return message if old.to in names else None
    return message
