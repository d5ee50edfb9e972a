"""What a server prints when it has started: where it listens, and the command to join."""

import contextlib
import ipaddress
import os
import shlex
import shutil
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct


class Port(Struct, frozen=True):
    """Where a server listens."""

    addresses: Sequence[tuple[str, int]]
    context: ssl.SSLContext | None = None
    """For TLS, if the port uses it."""
    certificate: str = ""
    """The PEM file of its certificate."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect to it."""
        return all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host, _ in self.addresses)


def announcement(ports: Sequence[Port]) -> str:
    """Return what to print: the address of each port, and below it the command to join, ready to be copied.

    If only this machine can connect, it says how to let others in.
    """
    program = _program()
    lines = []
    for port in ports:
        where = ", ".join(endpoint(host, number) for host, number in port.addresses)
        host, number = port.addresses[0]
        host, options = _reached_by(host), ""
        if port.context:
            host, options = _trusted(port.context, port.certificate, host)
        kind = " with TLS" if port.context else ""
        lines.append(
            f"chatroom listens{kind} on {where}; join with:\n    {program} {host} {number} YOUR_NAME{options}\n"
        )
    if all(port.is_local for port in ports):
        made = os.environ.get("STARTED_BY")  # set by the Makefile
        how = f"{made} HOST=0.0.0.0" if made else "start it with --host 0.0.0.0"
        lines.append(f"Only this machine can reach it. To let others in: {how}\n")
    return "".join(lines)


def endpoint(host: str, port: int) -> str:
    """Return an address and a port in one string (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reached_by(host: str) -> str:
    """Return the address by which others reach a server that listens on `host`: this machine's, for 0.0.0.0.

    It is the source address of a packet to another network. No packet is sent and no name is looked up: the
    destinations are addresses for documentation (RFC 5737, RFC 3849).
    """
    if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return host
    family, elsewhere, here = (
        (socket.AF_INET6, "2001:db8::1", "::1") if ":" in host else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    )
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((elsewhere, 9))
        return str(probe.getsockname()[0])
    return here  # without a network


def _trusted(context: ssl.SSLContext, certificate: str, host: str) -> tuple[str, str]:
    """Return the host that the certificate is for, and the options that make a client trust it."""
    itself = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    itself.check_hostname = False
    itself.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with contextlib.suppress(OSError):  # of which ssl.SSLError is one
        itself.load_verify_locations(certificate)
        names = [str(value) for _, value in _handshake(context, itself, None).get("subjectAltName", ())]
        if host not in names:
            host = next((name for name in names if "*" not in name), host)
    for options, file in (" --tls", None), (f" --ca {shlex.quote(certificate)}", certificate):
        with contextlib.suppress(OSError):
            _handshake(context, ssl.create_default_context(cafile=file), host)
            return host, options
    return host, " --ca FILE_OF_THE_CERTIFICATE_AUTHORITY"


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str | None) -> dict[str, Any]:
    """Do a handshake between two contexts in memory; return the server's certificate. Raises `ssl.SSLError`."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    far = client.wrap_bio(down, up, server_hostname=host)
    near = server.wrap_bio(up, down, server_side=True)
    for _ in range(2):
        for side in far, near:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return far.getpeercert() or {}


def _program() -> str:
    """Return the command that runs the client of the server that was started, from the current directory."""
    started, python3 = Path(sys.argv[0]), shutil.which("python3")
    python = "python3" if python3 == sys.executable else _from_here(Path(sys.executable))
    if started.name == "server.py":
        beside = Path(sys.prefix) == started.resolve().parent / ".venv"  # where client.py finds it by itself
        return f"{'python3' if python3 and beside else python} {_from_here(started.with_name('client.py'))}"
    if started.name == "__main__.py":
        return f"{python} -m chatroom join"
    return f"{'chatroom' if shutil.which('chatroom') == str(started) else _from_here(started)} join"


def _from_here(path: Path) -> str:
    """Return the path quoted for a shell, relative to the current directory if it is inside."""
    absolute = Path.cwd() / path
    within = absolute.is_relative_to(Path.cwd())
    return shlex.quote(str(absolute.relative_to(Path.cwd()) if within else absolute))
