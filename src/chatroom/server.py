"""The server: builds it, starts it, drains it, stops it."""

import asyncio
import contextlib
import os
import signal
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

from chatroom.announce import Port
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
    """An address is taken or not ours, a certificate or the open-file limit is of no use; one line says it."""


def run(settings: Settings, announce: Callable[[list[Port]], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    `announce` is called with the ports, the plain one first, once connections are accepted.
    Raises `CannotListenError`.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(_serve(settings, announce))


async def _serve(settings: Settings, announce: Callable[[list[Port]], None]) -> None:
    loop = asyncio.get_running_loop()
    limits = settings.limits
    observer = LogObserver(loop)
    hub = Hub(limits=limits, clock=time.time, timing=loop, observer=observer)
    files = _descriptors()
    room = _room(files, limits.max_connections, observer.note)
    _prepare(min(files, room + RESERVED, PREPARED))
    door = Door(hub, limits, loop, observer, max_connections=room)
    context = _tls(settings)
    groups, ports = [], []
    if settings.plain:
        groups.append(await _listen(door, limits, settings.host, settings.port))
        ports.append(Port(_addresses(groups[-1])))
    tls_door = None
    if settings.tls_port is not None and context is not None:
        tls_door = TlsDoor(door, context)
        host = settings.host if settings.tls_host is None else settings.tls_host
        groups.append(await _listen(tls_door, limits, host, settings.tls_port))
        ports.append(Port(_addresses(groups[-1]), context, str(settings.tls_cert)))
    servers = [server for group in groups for server in group]
    for server in servers:
        await server.start_serving()
    stop = _Stop(loop)
    with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no SIGHUP
        loop.add_signal_handler(signal.SIGHUP, _renew, tls_door, settings, observer.note)
    announce(ports)
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


def _renew(door: TlsDoor | None, settings: Settings, note: Callable[[str], None]) -> None:
    """Use the certificate in the file for connections to come; one that does not fit changes nothing."""
    if door is None:
        note("SIGHUP: there is no certificate to renew")
        return
    try:
        door.context = _tls(settings) or door.context
    except CannotListenError as error:
        note(f"the certificate was not renewed: {error}")
    else:
        note("the certificate was renewed")


def _room(files: int, wanted: int, note: Callable[[str], None]) -> int:
    """Return how many connections there may be, with so many files; `wanted`: how many there should be, or 0.

    Raises `CannotListenError` if there is no room for any.
    """
    room = files - RESERVED
    if room < 1:
        raise CannotListenError(
            f"the open-file limit of {files} leaves no room for connections, as {RESERVED} files are for other "
            f"uses: raise it (ulimit -n {max(1024, 2 * RESERVED)}) and start again"
        )
    if wanted > room:
        note(
            f"the open-file limit of {files} leaves room for {room} connections, max_connections is {wanted}: "
            f"raise it to {wanted + RESERVED} (ulimit -n)"
        )
    return min(wanted or room, room)


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


def _addresses(servers: list[asyncio.Server]) -> list[tuple[str, int]]:
    """Return where these listen, all of them on the sockets of the first."""
    return [each.getsockname()[:2] for each in servers[0].sockets]
