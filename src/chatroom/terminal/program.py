"""The client program: what is typed goes to the server, what comes from it is shown."""

import asyncio
import contextlib
import os
import ssl
import sys

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import NameTaken, Refused
from chatroom.protocol.messages import Error, Word
from chatroom.terminal import typed
from chatroom.terminal.plain import PlainScreen
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import line, visible


def chat(host: str, port: int, name: str, tls: ssl.SSLContext | None = None) -> int:
    """Chat until the end of input; return the exit status: 0 if all went well."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_run(_screen(), host, port, name, tls))
    return 0


def _screen() -> Screen:
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in {None, "", "dumb"}:
        from chatroom.terminal.full import TerminalScreen

        return TerminalScreen()
    return PlainScreen()


async def _run(screen: Screen, host: str, port: int, name: str, tls: ssl.SSLContext | None) -> int:
    print(f"connecting to server at {host}, {port}", flush=True)
    try:
        client = await AsyncClient.open(host, port, tls=tls)
    except OSError as error:
        screen.complain(f"cannot connect to {host}, {port}: {_reason(error)}")
        return 1
    try:
        async with client:
            if not await _introduce(client, screen, name):
                return 1
            print("current users:", *map(visible, await client.users()), "", sep="\n", flush=True)
            screen.start(client)
            await _converse(client, screen)
            return screen.status
    except OSError as error:
        screen.complain(f"the connection to the server was lost: {_reason(error)}")
        return 1


async def _introduce(client: AsyncClient, screen: Screen, name: str | None) -> bool:
    """Say hello, with as many names as it takes; return whether one was accepted."""
    while name is not None:
        try:
            await client.hello(name)
        except Refused as refusal:
            if refusal.word not in {Word.NAME_TAKEN, Word.BAD_NAME}:
                screen.complain(f"the server refused: {visible(refusal.message)}")
                return False
            offer = (refusal.suggestion or "") if isinstance(refusal, NameTaken) else ""
            why = f'the name "{visible(name)}" was refused: {visible(refusal.message)}'
            name = await screen.read_name(why, offer)
        else:
            return True
    return False


async def _converse(client: AsyncClient, screen: Screen) -> None:
    """Send what is typed and show what comes, until one of both ends."""
    hearing = asyncio.create_task(_hear(client, screen))
    speaking = asyncio.create_task(_speak(client, screen))
    await asyncio.wait([hearing, speaking], return_when=asyncio.FIRST_COMPLETED)
    if hearing.done():
        speaking.cancel()
        await asyncio.wait([speaking])
    else:
        await client.close()
        await speaking
    await hearing  # raises what ended the connection, if it was not us


async def _hear(client: AsyncClient, screen: Screen) -> None:
    """Show what comes."""
    async for message in client:
        if isinstance(message, Error):
            screen.complain("".join(text for _, text in line(message)))
        else:
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


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS that can be trusted: {getattr(error, 'verify_message', None) or error.reason}"
    return error.strerror or str(error)
