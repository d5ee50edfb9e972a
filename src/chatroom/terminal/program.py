"""The client program: it connects, asks for a name, and ends in good order."""

import asyncio
import io
import os
import signal
import ssl
import sys
from contextlib import suppress
from typing import TextIO

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import CannotConnect, ConnectionLost, InboxFull, NotAChatroom, Refused
from chatroom.protocol.messages import ErrorCode
from chatroom.terminal import typed
from chatroom.terminal.conversation import Conversation, offered, refused
from chatroom.terminal.plain import PlainScreen, write_line
from chatroom.terminal.reasons import is_name_mismatch, lost, reason
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import visible

ENDINGS = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program in good order."""
_NOT_FOR_THE_NAME = set(ErrorCode) - {ErrorCode.NAME_TAKEN, ErrorCode.BAD_NAME}  # a server's own code may be
_TLS_HINT, _TLS_ALERT = "; if this is its TLS port, add --tls", b"\x15"
CERTIFICATE_TIMEOUT = 10.0
"""Seconds that a server has to show its certificate once more, to be asked for its names."""


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
            name = await screen.read_name(refused(refusal, name), offered(refusal.error))
        except (ConnectionLost, TimeoutError):
            raise
        except OSError as error:  # another connection was needed, and not made
            raise ConnectionLost(reason(error)) from error
        else:
            return name
    return None


def _fail(text: str) -> int:
    with suppress(OSError):  # the terminal is gone
        write_line(text, sys.stderr)
    return 1


def _cannot_print(error: OSError) -> int:
    """End without a word to whoever has stopped reading us; say why, if something else is the matter."""
    return 1 if isinstance(error, BrokenPipeError) else _fail(f"cannot print: {error.strerror}")
