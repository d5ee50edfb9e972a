"""A conversation: what is typed goes to the server, what comes from it is shown."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import ConnectionLost, InboxFull, NameReserved, NameTaken, Refused
from chatroom.client.inbox import Disconnected, Gap, Inbox, Message, OwnMessage, Reconnected, Unconfirmed
from chatroom.client.link import NAME_PATIENCE
from chatroom.protocol.messages import ErrorCode, ErrorReply, Forgotten, Incoming, IncomingBroadcast, Presence
from chatroom.terminal import login, typed
from chatroom.terminal.login import offered, refused
from chatroom.terminal.order import carry_out, list_bans
from chatroom.terminal.reasons import interrupted, reason
from chatroom.terminal.rooms import Rooms
from chatroom.terminal.screen import Screen
from chatroom.terminal.shown import label
from chatroom.terminal.text import called, explained, line, users, visible

_Offer = TypeVar("_Offer")

REMEMBERED = 64
"""Lines of a pipe that an answer may still be about: more than can be under way at a time."""


class Conversation:
    """What is typed goes to the server, and what comes is shown, until one of both ends.

    While there is no connection, a message is refused, and stays where it was typed. If somebody has taken our
    name meanwhile, only a command takes another one: whatever else is being typed is meant for a message, and
    never becomes a name, which all can read.
    """

    def __init__(self, client: AsyncClient, screen: Screen, name: str) -> None:
        self.place = ""
        """Where the line stands that is being sent, or was when the connection was lost."""
        self._client, self._screen, self._name = client, screen, name
        self._rooms: Rooms | None = None  # once a server has shown that it has them, to a person
        self._new_names: asyncio.Queue[str] = asyncio.Queue()  # no longer than somebody can type
        self._is_renamed = asyncio.Event()  # not set while the client has given up our name
        self._is_renamed.set()
        self._sent: deque[tuple[str, str, typed.Say]] = deque(maxlen=REMEMBERED)  # `ref`, line's place, message

    @property
    def name(self) -> str:
        """One's own name."""
        return self._name

    # What the screen asks

    @property
    def is_online(self) -> bool:
        """Whether there is a connection, and we are welcome."""
        return self._client.is_connected

    @property
    def has_rooms(self) -> bool:
        """Whether the server has rooms and a history, and a person is here to see them."""
        return self._rooms is not None

    @property
    def has_account(self) -> bool:
        """Whether one's name is an account's: it may be made an operator's at any time."""
        return self._client.is_account

    @property
    def joined(self) -> list[str]:
        """The rooms one is in."""
        return self._rooms.joined if self._rooms else []

    def unread(self, begun: str) -> str:
        """Return what is unread, when this has been typed."""
        return self._rooms.unread(begun) if self._rooms else ""

    async def names(self) -> list[str]:
        """Return the names that can be completed."""
        return await self._offered(self._client.users)

    async def rooms(self) -> list[str]:
        """Return the rooms that can be completed."""
        return [size.room for size in await self._offered(self._client.rooms)] if self._rooms else []

    async def _offered(self, ask: Callable[[], Awaitable[list[_Offer]]]) -> list[_Offer]:
        if not self.is_online:
            return []
        try:
            return await ask()
        except (OSError, InboxFull, Refused):
            return []

    def take(self, lines: str) -> str | None:
        """While offline: try to connect at once, or under a new name; refuse what needs a connection.

        Once the client has given up our name, that is tried again too: somebody may have left it.

        An empty line marks all as read.
        """
        if self._rooms and not lines.strip():
            self._rooms.read_all()
        if self.is_online:
            return None
        match [typed.understand(text, rooms=self.has_rooms) for text in lines.split("\n")]:
            case [typed.Name(name)]:
                self._rename(name)
                return ""
            case [*meanings] if any(isinstance(meaning, typed.Request) for meaning in meanings):
                self._try_now()
                return "not sent: you are offline"
        if not lines.strip():
            self._try_now()
            return ""
        return None

    def _try_now(self) -> None:
        if self._client.retry_in is not None:
            self._client.retry_now()
            self._screen.show([("", "trying to connect now")])
        elif not self._is_renamed.is_set() and self._new_names.empty():
            self._rename(self._name)

    def _rename(self, name: str) -> None:
        if self.is_online:
            self._complain("you have a name; to take another one, leave and come back")
        else:
            self._screen.show([("", f'asking for the name "{visible(name)}"')])
            self._new_names.put_nowait(name)

    # Its parts

    async def list_first_users(self) -> Inbox:
        """Show who is here, or why nobody knows, and at once a lost connection; return what else came.

        If somebody sits here, the server is also asked for what was last said, if it has a history.
        """
        early = Inbox()  # bounded, as the client's own

        async def hear() -> None:
            while not early.is_full:
                message = await anext(self._client)
                if isinstance(message, Disconnected | Reconnected):
                    self.show(message)
                else:
                    early.put([message])

        hearing = asyncio.create_task(hear())
        try:
            try:
                names = [visible(name) for name in await self._client.users()]
            except (Refused, TimeoutError) as error:  # one can chat without
                names = [f"(no list of users: {reason(error)})"]
            for text in ("current users:", *names, ""):
                self._screen.show([("", text)])
            if self._screen.is_interactive:
                self._rooms = await Rooms.of(self._client, self._screen, self._name)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)  # what it raises, the next use raises as well
        return early

    def begin(self, early: Inbox) -> None:
        """Show what was last said, and then what came meanwhile."""
        if self._rooms:
            self._rooms.begin()
        while early:
            self.show(early.take())

    async def go_on(self) -> None:
        """Send what is typed and show what comes."""
        parts = (self._hear(), self._speak(), self._take_names(), self._screen.has_left.wait())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def leave(self, *, stay: bool) -> None:
        """Say quit, unless the session is to `stay`, and show what is still on its way."""
        closing = asyncio.create_task(self._client.close(stay=stay))
        try:
            async for message in self._client:
                self.show(message)
        finally:
            await closing

    async def _hear(self) -> None:
        """Show what comes. Once the client has given up our name, wait for another one."""
        while True:
            try:
                async for message in self._client:
                    self.show(message)
            except (NameTaken, NameReserved) as refusal:
                self._is_renamed.clear()
                is_owned = isinstance(refusal, NameReserved)
                again = "its password is asked for at the start" if is_owned else "Enter tries again"
                self._screen.complain(
                    f"still offline: {explained(refusal.error)}; {again}, {_another(refusal.error)}"
                )
                await self._is_renamed.wait()
            else:
                return

    async def _take_names(self) -> None:
        """Come back at once under the names that somebody wants; else the client tries on as before."""
        while True:
            name = await self._new_names.get()
            if self.is_online:
                continue
            try:
                await self._client.hello(name)
            except Refused as refusal:
                self._screen.complain(f"{refused(refusal, name)}; {_another(refusal.error)}")
            except OSError as error:
                self._screen.complain(f"no connection: {reason(error)}")
            else:
                self._is_renamed.set()

    async def _speak(self) -> None:
        """Do what is typed."""
        while (lines := await self._screen.read_line()) is not None:
            self.place = self._screen.place
            for text in lines.split("\n"):
                match typed.understand(text, rooms=self.has_rooms, terminal=self._screen.is_interactive):
                    case typed.Quit():
                        return
                    case typed.Unclear(hint):
                        if hint and "\n" not in lines:  # else it was said before they were sent
                            self._complain(hint)
                    case typed.Help():
                        for row in typed.help_rows(
                            rooms=self.has_rooms, keys=self._screen.has_editor, account=self.has_account
                        ):
                            self._screen.show([("", row)])
                    case typed.Name(name):
                        self._rename(name)
                    case meaning:
                        await self._do(meaning)
            self.place = ""

    async def _do(self, meaning: typed.Request) -> None:
        try:
            match meaning:
                case typed.Who(room):
                    await self._list_users(room)
                case typed.Say():
                    await self._say(meaning)
                case typed.Register():
                    await login.register(self._client, self._screen)
                case typed.Order():
                    named = replace(meaning, name=await self._receiver(meaning.name))
                    await carry_out(self._client, self._screen, named)
                case typed.ListBans():
                    await list_bans(self._client, self._screen)
                case _ if self._rooms:
                    if isinstance(meaning, typed.Past) and meaning.to is not None:
                        meaning = replace(meaning, to=await self._receiver(meaning.to))
                    await self._rooms.do(meaning)
        except (Refused, TimeoutError, ConnectionLost) as error:
            if not self._screen.is_interactive:
                raise
            is_away = isinstance(error, Refused) and error.code == ErrorCode.NOT_IN_ROOM
            room = meaning.room if is_away and isinstance(meaning, typed.Past) else None
            join = "" if room is None else f": type /join {label(room)}"
            self._complain(f"{'not sent: ' * isinstance(meaning, typed.Say)}{reason(error)}{join}")

    async def _list_users(self, room: str | None) -> None:
        """Show who is here; without an answer, what was typed behind it can still be sent."""
        try:
            names = await self._client.users(room)
        except (Refused, TimeoutError) as error:
            self._complain(f"no list of users: {reason(error)}")
        else:
            for row in users(names, f"users in {label(room)}:" if room else "current users:"):
                self._screen.show(row)

    async def _say(self, message: typed.Say) -> None:
        if message.to is None:
            await self._client.broadcast(message.text, room=message.room, confirm=False)
        else:
            message = replace(message, to=await self._receiver(message.to))
            await self._client.send(message.to or "", message.text, confirm=False)
        if self._rooms:
            self._rooms.said(message, self._client.last_ref)
        if self.place:
            self._sent.append((self._client.last_ref, self.place, message))

    async def _receiver(self, to: str) -> str:
        """Return who is meant: a name may stand in quotation marks, as it does where it is shown."""
        if not re.fullmatch('".+"', to) or to == '"*"':
            return to
        names = await self._client.users()
        if to.casefold() in map(str.casefold, names):
            return to
        shown_so = [name for name in names if called(name) == to]
        return shown_so[0] if len(shown_so) == 1 else to[1:-1]

    def show(self, message: Message) -> None:
        """Show what came."""
        match message:
            case Incoming() | IncomingBroadcast() | OwnMessage() | Presence() | Forgotten() | Gap() if (
                self._rooms
            ):
                self._rooms.show(message)
            case Incoming() | IncomingBroadcast() | OwnMessage():
                self._screen.show(line(message))
            case Disconnected(reason=why):
                self._screen.complain(f"{interrupted(why)}; reconnecting… (Enter tries at once)")
            case Reconnected(name=name):
                self._name = name
                if self._rooms:
                    self._rooms.call_me(name)
                self._screen.show([("", f"connected again, as {visible(name)}")])
            case Unconfirmed(to=to, content=content, ref=ref):
                place = (self._rooms and self._rooms.place_of(ref)) or visible(to or "*")
                what = f"{place}|{visible(content)}"
                self._screen.complain(f"{self._place_of(ref)}it is not known whether this arrived: {what}")
            case ErrorReply(error=ErrorCode.NAME_TAKEN) if not self.is_online:
                why = f"{visible(message.message)}; trying again for {NAME_PATIENCE:.0f} s"
                self._screen.complain(f"still offline: {why}; {_another(message)}")
            case ErrorReply(ref=ref):
                text = "".join(text for _, text in line(message))
                self._screen.complain(f"{self._place_of(ref)}{text}{self._advice(message)}")
                if self._rooms and isinstance(ref, str):
                    self._rooms.refused(ref)

    def _place_of(self, ref: str | None) -> str:
        """Return where the line with this message stands, if that is known."""
        return next((place for sent, place, _ in self._sent if sent == ref), "")

    def _advice(self, error: ErrorReply) -> str:
        """Return what to type, or where, once a message was refused; nothing if that is not known."""
        ref = error.ref
        if error.error == ErrorCode.NOT_IN_ROOM and self._rooms and isinstance(ref, str):
            place = self._rooms.place_of(ref)
            return f": type /join {place}" if place else ""
        is_room = any(sent == ref and typed.room_of(message.to or "") for sent, _, message in self._sent)
        if not is_room or error.error != ErrorCode.UNKNOWN_USER:
            return ""
        return f": {typed.no_rooms(terminal=self._screen.is_interactive)}"

    def _complain(self, text: str) -> None:
        """Say what is wrong with the line that is being done."""
        self._screen.complain(f"{self.place}{text}")


def _another(error: ErrorReply) -> str:
    return f"/name {offered(error) or 'NEW'} takes another name"
