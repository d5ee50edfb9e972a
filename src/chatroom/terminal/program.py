"""The client program: it connects, asks for a name, and ends in good order."""

import asyncio
import io
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TextIO

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import CannotConnect, ConnectionLost, InboxFull, NotAChatroom, Refused
from chatroom.terminal.conversation import Conversation
from chatroom.terminal.kept import Sessions
from chatroom.terminal.login import Introduction
from chatroom.terminal.plain import PlainScreen, write_line
from chatroom.terminal.reasons import is_name_mismatch, lost, reason
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import visible

ENDINGS = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program in good order."""
_TLS_HINT, _TLS_ALERT = "; if this is its TLS port, add --tls", b"\x15"
CERTIFICATE_TIMEOUT = 10.0
"""Seconds that a server has to show its certificate once more, to be asked for its names."""


def chat(
    host: str,
    port: int,
    name: str,
    tls: ssl.SSLContext | None = None,
    *,
    bell: bool = False,
    stay: bool = False,
) -> int:
    """Chat until the end of input; return the exit status: 0 if all went well.

    On a terminal, a direct message rings the bell if `bell` is set. With `stay`, the session is kept for the
    next start.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it was closed, and nothing is printed
            stream.reconfigure(errors="backslashreplace")
    screen = _screen(bell=bell)
    try:
        sessions = Sessions(host, port) if stay else None
        return asyncio.run(_run(_chat(screen, host, port, name, tls=tls, sessions=sessions)))
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


async def _run(chat: Coroutine[None, None, int]) -> int:
    """Chat until the end of input, or until a signal ends it in good order."""
    chatting = asyncio.create_task(chat)
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


async def _chat(
    screen: Screen, host: str, port: int, name: str, *, tls: ssl.SSLContext | None, sessions: Sessions | None
) -> int:
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
        async with _leaving(client, stay=sessions is not None):
            if (accepted := await Introduction(client, screen, sessions).introduce(name)) is None:
                return 1
            _keep(client, screen, sessions, accepted)
            conversation = Conversation(client, screen, accepted)
            early = await conversation.list_first_users()
            async with screen.conversation(conversation):
                conversation.begin(early)
                await conversation.go_on()
            await conversation.leave(stay=sessions is not None)
            _keep(client, screen, sessions, conversation.name)
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


def _place(conversation: Conversation | None) -> str:
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


@asynccontextmanager
async def _leaving(client: AsyncClient, *, stay: bool) -> AsyncIterator[None]:
    """Leave in good order behind this context."""
    try:
        yield
    finally:
        await client.close(stay=stay)


def _keep(client: AsyncClient, screen: Screen, sessions: Sessions | None, name: str) -> None:
    """Keep the session for the next start, if it is to be and there is one."""
    if sessions is not None and client.session is not None:
        try:
            sessions.keep(name, client.session)
        except OSError as error:
            screen.complain(f"your session is not kept: {reason(error)}")


def _fail(text: str) -> int:
    with suppress(OSError):  # the terminal is gone
        write_line(text, sys.stderr)
    return 1


def _cannot_print(error: OSError) -> int:
    """End without a word to whoever has stopped reading us; say why, if something else is the matter."""
    return 1 if isinstance(error, BrokenPipeError) else _fail(f"cannot print: {error.strerror}")
