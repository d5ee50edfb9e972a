"""The client program: what is typed goes to the server, what comes from it is shown."""

import asyncio
import io
import os
import re
import signal
import ssl
import sys
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TextIO

from msgspec import UnsetType

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import CannotConnect, ConnectionLost, InboxFull, NameTaken, NotAChatroom, Refused
from chatroom.client.inbox import Disconnected, Gap, Inbox, Message, Reconnected, Unconfirmed
from chatroom.client.link import NAME_PATIENCE
from chatroom.protocol.messages import ErrorCode, ErrorReply, Forgotten, Incoming, IncomingBroadcast, Presence
from chatroom.terminal import typed
from chatroom.terminal.plain import PlainScreen
from chatroom.terminal.reasons import is_name_mismatch, lost, reason
from chatroom.terminal.rooms import Rooms
from chatroom.terminal.screen import Screen
from chatroom.terminal.shown import label
from chatroom.terminal.text import called, line, users, visible

ENDINGS = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program in good order."""
_NOT_FOR_THE_NAME = set(ErrorCode) - {ErrorCode.NAME_TAKEN, ErrorCode.BAD_NAME}  # a server's own code may be
_TLS_HINT, _TLS_ALERT = "; if this is its TLS port, add --tls", b"\x15"
CERTIFICATE_TIMEOUT = 10.0
"""Seconds that a server has to show its certificate once more, to be asked for its names."""
REMEMBERED = 64
"""Lines of a pipe that an answer may still be about: more than can be under way at a time."""


def chat(host: str, port: int, name: str, tls: ssl.SSLContext | None = None, *, bell: bool = False) -> int:
    """Chat until the end of input; return the exit status: 0 if all went well.

    On a terminal, a direct message rings the bell if `bell` is set.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it was closed, and nothing is printed
            stream.reconfigure(errors="backslashreplace")
    screen = _screen(bell=bell)
    try:
        return asyncio.run(_run(screen, host, port, name, tls))
    except KeyboardInterrupt:
        return screen.status
    except OSError as error:
        return _cannot_print(error)


def _screen(*, bell: bool) -> Screen:
    if (
        _is_terminal(sys.stdin)
        and _is_terminal(sys.stdout)
        and os.environ.get("TERM") not in {None, "", "dumb"}
    ):
        from chatroom.terminal.full import TerminalScreen

        return TerminalScreen(bell=bell)
    return PlainScreen(is_interactive=_is_terminal(sys.stdin))


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


async def _run(screen: Screen, host: str, port: int, name: str, tls: ssl.SSLContext | None) -> int:
    """Chat until the end of input, or until a signal ends it in good order."""
    chatting = asyncio.create_task(_chat(screen, host, port, name, tls))
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        chatting.cancel()

    for number in ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await chatting
    except asyncio.CancelledError:
        if not received:
            raise  # Ctrl-C
        return 128 + received[0]


async def _chat(screen: Screen, host: str, port: int, name: str, tls: ssl.SSLContext | None) -> int:
    screen.show([("", f"connecting to server at {host}, {port}")])
    address = host.removeprefix("[").removesuffix("]")
    try:
        client = await AsyncClient.open(
            address, port, tls=tls, reconnect=screen.is_interactive, presence=screen.is_interactive
        )
    except CannotConnect as error:
        is_mismatch = is_name_mismatch(error.__cause__)
        names = await _names_in_certificate(address, port, tls) if tls and is_mismatch else []
        return _fail(f"cannot connect to {host}, {port}: {reason(error, tls=tls is not None, names=names)}")
    conversation: Conversation | None = None
    try:
        async with client:
            if (accepted := await _introduce(client, screen, name)) is None:
                return 1
            conversation = Conversation(client, screen, accepted)
            early = await conversation.list_first_users()
            async with screen.conversation(conversation):
                conversation.begin(early)
                await conversation.go_on()
            await conversation.leave()
            return screen.status
    except Refused as refusal:
        return _fail(f"{_place(conversation)}the server refused: {reason(refusal)}")
    except NotAChatroom as error:
        hint = _TLS_HINT if error.answer.startswith(_TLS_ALERT) and not tls else ""
        return _fail(f"{visible(str(error))}{hint}")
    except (ConnectionLost, TimeoutError, InboxFull) as error:
        hint = "" if conversation or tls else _TLS_HINT
        place = _place(conversation)
        return _fail(f"{place and f'{place}not sent, nor what follows: '}{lost(reason(error))}{hint}")


def _place(conversation: "Conversation | None") -> str:
    return conversation.place if conversation else ""


async def _names_in_certificate(host: str, port: int, tls: ssl.SSLContext) -> list[str]:
    """Return the names that the server's certificate is for, if it can be trusted but for them; else none."""
    tls.check_hostname = False
    try:
        async with asyncio.timeout(CERTIFICATE_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=tls)
    except OSError:
        return []
    certificate = writer.get_extra_info("peercert")
    writer.transport.abort()
    return [str(value) for _, value in certificate.get("subjectAltName", ())]


