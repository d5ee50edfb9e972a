"""From the name of a host to a connected socket, which notices when the other end is gone."""

import asyncio
import contextlib
import os
import socket
import ssl
from typing import Any

SOCKET_OPTIONS = {
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 2,
    "TCP_USER_TIMEOUT": 20_000,
}
"""An idle connection is found dead after 20 s (RFC 1122, 4.2.3.6), one with data under way too (RFC 5482; in
milliseconds). A system that lacks one does without."""


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the first of the host's addresses that answers.

    Raises `OSError` in the system's own words, of the last address; `UnicodeError` for what is no host's name.
    """
    loop = asyncio.get_running_loop()
    error = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _connect(socket.socket(family, kind, protocol), address)
        except OSError as failure:  # asyncio words it in its own way
            error = OSError(failure.errno, os.strerror(failure.errno)) if failure.errno else failure
    raise error


def why_not(error: OSError | UnicodeError) -> str:
    """Say why there is no connection, and what to look at."""
    why = getattr(error, "strerror", None) or str(error)
    match error:
        case UnicodeError():
            why = "that is no name of a host"
        case ssl.SSLCertVerificationError():
            why = f"its certificate cannot be trusted: {error.verify_message}"
        case ssl.SSLError():
            why = f"no TLS ({error.reason}): is it the TLS port?"
        case socket.gaierror():
            why += ": is the host spelled right?"
        case ConnectionRefusedError():
            why += ": does the server run, and is it on that port?"
        case TimeoutError() if not why:
            why = "no answer in time: are host and port right?"
    return why


async def _connect(connection: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in SOCKET_OPTIONS.items():
            with contextlib.suppress(AttributeError, OSError):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection
