"""Rooms, the past, and what is unread: what a server that knows more than the base protocol adds."""

import unicodedata
from collections import deque
from dataclasses import dataclass, replace

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import InboxFull, Refused
from chatroom.client.inbox import Gap, OwnMessage
from chatroom.client.inbox import Message as News
from chatroom.protocol.messages import (
    MAX_FIND,
    MAX_PAGE,
    MAX_REF,
    ErrorCode,
    Forgotten,
    Incoming,
    IncomingBroadcast,
    Message,
    Presence,
    RoomSize,
)
from chatroom.terminal.reasons import reason
from chatroom.terminal.screen import Screen
from chatroom.terminal.shown import (
    came_and_went,
    folded,
    label,
    quoted,
    said,
    said_elsewhere,
    was_said,
)
from chatroom.terminal.text import Pieces, visible
from chatroom.terminal.typed import BAR, LAST, Forget, Join, Leave, ListRooms, Past, Say, room_of

MOST = 1000
"""Messages of the past that are shown at once."""
SEARCHES = 10
"""Requests that a search, or a page, takes at most: the server looks through 20,000 messages in each."""
REMEMBERED = 1000
"""Messages that were shown, of which it can be said that they were taken back."""
MINE = 100
"""Messages of one's own that can be taken back."""
COUNTED, COUNTED_SHOWN = 100, 5
"""Rooms and people whose messages are counted until they are read, and those of them that are shown."""
LONGEST = 80
"""Characters of a message that are repeated to say which is meant."""


@dataclass
class Shown:
    """A message that was shown: the beginnings of its line and its text, and where it is counted as unread."""

    line: str
    sender: str
    text: str
    unread_in: str = ""


