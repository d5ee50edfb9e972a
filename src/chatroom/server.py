"""The server: builds it, starts it, drains it, stops it."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from secrets import token_urlsafe
from types import ModuleType

from chatroom.announce import Port, endpoint
from chatroom.config import ConfigError, Settings
from chatroom.doors.door import Door
from chatroom.doors.kernel import keep_alive
from chatroom.doors.tls import TlsDoor
from chatroom.hub.hub import Hub
from chatroom.observe import LogObserver
from chatroom.passwords import Hasher
from chatroom.protocol.limits import Limits
from chatroom.stores.file import StoreError
from chatroom.stores.sqlite import SqliteStore

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:  # not made for Windows
    uvloop = None

HURRY, ABORT = 0.7, 0.8
"""Shares of `drain_timeout` after which connections do not wait for the disk any more, and none is left.

What is left of the time is the store's, to write what waits.
"""

RESERVED = 200
"""Descriptors that are not for connections."""
PREPARED = 65_536
"""Descriptors that the kernel's table has room for from the start: half a mebibyte."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""
ACCEPTED = 8
"""Connections that are accepted at a time: libuv takes one from each socket that listens, and goes on."""


class CannotListenError(Exception):
    """An address is taken or not ours, or the open-file limit leaves no room; one line says it."""


