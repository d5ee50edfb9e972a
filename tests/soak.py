"""Churn on a real server: `make soak`. Memory and descriptors must be flat, by the slope of their samples.

Clients join, talk, read slowly, vanish and come back, a few hundred at a time; the first third of the time is
for warming up.
"""

import contextlib
import os
import random
import re
import selectors
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

CLIENTS = 300
SAMPLES = 60
MAX_GROWTH = 0.05
"""The part of its memory that the server may have grown by, by the slope, over the time that was measured."""


class Churn:
    """Clients that come and go."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._chance = random.Random(1)
        self._selector = selectors.DefaultSelector()
        self._clients: list[socket.socket] = []
        self._number = 0
        self.joined = self.sent = 0
        self.received = 0

    def step(self) -> None:
        """Do one thing, and read what has come in."""
        chance = self._chance.random()
        if len(self._clients) < CLIENTS or chance < 0.1:
            self._join()
        if len(self._clients) >= CLIENTS and chance < 0.12:
            self._leave()
        if chance > 0.3:
            self._talk()
        for key, _ in self._selector.select(0):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            try:
                data = client.recv(65536)
            except OSError:
                data = b""
            self.received += data.count(b"\n")
            if not data:
                self._forget(client)

    def _join(self) -> None:
        self._number += 1
        client = socket.create_connection(("127.0.0.1", self._port))
        client.settimeout(60)
        name = f"user{self._number % 1000}"
        client.sendall(b'{"code":"hello","name":"%b"}\n' % name.encode())
        self._clients.append(client)
        if self._chance.random() < 0.97:  # the others do not read
            self._selector.register(client, selectors.EVENT_READ)
        self.joined += 1

    def _leave(self) -> None:
        client = self._chance.choice(self._clients)
        how = self._chance.randrange(4)
        try:
            if how == 0:
                client.sendall(b'{"code":"quit"}\n')
            elif how == 1:
                client.sendall(b'{"code":"outgoing_broadcast","content":"unfini')
            elif how == 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # it had gone already
        self._forget(client)

    def _talk(self) -> None:
        client = self._chance.choice(self._clients)
        size = self._chance.choice([10, 100, 1000])
        name = f"user{self._chance.randrange(1000)}"
        try:
            if self._chance.random() < 0.5:
                client.sendall(b'{"code":"outgoing","to":"%b","content":"%b"}\n' % (name.encode(), b"x" * size))
            elif self._chance.random() < 0.9:
                client.sendall(b'{"code":"outgoing_broadcast","content":"%b"}\n' % (b"x" * size))
            else:
                client.sendall(b'{"code":"who"}\n]garbage[\n')
            self.sent += 1
        except OSError:
            self._forget(client)

    def _forget(self, client: socket.socket) -> None:
        if client in self._clients:
            self._clients.remove(client)
        with contextlib.suppress(KeyError, ValueError):  # one that did not read
            self._selector.unregister(client)
        client.close()


def slope(values: list[float]) -> float:
    """Return the least-squares growth over all samples."""
    count = len(values)
    mean_x, mean_y = (count - 1) / 2, sum(values) / count
    above = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values))
    return above / sum((x - mean_x) ** 2 for x in range(count)) * count


def main(seconds: float) -> int:
    """Soak; return 1 if something grew."""
    server = subprocess.Popen(
        [sys.executable, "-m", "chatroom", "serve", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout
    found = re.search(r":(\d+);", server.stdout.readline())
    assert found
    churn = Churn(int(found[1]))
    memory: list[float] = []
    files: list[float] = []
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        churn.step()
        if passed > seconds / 3 and len(memory) < (passed / seconds - 1 / 3) * 1.5 * SAMPLES:
            pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
            memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            files.append(len(list(Path(f"/proc/{server.pid}/fd").iterdir())))
    alive = server.poll() is None
    server.terminate()
    server.wait(60)
    grown, more = slope(memory), slope(files)
    print(
        f"{seconds:g} s: {churn.joined:,} joins, {churn.sent:,} messages sent, {churn.received:,} received\n"
        f"memory {min(memory):.1f} to {max(memory):.1f} MiB, slope {grown:+.2f} MiB over the time measured\n"
        f"descriptors {min(files):g} to {max(files):g}, slope {more:+.1f}"
    )
    flat = grown < MAX_GROWTH * memory[0] and more < 0.1 * CLIENTS
    print("flat" if alive and flat else "NOT FLAT")
    return 0 if alive and flat else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
