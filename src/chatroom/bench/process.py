"""Starts a server to measure, and sees that it is gone afterwards."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from chatroom.bench.place import pin
from chatroom.bench.wire import BenchError

STARTING = 10.0
"""Seconds that a server has to begin to listen."""
_PR_SET_PDEATHSIG = 1
_LISTEN = "0A"
"""The state of a socket that listens, in `/proc/net/tcp`."""


@contextmanager
def running(
    command: Sequence[str], port: int, processor: int | None, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Start a server on a processor, wait until it listens, give its process; stop it at the end.

    It ends with us even if we are killed. Raises `BenchError` if it does not come up, with what it said.
    """
    c = ctypes.CDLL(None)

    def prepare() -> None:
        c.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        pin(processor)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with tempfile.TemporaryFile() as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            preexec_fn=prepare,  # noqa: PLW1509 - no threads here
        )
        try:
            if not _listens(server, port):
                output.seek(0)
                said = output.read().decode(errors="replace").strip().splitlines()
                raise BenchError(f"the server did not start: {said[-1] if said else 'it said nothing'}")
            yield server.pid
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def check_listens(process: int, port: int) -> None:
    """Raise `BenchError` unless the process listens on the port: another's use of its processor says nothing.

    Of a process whose files only its owner may see, that is believed. See proc(5), `/proc/net/tcp`.
    """
    place = Path("/proc", str(process))
    if not place.exists():
        raise BenchError(f"there is no process {process}")
    files = set()
    with contextlib.suppress(PermissionError):
        for file in (place / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                files.add(str(file.readlink()))
        for family in "tcp", "tcp6":
            with contextlib.suppress(FileNotFoundError):  # without IPv6
                for fields in map(str.split, (place / "net" / family).read_text().splitlines()[1:]):
                    is_listening = fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port
                    if is_listening and f"socket:[{fields[9]}]" in files:
                        return
        raise BenchError(f"process {process} does not listen on port {port}")


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server accepts connections; return False if it ended, or takes too long."""
    deadline = time.monotonic() + STARTING
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False
