"""The server: builds it, starts it, drains it, stops it."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable
from types import ModuleType

from chatroom.config import Settings
from chatroom.doors.tcp import Door, keep_alive
from chatroom.hub.hub import Hub
from chatroom.observe import LogObserver

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:  # not made for Windows
    uvloop = None

BACKLOG = 1024
"""Connections that may wait to be accepted."""


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
    observer = LogObserver(loop)
    hub = Hub(limits=settings.limits, clock=time.time, timing=loop, observer=observer)
    door = Door(hub, settings.limits, loop)
    try:
        server = await loop.create_server(
            door, settings.host, settings.port, backlog=BACKLOG, start_serving=False
        )
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotListenError(f"cannot listen on {settings.host}:{settings.port}: {reason}") from error
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: there Ctrl-C raises
            loop.add_signal_handler(number, stop.set)
    for listening in server.sockets:
        keep_alive(listening)
    await server.start_serving()
    announce([_address(listening) for listening in server.sockets])
    try:
        await stop.wait()
    finally:
        server.close()
        observer.note(f"stopping: {len(door.connections)} connections to end")
        await _drain(door, settings.limits.drain_timeout)
        observer.flush()


async def _drain(door: Door, seconds: float) -> None:
    """Let the connections take what is queued for them, and end them."""
    door.close()
    if door.connections:
        door.all_gone.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(door.all_gone.wait(), seconds)
        door.abort()


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
