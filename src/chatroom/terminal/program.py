"""The client program: what is typed goes to the server, what comes from it is shown."""

import asyncio
import io
import os
import signal
import ssl
import sys
from contextlib import suppress
from functools import partial
from typing import TextIO, TypeGuard

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import CannotConnect, ConnectionLost, InboxFull, NameTaken, NotAChatroom, Refused
from chatroom.client.inbox import Disconnected, Message, Reconnected, Unconfirmed
from chatroom.client.link import NAME_PATIENCE
from chatroom.protocol.messages import ErrorCode, ErrorReply, Incoming, IncomingBroadcast
from chatroom.terminal import typed
from chatroom.terminal.plain import PlainScreen
from chatroom.terminal.reasons import lost, reason
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import line, users, visible

ENDINGS = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program in good order."""
_NOT_FOR_THE_NAME = set(ErrorCode) - {ErrorCode.NAME_TAKEN, ErrorCode.BAD_NAME}  # a server's own code may be


_TLS_HINT, _TLS_ALERT = "; if this is its TLS port, add --tls", b"\x15"
EARLY = 100
"""Messages that are taken before there is a list of users, to be shown below it."""


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
    return PlainScreen()


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
    try:
        client = await AsyncClient.open(
            host.removeprefix("[").removesuffix("]"),
            port,
            tls=tls,
            reconnect=screen.is_interactive,
        )
    except CannotConnect as error:
        return _fail(f"cannot connect to {host}, {port}: {reason(error, tls=tls is not None)}")
    is_welcome = False
    try:
        async with client:
            accepted = await _introduce(client, screen, name)
            if accepted is None:
                return 1
            is_welcome = True
            names, early = await _first_users(client, screen)
            for text in ("current users:", *names, ""):
                screen.show([("", text)])
            async with screen.conversation(partial(_names, client), partial(_refusal, client)):
                for message in early:
                    _show(screen, message)
                await _converse(client, screen, accepted)
            await _leave(client, screen)
            return screen.status
    except Refused as refusal:
        return _fail(f"the server refused: {reason(refusal)}")
    except NotAChatroom as error:
        hint = _TLS_HINT if error.answer.startswith(_TLS_ALERT) and not tls else ""
        return _fail(f"{visible(str(error))}{hint}")
    except (ConnectionLost, TimeoutError, InboxFull) as error:
        hint = "" if is_welcome or tls else _TLS_HINT
        return _fail(f"{lost(reason(error))}{hint}")


async def _introduce(client: AsyncClient, screen: Screen, name: str | None) -> str | None:
    """Say hello, with as many names as it takes; return the one that was accepted."""
    while name is not None:
        try:
            await client.hello(typed.as_unicode(name))
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
            break
    return name


async def _first_users(client: AsyncClient, screen: Screen) -> tuple[list[str], list[Message]]:
    """Return who is here, or why nobody knows, and what came meanwhile; a lost connection is told at once."""
    early: list[Message] = []

    async def hear() -> None:
        while len(early) < EARLY:
            message = await anext(client)
            if isinstance(message, Disconnected | Reconnected):
                _show(screen, message)
            else:
                early.append(message)

    hearing = asyncio.create_task(hear())
    try:
        return [visible(name) for name in await client.users()], early
    except (Refused, TimeoutError) as error:  # one can chat without
        return [f"(no list of users: {reason(error)})"], early
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)  # what it raises, the next use raises as well


def _refused(refusal: Refused, name: str) -> str:
    return f'the name "{visible(name)}" was refused: {visible(refusal.message)}'


def _offer(error: ErrorReply) -> str:
    """Return the name that the server suggests, if it is one that can be shown and typed."""
    offer = error.suggestion if isinstance(error.suggestion, str) else ""
    return offer if offer == visible(offer) else ""


async def _converse(client: AsyncClient, screen: Screen, name: str) -> None:
    """Send what is typed and show what comes, until one of both ends."""
    parts = (_hear(client, screen, name), _speak(client, screen), screen.has_left.wait())
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


async def _leave(client: AsyncClient, screen: Screen) -> None:
    """Say quit, and show what is still on its way."""
    closing = asyncio.create_task(client.close())
    try:
        await _show_all(client, screen)
    finally:
        await closing


async def _hear(client: AsyncClient, screen: Screen, name: str) -> None:
    """Show what comes; if somebody has taken our name while we were away, ask for another one.

    At first the client goes on trying with the old one: if that succeeds, the question is withdrawn.
    """
    question = _Question(client, screen)
    try:
        while not screen.has_left.is_set():
            try:
                async for message in client:
                    if isinstance(message, Reconnected):
                        name = message.name
                        question.is_back.set()
                    if _is_name_taken(message) and not client.is_connected:
                        question.ask(_while_trying(message), message)
                    else:
                        _show(screen, message)
            except NameTaken as refusal:
                if not question.ask(_refused(refusal, name), refusal.error):
                    screen.complain(f"still offline: {visible(refusal.message)}; only another name helps now")
                await question.answered()
            else:
                return
    finally:
        await question.close()


class _Question:
    """The question for another name, after a lost connection: one at a time."""

    def __init__(self, client: AsyncClient, screen: Screen) -> None:
        self.is_back = asyncio.Event()
        """To be set when the client is connected again."""
        self._client, self._screen = client, screen
        self._asking: asyncio.Task[None] | None = None

    def ask(self, question: str, error: ErrorReply) -> bool:
        """Ask, if the question does not stand there already; return whether it did not."""
        if self._asking is not None and not self._asking.done():
            return False
        self.is_back.clear()
        renaming = _rename(self._client, self._screen, question, _offer(error), self.is_back)
        self._asking = asyncio.create_task(renaming)
        return True

    async def answered(self) -> None:
        """Wait until it has been answered, or withdrawn."""
        if self._asking is not None:
            await self._asking

    async def close(self) -> None:
        """Withdraw it; raise what went wrong."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
            if not self._asking.cancelled():
                self._asking.result()


