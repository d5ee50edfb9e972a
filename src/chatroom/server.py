"""The server: builds it, starts it, drains it, stops it."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

from chatroom.config import Settings
from chatroom.doors.door import Door
from chatroom.doors.kernel import keep_alive
from chatroom.doors.tls import TlsDoor
from chatroom.hub.hub import Hub
from chatroom.observe import LogObserver
from chatroom.protocol.limits import Limits

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:  # not made for Windows
    uvloop = None

RESERVED = 200
"""Descriptors that are not for connections."""
PREPARED = 65_536
"""Descriptors that the kernel's table has room for from the start: half a mebibyte."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""
ACCEPTED = 8
"""Connections that are accepted at a time: libuv takes one from each socket that listens, and goes on."""


class CannotListenError(Exception):
    """The address is taken, or not ours; the text says so in one line."""


def run(settings: Settings, announce: Callable[[list[str]], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    `announce` is called with the addresses, as `HOST:PORT`, once connections are accepted.
    Raises `CannotListenError`.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(_serve(settings, announce))


async def _serve(settings: Settings, announce: Callable[[list[str]], None]) -> None:
    loop = asyncio.get_running_loop()
    limits = settings.limits
    observer = LogObserver(loop)
    hub = Hub(limits=limits, clock=time.time, timing=loop, observer=observer)
    files = _descriptors()
    room = limits.max_connections or files - RESERVED
    _prepare(min(files, room + RESERVED, PREPARED))
    door = Door(hub, limits, loop, observer, max_connections=room)
    context = _tls(settings)
    groups = [await _listen(door, limits, settings.host, settings.port)]
    if settings.tls_port is not None and context is not None:
        groups.append(await _listen(TlsDoor(door, context), limits, settings.host, settings.tls_port))
    servers = [server for group in groups for server in group]
    for server in servers:
        await server.start_serving()
    stop = _Stop(loop)
    if context is not None:
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(signal.SIGHUP, _renew, context, settings, observer.note)
    announce([_address(each) for first, *_ in groups for each in first.sockets])
    try:
        await stop.asked.wait()
    finally:
        for server in servers:
            server.close()
        observer.note(f"stopping: {len(door.connections)} connections to end")
        await _drain(door, limits.drain_timeout, stop)
        observer.flush()


class _Stop:
    """SIGTERM and SIGINT: the first asks to stop, the second to stop at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows: there Ctrl-C raises
                loop.add_signal_handler(number, self._ask)

    def _ask(self) -> None:
        (self.at_once if self.asked.is_set() else self.asked).set()


async def _listen(door: Door | TlsDoor, limits: Limits, host: str, port: int) -> list[asyncio.Server]:
    """Take the address. With uvloop, more servers behind the first listen on the same sockets."""
    create = partial(asyncio.get_running_loop().create_server, door, backlog=BACKLOG, start_serving=False)
    try:
        servers = [await create(host=host, port=port)]
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotListenError(f"cannot listen on {host}:{port}: {reason}") from error
    for each in servers[0].sockets:
        keep_alive(each, limits)
        if uvloop:
            servers += [await create(sock=each.dup()) for _ in range(ACCEPTED - 1)]
    return servers


async def _drain(door: Door, seconds: float, stop: _Stop) -> None:
    """Let the connections take what is queued for them, and end them."""
    door.close()
    if door.connections:
        door.all_gone.clear()
        waits = [asyncio.create_task(event.wait()) for event in (door.all_gone, stop.at_once)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        door.abort()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_port is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.tls_cert), settings.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise CannotListenError(
            f"cannot use {settings.tls_cert} and {settings.tls_key} for TLS: {error}"
        ) from error
    return context


def _renew(context: ssl.SSLContext, settings: Settings, note: Callable[[str], None]) -> None:
    """Take the certificate from its file anew, for the connections to come."""
    try:
        context.load_cert_chain(str(settings.tls_cert), settings.tls_key)
    except OSError as error:
        note(f"the certificate was not renewed: {error}")
    else:
        note("the certificate was renewed")


def _descriptors() -> int:
    """Return how many files may be open."""
    try:
        import resource
    except ImportError:  # Windows
        return 8192
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft > 0 else 1_000_000


def _prepare(descriptors: int) -> None:
    """Have the kernel's table of descriptors grow now, and not while people wait.

    Each time it doubles, Linux lets a process that has threads wait until all processors have noticed
    (`synchronize_rcu`): measured, 8 ms in which nobody was served, three times in the first thousand joins.
    """
    try:
        from fcntl import F_DUPFD_CLOEXEC, fcntl
    except ImportError:  # Windows
        return
    with Path(os.devnull).open("rb") as some, contextlib.suppress(OSError):
        os.close(fcntl(some, F_DUPFD_CLOEXEC, descriptors - 1))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