def run(settings: Settings, announce: Callable[[list[Port]], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    `announce` is called with the ports, the plain one first, once connections are accepted.
    Raises `CannotListenError`, and `ConfigError` if the certificate and key, or the two ports, do not fit.
    """
    sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)  # time is quadratic in them
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(_serve(settings, announce))


async def _serve(settings: Settings, announce: Callable[[list[Port]], None]) -> None:
    loop = asyncio.get_running_loop()
    observer = LogObserver(loop)
    limits = settings.limits
    try:
        store = _store(settings, loop, observer.note)
        hasher = None if store is None else Hasher(loop)
        hub = Hub(
            limits=limits,
            clock=time.time,
            timing=loop,
            observer=observer,
            secret=partial(token_urlsafe, 16),
            store=store,
            hasher=hasher,
        )
    except StoreError as error:
        raise ConfigError(f"data: {error}") from error
    if store is not None:
        store.take_orders(hub.obey)
    patience = limits.drain_timeout
    try:
        patience = await _let_in(hub, settings, observer, announce)
    finally:
        if hasher is not None:
            hasher.close()
        if store is not None:
            store.close(hub.house.next - 1, patience)
        observer.flush()


def _store(
    settings: Settings, loop: asyncio.AbstractEventLoop, note: Callable[[str], None]
) -> SqliteStore | None:
    """Return where messages are kept, if not only in memory. Raises `StoreError`."""
    if settings.data is None:
        return None
    store = SqliteStore(
        Path(settings.data), loop=loop, clock=time.time, note=note, days=settings.limits.history_days
    )
    note(f"messages are kept in {settings.data}")
    return store


async def _let_in(
    hub: Hub, settings: Settings, observer: LogObserver, announce: Callable[[list[Port]], None]
) -> float:
    """Listen, and serve until asked to stop; return how many seconds of `drain_timeout` are left.

    Raises what `run` does.
    """
    loop = asyncio.get_running_loop()
    limits = settings.limits
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
    if len(ports) > 1:
        _check_apart(*ports)
    servers = [server for group in groups for server in group]
    await _accept(servers)
    stop = _Stop(loop)
    with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no SIGHUP
        loop.add_signal_handler(signal.SIGHUP, _reload, tls_door, settings, observer.note)
    announce(ports)
    try:
        await stop.asked.wait()
    finally:
        for server in servers:
            server.close()
        count = len(door.connections)
        observer.note(f"stopping: {count} connection{'s' * (count != 1)} to close")
        left = await _drain(door, limits.drain_timeout, stop)
    return left


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
    except (OSError, ValueError) as error:
        raise CannotListenError(f"cannot listen on {endpoint(host, port)}: {_reason(error)}") from error
    for each in servers[0].sockets:
        keep_alive(each, limits)
        if uvloop:
            servers += [await create(sock=each.dup()) for _ in range(ACCEPTED - 1)]
    return servers


def _reason(error: OSError | ValueError) -> str:
    """Return why we cannot listen on an address, without the address, which asyncio's own text repeats."""
    if isinstance(error, ValueError):  # UnicodeError is one
        return "this is not a valid host name"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _check_apart(plain: Port, tls: Port) -> None:
    """Refuse one address for both: each can be taken before anybody listens, and only one would be heard.

    Raises `ConfigError`.
    """
    for (host, port), (other, number) in product(plain.addresses, tls.addresses):
        both = [ipaddress.ip_address(each.partition("%")[0]) for each in (host, other)]
        overlap = host == other or any(each.is_unspecified for each in both)
        if port == number and both[0].version == both[1].version and overlap:
            where = f"on {host}" if host == other else f"on {host} and {other}, which overlap"
            raise ConfigError(f"the plain port and the port for TLS are both {port} {where}: they must differ")


async def _accept(servers: list[asyncio.Server]) -> None:
    """Let connections in. Raises `CannotListenError` if another process began to listen there meanwhile."""
    for server in servers:
        sockets = server.sockets
        where = ", ".join(endpoint(*each.getsockname()[:2]) for each in sockets)
        try:
            await server.start_serving()
        except OSError as error:
            raise CannotListenError(f"cannot listen on {where}: {_reason(error)}") from error
        if any(each.fileno() < 0 for each in sockets):  # uvloop raises nothing, but closes them
            raise CannotListenError(f"cannot listen on {where}: {os.strerror(errno.EADDRINUSE)}")


async def _drain(door: Door, seconds: float, stop: _Stop) -> float:
    """Let the connections take what is queued for them, and end them; return how many seconds are left."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    door.close()
    if door.connections:
        door.all_gone.clear()
        waits = [asyncio.create_task(event.wait()) for event in (door.all_gone, stop.at_once)]
        for share, end in (HURRY, door.hurry), (ABORT, door.abort):
            left = max(0.0, start + share * seconds - loop.time())
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            end()
        for wait in waits:
            wait.cancel()
    return max(0.0, start + seconds - loop.time())


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_port is None:
        return None
    certificate, key = str(settings.tls_cert), str(settings.tls_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, _refuse_to_ask)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(_what_is_wrong(certificate, key, error)) from error
    except _PassphraseError:
        raise ConfigError(f"tls_key: {key}: the private key must be stored without a passphrase") from None
    return context


class _PassphraseError(Exception):
    """A private key is encrypted."""


def _refuse_to_ask() -> str:
    """Keep OpenSSL from asking the terminal, for which everybody would wait."""
    raise _PassphraseError


def _what_is_wrong(certificate: str, key: str, error: OSError) -> str:
    """Say why OpenSSL took neither of these files, or not both: its own text seldom does."""
    for setting, file in ("tls_cert", certificate), ("tls_key", key):
        try:
            Path(file).open("rb").close()
        except OSError as unreadable:
            return f"{setting}: {file}: {unreadable.strerror}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    except OSError:
        return f"tls_cert: {certificate}: contains no certificate in PEM format"
    match error.reason if isinstance(error, ssl.SSLError) else error.strerror:
        case None:
            return f"tls_key: {key}: contains no private key in PEM format"
        case "KEY_VALUES_MISMATCH" | "KEY_TYPE_MISMATCH":
            return f"tls_key: {key}: this is not the private key of the certificate in {certificate}"
        case reason:
            return f"tls_cert, tls_key: {certificate} and {key}: {reason.replace('_', ' ').lower()}"


def _reload(door: TlsDoor | None, settings: Settings, note: Callable[[str], None]) -> None:
    """Use the certificate in the file for connections to come; one that does not fit changes nothing."""
    if door is None:
        note("SIGHUP: there is no certificate to reload")
        return
    try:
        door.context = _tls(settings) or door.context
    except ConfigError as error:
        note(f"the certificate was not reloaded: {error}")
    else:
        note("the certificate was reloaded")


def _room(files: int, wanted: int, note: Callable[[str], None]) -> int:
    """Return how many connections there may be, with so many files; `wanted`: how many there should be, or 0.

    Raises `CannotListenError` if there is no room for any.
    """
    room = files - RESERVED
    if room < 1:
        raise CannotListenError(
            f"the open-file limit of {files} leaves no room for connections, because {RESERVED} files are "
            f"reserved: raise the limit (ulimit -n {max(1024, 2 * RESERVED)}) and start again"
        )
    if wanted > room:
        note(
            f"the open-file limit of {files} leaves room for {room} connections, but max_connections is "
            f"{wanted}: raise the limit to {wanted + RESERVED} (ulimit -n)"
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
