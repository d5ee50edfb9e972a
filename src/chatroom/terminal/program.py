"""The client program: what is typed goes to the server, what comes from it is shown."""

import asyncio
import io
import os
import signal
import ssl
import sys
from contextlib import suppress
from functools import partial
from typing import TextIO

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import ConnectionLost, InboxFull, NameTaken, Refused
from chatroom.client.inbox import Disconnected, Message, Reconnected, Unconfirmed
from chatroom.protocol.messages import Error, ErrorCode, Incoming, IncomingBroadcast
from chatroom.terminal import typed
from chatroom.terminal.plain import PlainScreen
from chatroom.terminal.reasons import reason
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import line, users, visible

ENDINGS = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program in good order."""
_NOT_FOR_THE_NAME = set(ErrorCode) - {ErrorCode.NAME_TAKEN, ErrorCode.BAD_NAME}  # a server's own code may be


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
            features=True,
            reconnect=screen.is_interactive,
        )
    except (OSError, UnicodeError) as error:
        return _fail(f"cannot connect to {host}, {port}: {reason(error, tls=tls is not None)}")
    is_welcome = False
    try:
        async with client:
            accepted = await _introduce(client, screen, name)
            if accepted is None:
                return 1
            is_welcome = True
            for text in ("current users:", *map(visible, await client.users()), ""):
                screen.show([("", text)])
            async with screen.conversation(partial(_names, client), partial(_refusal, client)):
                await _converse(client, screen, accepted)
            await _leave(client, screen)
            return screen.status
    except Refused as refusal:
        return _fail(f"the server refused: {reason(refusal)}")
    except (ConnectionLost, TimeoutError, InboxFull) as error:
        hint = "" if is_welcome or tls else "; if this is its TLS port, add --tls"
        return _fail(f"the connection to the server was lost: {reason(error)}{hint}")


async def _introduce(client: AsyncClient, screen: Screen, name: str | None) -> str | None:
    """Say hello, with as many names as it takes; return the one that was accepted."""
    while name is not None:
        try:
            await client.hello(typed.as_unicode(name))
        except Refused as refusal:
            if refusal.code in _NOT_FOR_THE_NAME:
                screen.complain(f"the server refused: {visible(refusal.message)}")
                return None
            name = await _another_name(screen, refusal, name)
        else:
            break
    return name


async def _another_name(screen: Screen, refusal: Refused, name: str) -> str | None:
    question = f'the name "{visible(name)}" was refused: {visible(refusal.message)}'
    return await screen.read_name(question, _offer(refusal))


def _offer(refusal: Refused) -> str:
    """Return the name that the server suggests, if it is one that can be shown and typed."""
    offer = (isinstance(refusal, NameTaken) and refusal.suggestion) or ""
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
    """Show what comes; if somebody has taken our name while we were away, ask for another one."""
    while True:
        try:
            return await _show_all(client, screen)
        except NameTaken as refusal:
            another = await _another_name(screen, refusal, name)
        try:
            accepted = await _introduce(client, screen, another)
        except OSError as error:  # then the iteration raises once more
            screen.complain(f"no connection: {reason(error)}")
        else:
            if accepted is None:
                return None
            name = accepted


async def _show_all(client: AsyncClient, screen: Screen) -> None:
    async for message in client:
        _show(screen, message)


def _show(screen: Screen, message: Message) -> None:
    match message:
        case Incoming() | IncomingBroadcast():
            screen.show(line(message))
        case Disconnected(reason=why):
            screen.complain(f"the connection to the server was lost: {visible(why)}; reconnecting…")
        case Reconnected(name=name):
            screen.show([("", f"connected again, as {visible(name)}")])
        case Unconfirmed(to=to, content=content):
            screen.complain(f"it is not known whether this arrived: {visible(to or '*')}|{visible(content)}")
        case Error():
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
                for row in users(await client.users()):
                    screen.show(row)
            case typed.Help():
                for text in typed.HELP.split("\n"):
                    screen.show([("", text)])
    except (Refused, TimeoutError) as error:
        if not screen.is_interactive:
            raise
        screen.complain(f"not sent: {reason(error)}")


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
    return "not sent: there is no connection; what you typed stays here"


def _fail(text: str) -> int:
    with suppress(OSError):  # the terminal is gone
        print(text, file=sys.stderr, flush=True)
    return 1


def _cannot_print(error: OSError) -> int:
    """End without a word to whoever has stopped reading us; say why, if something else is the matter."""
    return 1 if isinstance(error, BrokenPipeError) else _fail(f"cannot print: {error.strerror}")
