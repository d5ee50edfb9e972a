"""The client program: what is typed goes to the server, what comes from it is shown."""

import asyncio
import io
import os
import ssl
import sys
from typing import TextIO

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import ConnectionLost, InboxFull, NameTaken, Refused
from chatroom.protocol.messages import Error, ErrorCode, Incoming, IncomingBroadcast
from chatroom.terminal import typed
from chatroom.terminal.plain import PlainScreen
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import line, visible


def chat(host: str, port: int, name: str, tls: ssl.SSLContext | None = None) -> int:
    """Chat until the end of input; return the exit status: 0 if all went well."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it was closed, and nothing is printed
            stream.reconfigure(errors="backslashreplace")
    screen = _screen()
    try:
        return asyncio.run(_run(screen, host, port, name, tls))
    except KeyboardInterrupt:
        return screen.status
    except OSError as error:
        return _cannot_print(error)


def _screen() -> Screen:
    if (
        _is_terminal(sys.stdin)
        and _is_terminal(sys.stdout)
        and os.environ.get("TERM") not in {None, "", "dumb"}
    ):
        from chatroom.terminal.full import TerminalScreen

        return TerminalScreen()
    return PlainScreen()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


async def _run(screen: Screen, host: str, port: int, name: str, tls: ssl.SSLContext | None) -> int:
    print(f"connecting to server at {host}, {port}", flush=True)
    try:
        client = await AsyncClient.open(host, port, tls=tls)
    except (OSError, UnicodeError) as error:
        return _fail(f"cannot connect to {host}, {port}: {_reason(error)}")
    try:
        async with client:
            if not await _introduce(client, screen, name):
                return 1
            print("current users:", *map(visible, await client.users()), "", sep="\n", flush=True)
            with screen.conversation(client):
                await _converse(client, screen)
            return screen.status
    except (ConnectionLost, TimeoutError, InboxFull) as error:
        return _fail(f"the connection to the server was lost: {_reason(error)}")


async def _introduce(client: AsyncClient, screen: Screen, name: str | None) -> bool:
    """Say hello, with as many names as it takes; return whether one was accepted."""
    while name is not None:
        try:
            await client.hello(typed.as_unicode(name))
        except Refused as refusal:
            if refusal.code not in {ErrorCode.NAME_TAKEN, ErrorCode.BAD_NAME}:
                screen.complain(f"the server refused: {visible(refusal.message)}")
                return False
            why = f'the name "{visible(name)}" was refused: {visible(refusal.message)}'
            name = await screen.read_name(why, _offer(refusal))
        else:
            return True
    return False


def _offer(refusal: Refused) -> str:
    """Return the name that the server suggests, if it is one that can be shown and typed."""
    offer = (isinstance(refusal, NameTaken) and refusal.suggestion) or ""
    return offer if offer == visible(offer) else ""


async def _converse(client: AsyncClient, screen: Screen) -> None:
    """Send what is typed and show what comes, until one of both ends."""
    hearing = asyncio.create_task(_hear(client, screen))
    speaking = asyncio.create_task(_speak(client, screen))
    try:
        await asyncio.wait([hearing, speaking], return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            await client.close()  # what is still on its way is heard meanwhile
            await asyncio.wait([hearing])
    finally:
        hearing.cancel()
        speaking.cancel()
        outcomes = await asyncio.gather(hearing, speaking, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def _hear(client: AsyncClient, screen: Screen) -> None:
    """Show what comes."""
    async for message in client:
        if isinstance(message, Error):
            screen.complain("".join(text for _, text in line(message)))
        elif isinstance(message, Incoming | IncomingBroadcast):
            screen.show(line(message))


async def _speak(client: AsyncClient, screen: Screen) -> None:
    """Send what is typed."""
    while (text := await screen.read_line()) is not None:
        match typed.understand(text):
            case typed.Say(None, content):
                await client.broadcast(content, confirm=False)
            case typed.Say(str(to), content):
                await client.send(to, content, confirm=False)
            case typed.Who():
                for name in await client.users():
                    screen.show([("sender", visible(name))])
            case typed.Quit():
                break
            case typed.Unclear() if text.strip():
                screen.complain(typed.HINT)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "that is no name of a host"
    if isinstance(error, TimeoutError) and error.errno is None:
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS that can be trusted: {getattr(error, 'verify_message', None) or error.reason}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _fail(text: str) -> int:
    print(text, file=sys.stderr, flush=True)
    return 1


def _cannot_print(error: OSError) -> int:
    """End without a word to whoever has stopped reading us; say why, if something else is the matter."""
    return 1 if isinstance(error, BrokenPipeError) else _fail(f"cannot print: {error.strerror}")