async def _introduce(client: AsyncClient, screen: Screen, name: str | None) -> str | None:
    """Say hello, with as many names as it takes; return the one that was accepted."""
    while name is not None:
        name = typed.as_unicode(name)
        try:
            await client.hello(name)
        except Refused as refusal:
            if refusal.code in _NOT_FOR_THE_NAME:
                screen.complain(f"the server refused: {visible(refusal.message)}")
                return None
            name = await screen.read_name(_refused(refusal, name), _offer(refusal.error))
        except (ConnectionLost, TimeoutError):
            raise
        except OSError as error:  # another connection was needed, and not made
            raise ConnectionLost(reason(error)) from error
        else:
            return name
    return None


def _refused(refusal: Refused, name: str) -> str:
    return f'the name "{visible(name)}" was refused: {visible(refusal.message)}'


def _offer(error: ErrorReply) -> str:
    """Return the name that the server suggests, if it is one that can be shown and typed."""
    offer = error.suggestion if isinstance(error.suggestion, str) else ""
    return offer if offer == visible(offer) else ""


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
        self._is_renamed = asyncio.Event()
        self._sent: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)  # each message's `ref` and place

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
    def joined(self) -> list[str]:
        """The rooms one is in."""
        return self._rooms.joined if self._rooms else []

    def unread(self, begun: str) -> str:
        """Return what is unread, when this has been typed."""
        return self._rooms.unread(begun) if self._rooms else ""

    async def names(self) -> list[str]:
        """Return the names that can be completed."""
        if not self.is_online:
            return []
        try:
            return await self._client.users()
        except (OSError, InboxFull, Refused):
            return []

    def take(self, lines: str) -> str | None:
        """While offline: try to connect at once, or under a new name; refuse what needs a connection.

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

    async def leave(self) -> None:
        """Say quit, and show what is still on its way."""
        closing = asyncio.create_task(self._client.close())
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
            except NameTaken as refusal:
                self._is_renamed.clear()
                self._screen.complain(f"still offline: {visible(refusal.message)}; {_another(refusal.error)}")
                await self._is_renamed.wait()
            else:
                return

    async def _take_names(self) -> None:
        """Come back at once under the names that somebody wants; else the client tries on as before."""
        while True:
            name = await self._new_names.get()
            try:
                await self._client.hello(name)
            except Refused as refusal:
                self._screen.complain(f"{_refused(refusal, name)}; {_another(refusal.error)}")
            except OSError as error:
                self._screen.complain(f"no connection: {reason(error)}")
            else:
                self._is_renamed.set()

    async def _speak(self) -> None:
        """Do what is typed."""
        while (lines := await self._screen.read_line()) is not None:
            self.place = self._screen.place
            for text in lines.split("\n"):
                match typed.understand(text, rooms=self.has_rooms):
                    case typed.Quit():
                        return
                    case typed.Unclear(hint):
                        if hint and "\n" not in lines:  # else it was said before they were sent
                            self._complain(hint)
                    case typed.Help():
                        for row in typed.help_rows(rooms=self.has_rooms):
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
                case _ if self._rooms:
                    if isinstance(meaning, typed.Past) and meaning.to is not None:
                        meaning = replace(meaning, to=await self._receiver(meaning.to))
                    await self._rooms.do(meaning)
        except (Refused, TimeoutError, ConnectionLost) as error:
            if not self._screen.is_interactive:
                raise
            self._complain(f"{'not sent: ' * isinstance(meaning, typed.Say)}{reason(error)}")

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
            self._rooms.said(message)
        if self.place:
            self._sent.append((self._client.last_ref, self.place))

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
            case Incoming() | IncomingBroadcast() | Presence() | Forgotten() | Gap() if self._rooms:
                self._rooms.show(message)
            case Incoming() | IncomingBroadcast():
                self._screen.show(line(message))
            case Disconnected(reason=why):
                self._screen.complain(f"{lost(why)}; reconnecting… (Enter tries at once)")
            case Reconnected(name=name):
                if self._rooms:
                    self._rooms.call_me(name)
                self._screen.show([("", f"connected again, as {visible(name)}")])
            case Unconfirmed(to=to, content=content, ref=ref):
                what = f"{visible(to or '*')}|{visible(content)}"
                self._screen.complain(f"{self._place_of(ref)}it is not known whether this arrived: {what}")
            case ErrorReply(error=ErrorCode.NAME_TAKEN) if not self.is_online:
                why = f"{visible(message.message)}; trying again for {NAME_PATIENCE:.0f} s"
                self._screen.complain(f"still offline: {why}; {_another(message)}")
            case ErrorReply(ref=ref):
                self._screen.complain(self._place_of(ref) + "".join(text for _, text in line(message)))

    def _place_of(self, ref: str | UnsetType) -> str:
        """Return where the line with this message stands, if that is known."""
        return next((place for sent, place in self._sent if sent == ref), "")

    def _complain(self, text: str) -> None:
        """Say what is wrong with the line that is being done."""
        self._screen.complain(f"{self.place}{text}")


def _another(error: ErrorReply) -> str:
    return f"/name {_offer(error) or 'NEW'} takes another name"


def _fail(text: str) -> int:
    with suppress(OSError):  # the terminal is gone
        print(text, file=sys.stderr, flush=True)
    return 1


def _cannot_print(error: OSError) -> int:
    """End without a word to whoever has stopped reading us; say why, if something else is the matter."""
    return 1 if isinstance(error, BrokenPipeError) else _fail(f"cannot print: {error.strerror}")
