"""What all tests may use: a real server in a process of its own."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from msgspec.structs import replace

from chatroom.client.inbox import Message
from chatroom.protocol.messages import Incoming, IncomingBroadcast
from stored import disk, kept  # noqa: F401 - fixtures

# How fast the machine is says nothing about us: no deadlines, no complaints about slow generation.
settings.register_profile("chatroom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chatroom")

# Signals do what they do in the foreground, for us and for what we start: a shell has what it begins in the
# background ignore two of them, and nohup the third.
signal.signal(signal.SIGINT, signal.default_int_handler)
for ignored in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_DFL)

PROJECT = Path(__file__).parent.parent
WITHOUT_UVLOOP = Path(__file__).parent / "without_uvloop"


def run(*command: str, text: str = "", loop: str = "uvloop") -> subprocess.CompletedProcess[str]:
    """Run Python with these words, and this text as its input, until it ends; what it says is kept."""
    return subprocess.run(
        [sys.executable, *command],
        input=text,
        cwd=PROJECT,
        env=environment(loop),
        capture_output=True,
        text=True,
        check=False,
    )


def plain(message: Message) -> Message:
    """Return the message without `id` and `time`."""
    stamped = isinstance(message, Incoming | IncomingBroadcast)
    return replace(message, id=None, time=None) if stamped else message


def environment(loop: str) -> dict[str, str]:
    """Return ours, in which a server runs on this loop: `uvloop` or `asyncio`."""
    return os.environ | ({"PYTHONPATH": str(WITHOUT_UVLOOP)} if loop == "asyncio" else {})


class ServerProcess:
    """`chatroom serve`, running."""

    def __init__(
        self,
        *arguments: str,
        log: Path,
        address: str = r"127\.0\.0\.1",
        files: int | None = None,
        loop: str = "uvloop",
        port: str = "0",
    ) -> None:
        """`address`: a pattern; `files`: how many it may have open; `loop`: `uvloop` or `asyncio`."""
        self.log_file = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chatroom", "serve", port, *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=PROJECT,
                env=environment(loop),
                preexec_fn=None
                if files is None
                else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
            )
        assert self.process.stdout
        self.greeting, self.command = (self.process.stdout.readline() for _ in range(2))
        match = re.search(address + r":(\d+)", self.greeting)
        assert match, f"no address in {self.greeting!r}; its log: {self.log()}"
        self.host, self.port = "127.0.0.1", int(match[1])

    def log(self) -> str:
        """Return all that was logged so far."""
        return self.log_file.read_text()

    def wait_for_log(self, text: str) -> None:
        """Wait until this has been logged."""
        while text not in self.log():
            assert self.process.poll() is None, self.log()
            time.sleep(0.01)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End the process; return its exit status."""
        with self.process:  # closes its pipe
            try:
                self.process.send_signal(how)
                return self.process.wait(100)
            finally:
                self.process.kill()

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop that a server runs on: each test that starts one runs on both."""
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, loop: str) -> Iterator[ServerProcess]:
    """A server with default settings; it must end well, and without a traceback in its log."""
    process = ServerProcess(log=tmp_path / "server.log", loop=loop)
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.log(), process.log()