class Rooms:
    """The rooms one is in, what was said in them and in the lobby, and what has not been read.

    Methods that ask the server raise what the client raises.
    """

    def __init__(self, client: AsyncClient, screen: Screen, name: str) -> None:
        self._names: set[str] = set()  # those that one has had
        self.call_me(name)
        self.joined: list[str] = []
        self._client, self._screen = client, screen
        self._past: list[Message] = []  # of the lobby, to be shown at the start
        self._shown: dict[str, Shown] = {}  # by the message's id
        self._mine: deque[tuple[str, Say]] = deque(maxlen=MINE)  # with the `ref` of each
        self._unread: dict[str, int] = {}  # by what is typed for the room or the person

    @classmethod
    async def of(cls, client: AsyncClient, screen: Screen, name: str) -> "Rooms | None":
        """Ask for what was last said in the lobby; return None if the server has no rooms."""
        rooms = cls(client, screen, name)
        try:
            rooms._past = (await client.history(limit=LAST)).messages[-LAST:]
        except (Refused, OSError, InboxFull) as error:
            if isinstance(error, Refused) and error.code == ErrorCode.UNKNOWN_CODE:
                return None
            screen.complain(f"no history: {reason(error)}")
        return rooms

    def call_me(self, name: str) -> None:
        """This is one's own name from now on."""
        self._name = unicodedata.normalize("NFC", name)
        self._names.add(self._name)

    def begin(self) -> None:
        """Show what was last said in the lobby."""
        self._show_past(self._past, None)
        self._past = []

    # What the screen asks

    def unread(self, begun: str) -> str:
        """Return how many messages of which rooms and people are unread.

        Whoever begins to write to one has read what is there.
        """
        if bar := BAR.search(begun):
            self._read(begun[: bar.start()].strip())
        counts = [f"{place} ({count})" for place, count in self._unread.items()]
        more = [f"and {len(counts) - COUNTED_SHOWN} more"] * (len(counts) > COUNTED_SHOWN)
        return f"unread: {', '.join([*counts[:COUNTED_SHOWN], *more])}" if counts else ""

    def read_all(self) -> None:
        """All has been read."""
        for place in [*self._unread]:
            self._read(place)

    # What comes

    def show(self, message: News) -> None:
        """Show what came, if it is of this kind; what has been shown as the past is not shown again."""
        match message:
            case Incoming() | IncomingBroadcast():
                if message.id is None or message.id not in self._shown:
                    place = self._count(message)
                    pieces = said(message)
                    self._screen.show(pieces)
                    if message.id is not None:
                        self._remember(message, message.id, pieces, place)
            case OwnMessage() if message.id not in self._shown:
                pieces = said_elsewhere(message)
                self._screen.show(pieces)
                self._remember(message, message.id, pieces)
                self._read(_place(message))
            case Presence() if message.joined or message.left:  # of a crowd, only how many there are is told
                self._screen.show(came_and_went(message))
            case Forgotten(id=ident):
                self._taken_back(ident)
            case Gap(room=room):
                place = label(room) if room is not None else "the lobby, and to you"
                command = f"/history {label(room)}" if room is not None else "/history"
                self._screen.complain(
                    f"messages may be missing here, in {place}: {command} shows what the server has"
                )

    def _count(self, message: Incoming | IncomingBroadcast) -> str:
        """Count the message as unread; return for which place, if it is for one."""
        if isinstance(message, Incoming):
            place = quoted(message.from_)
        elif isinstance(message.room, str):
            place = label(message.room)
        else:
            return ""  # the lobby is what one sees
        if place not in self._unread and len(self._unread) >= COUNTED:
            return ""
        self._count_one(place, 1)
        return place

    def _count_one(self, place: str, change: int) -> None:
        self._unread[place] = self._unread.get(place, 0) + change
        if not self._unread[place]:
            del self._unread[place]

    def _read(self, place: str) -> None:
        """All of this place, as it was typed, has been read."""
        room = room_of(place)
        named = (quoted(place.strip('"')) if room is None else label(room)).casefold()
        for unread in [unread for unread in self._unread if unread.casefold() == named]:
            del self._unread[unread]
            for shown in self._shown.values():
                if shown.unread_in == unread:
                    shown.unread_in = ""

    def _taken_back(self, ident: str) -> None:
        """Say so, if the message was shown."""
        if (shown := self._shown.pop(ident, None)) is None:
            return
        self._screen.show([("time", f"taken back: {shown.line}")])
        if shown.unread_in:
            self._count_one(shown.unread_in, -1)

    def _remember(
        self,
        message: Incoming | IncomingBroadcast | OwnMessage | Message,
        ident: str,
        pieces: Pieces,
        place: str = "",
    ) -> None:
        if len(ident) <= MAX_REF:
            # The past may be shown again: what is counted stays so.
            place = place or (self._shown[ident].unread_in if ident in self._shown else "")
            line = _shortened("".join(text for _, text in pieces))
            self._shown[ident] = Shown(line, message.from_, message.content[:MAX_FIND], place)
            if len(self._shown) > REMEMBERED:
                del self._shown[next(iter(self._shown))]

    # What is typed

    def said(self, message: Say, ref: str) -> None:
        """Remember what was sent, to be taken back, and that what stood before it has been read."""
        self._mine.append((ref, message))
        self._read(_place(message))

    def place_of(self, ref: str) -> str | None:
        """Return to where the message with this `ref` was sent, if that is known."""
        return next((_place(message) for sent, message in self._mine if sent == ref), None)

    def refused(self, ref: str) -> None:
        """The message with this `ref` was not taken: there is nothing to take back."""
        self._mine = deque((mine for mine in self._mine if mine[0] != ref), MINE)

    async def do(self, meaning: Join | Leave | ListRooms | Past | Forget) -> None:
        """Do what was typed."""
        match meaning:
            case Join(room):
                await self._join(room)
            case Leave(room):
                await self._leave(room)
            case ListRooms():
                self._list(await self._client.rooms())
            case Past():
                await self._look_back(meaning)
            case Forget(text):
                await self._forget(text)

    async def _join(self, name: str) -> None:
        room = await self._client.join(name)
        if room not in self.joined:
            self.joined.append(room)
        past = (await self._client.history(room=room, limit=LAST)).messages[-LAST:]
        others = [other for other in await self._client.users(room) if other != self._name]
        self._show_past(past, room)
        company = f"with {folded(others)}" if others else "alone"
        self._say(f"you are in {label(room)}, {company}: type {label(room)}|text")

    async def _leave(self, name: str | None) -> None:
        if name is None:
            if len(self.joined) != 1:
                rooms = " and ".join(map(label, self.joined))
                self._screen.complain(
                    f"you are in {rooms}: type /leave ROOM" if rooms else "you are in no room"
                )
                return
            name = self.joined[0]
        name = next((room for room in self.joined if room.casefold() == name.casefold()), name)
        try:
            await self._client.leave(name)
        except Refused:
            self._forget_room(name)  # it could not be joined again after an outage
            raise
        self._forget_room(name)
        self._say(f"you have left {label(name)}")

    def _forget_room(self, name: str) -> None:
        self.joined = [room for room in self.joined if room != name]
        self._read(label(name))

    def _list(self, rooms: list[RoomSize]) -> None:
        self._say("rooms:" if rooms else "there are no rooms; /join ROOM makes one")
        for size in rooms:
            is_mine = ", with you" if size.room in self.joined else ""
            self._say(f"  {label(size.room)} ({size.users} user{'s' * (size.users != 1)}{is_mine})")

    async def _look_back(self, past: Past) -> None:
        messages, is_complete = await self._pages(past)
        if past.room is None and past.to is None:  # what one sees without a room: the lobby, and what is for us
            direct, has_all_direct = await self._pages(replace(past, to="*"))
            messages = sorted(messages + direct, key=lambda message: message.id)[-min(past.count, MOST) :]
            is_complete &= has_all_direct
        for message in messages:
            self._show(message, past.room)
        if past.find is None:
            self._read(_place(past))
        if past.find is not None and not is_complete and len(messages) < past.count:
            self._say("what was said before that was not searched")
        elif not is_complete and past.count > MOST:
            self._say(f"no more than {MOST:,} messages are shown")
        elif not messages:
            self._say(f"no {'such ' * (past.find is not None)}messages {self._where(past)}")

    def _where(self, past: Past) -> str:
        if past.room is not None:
            return f"in {label(past.room)}"
        if past.to is None:
            return "in the lobby, or to you"
        is_room = past.to.casefold() in map(str.casefold, self.joined)
        return f"with {visible(past.to)}" + f"; the room is {label(past.to)}" * is_room

    async def _pages(self, past: Past) -> tuple[list[Message], bool]:
        """Return as many messages as are wanted, and whether there are no more."""
        wanted = min(past.count, MOST)
        messages: list[Message] = []
        before: str | None = None
        for _ in range(SEARCHES):
            page = await self._client.history(
                room=past.room,
                with_=past.to,
                find=past.find,
                before=before,
                limit=min(wanted - len(messages), MAX_PAGE),
            )
            messages = page.messages + messages
            if page.complete:
                return messages[-wanted:], True
            if len(messages) >= wanted or not (page.messages or isinstance(page.before, str)):
                break
            before = page.before if isinstance(page.before, str) else page.messages[0].id
        return messages[-wanted:], False

    async def _forget(self, text: str) -> None:
        mine = [one for one in self._mine if text.casefold() in one[1].text.casefold()]
        if not mine and (ident := self._of_another(text)):
            await self._client.forget(ident)
            self._taken_back(ident)
            return
        if not mine:
            self._screen.complain(f"you have said nothing{' like that' * bool(text)} since you connected")
            return
        ref, last = mine[-1]
        found = (
            await self._client.history(room=last.room, with_=last.to, find=last.text[:MAX_FIND], limit=MAX_PAGE)
        ).messages
        self.refused(ref)
        idents = [one.id for one in found if one.content == last.text and one.from_ in self._names]
        what = _shortened(f"{_place(last)}|{visible(last.text)}")
        if not idents:
            self._screen.complain(f"not taken back, since it is not in the history: {what}")
            return
        await self._client.forget(idents[-1])
        self._say(f"taken back: {what}")

    def _of_another(self, text: str) -> str | None:
        """Return which message `NAME|TEXT` means, of those that were shown; operators may take it back."""
        if not (bar := BAR.search(text)):
            return None
        named = quoted(text[: bar.start()].strip().strip('"')).casefold()
        wanted = text[bar.end() :].strip().casefold()
        for ident, shown in reversed(self._shown.items()):
            if quoted(shown.sender).casefold() == named and wanted in shown.text.casefold():
                return ident
        return None

    # Showing

    def _show_past(self, messages: list[Message], room: str | None) -> None:
        """Show what was said, but for what was shown when it came."""
        for message in messages:
            if message.id not in self._shown:
                self._show(message, room)

    def _show(self, message: Message, room: str | None) -> None:
        pieces = was_said(message, room, self._names)
        self._remember(message, message.id, pieces)
        self._screen.show(pieces)

    def _say(self, text: str) -> None:
        self._screen.show([("", text)])


def _place(what: Say | Past | OwnMessage) -> str:
    """Return what is typed for a room, for somebody, or for the lobby."""
    if what.room is not None:
        return label(what.room)
    return "*" if what.to is None else quoted(what.to)


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