async def _rename(
    client: AsyncClient, screen: Screen, question: str, offer: str, is_back: asyncio.Event
) -> None:
    """Take another name, unless the client is back before there is an answer; without an answer, leave."""
    asking = asyncio.create_task(screen.read_name(question, offer))
    coming = asyncio.create_task(is_back.wait())
    try:
        await asyncio.wait([asking, coming], return_when=asyncio.FIRST_COMPLETED)
    finally:
        coming.cancel()
        asking.cancel()
        await asyncio.wait([asking])
    if asking.cancelled():
        return
    accepted = None
    try:
        name = asking.result()
        try:
            accepted = await _introduce(client, screen, name)
        except OSError as error:  # then the client tries again with the old name, or the iteration raises again
            screen.complain(f"no connection: {reason(error)}")
            accepted = name
    finally:
        if accepted is None:
            screen.has_left.set()


def _is_name_taken(message: Message) -> TypeGuard[ErrorReply]:
    return isinstance(message, ErrorReply) and message.error == ErrorCode.NAME_TAKEN


def _while_trying(error: ErrorReply) -> str:
    return (
        f"still offline: {visible(error.message)}; trying again for {NAME_PATIENCE:.0f} seconds, "
        "or under another name at once"
    )


async def _show_all(client: AsyncClient, screen: Screen) -> None:
    async for message in client:
        _show(screen, message)


def _show(screen: Screen, message: Message) -> None:
    match message:
        case Incoming() | IncomingBroadcast():
            screen.show(line(message))
        case Disconnected(reason=why):
            screen.complain(f"{lost(why)}; reconnecting…")
        case Reconnected(name=name):
            screen.show([("", f"connected again, as {visible(name)}")])
        case Unconfirmed(to=to, content=content):
            screen.complain(f"it is not known whether this arrived: {visible(to or '*')}|{visible(content)}")
        case ErrorReply():
            screen.complain("".join(text for _, text in line(message)))


async def _speak(client: AsyncClient, screen: Screen) -> None:
    """Do what is typed."""
    while (lines := await screen.read_line()) is not None:
        for text in lines.split("\n"):
            match typed.understand(text):
                case typed.Quit():
                    return
                case typed.Unclear(hint):
                    if hint and "\n" not in lines:  # else it was said before they were sent
                        screen.complain(hint)
                case meaning:
                    await _do(client, screen, meaning)


async def _do(client: AsyncClient, screen: Screen, meaning: typed.Say | typed.Who | typed.Help) -> None:
    try:
        match meaning:
            case typed.Say(None, content):
                await client.broadcast(content, confirm=False)
            case typed.Say(str(to), content):
                await client.send(to, content, confirm=False)
            case typed.Who():
                await _list(client, screen)
            case typed.Help():
                for text in typed.HELP.split("\n"):
                    screen.show([("", text)])
    except (Refused, TimeoutError, ConnectionLost) as error:
        if not screen.is_interactive:
            raise
        screen.complain(f"not sent: {reason(error)}")


async def _list(client: AsyncClient, screen: Screen) -> None:
    """Show who is here; without an answer, what was typed behind it can still be sent."""
    try:
        names = await client.users()
    except (Refused, TimeoutError) as error:
        screen.complain(f"no list of users: {reason(error)}")
    else:
        for row in users(names):
            screen.show(row)


async def _names(client: AsyncClient) -> list[str]:
    """Return the names that can be completed."""
    if not client.is_connected:
        return []
    try:
        return await client.users()
    except (OSError, InboxFull, Refused):
        return []


def _refusal(client: AsyncClient, lines: str) -> str | None:
    """Return why these lines had better not be sent now."""
    meanings = map(typed.understand, lines.split("\n"))
    if client.is_connected or not any(isinstance(meaning, typed.Say | typed.Who) for meaning in meanings):
        return None
    return "not sent: there is no connection; the Up key brings it back"


def _fail(text: str) -> int:
    with suppress(OSError):  # the terminal is gone
        print(text, file=sys.stderr, flush=True)
    return 1


def _cannot_print(error: OSError) -> int:
    """End without a word to whoever has stopped reading us; say why, if something else is the matter."""
    return 1 if isinstance(error, BrokenPipeError) else _fail(f"cannot print: {error.strerror}")
