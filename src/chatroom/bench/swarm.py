"""Many connections in one process, on bare sockets and one epoll, so that the generator costs little."""

import contextlib
import os
import re
import resource
import select
import socket
import time
from collections.abc import Callable, Iterable
from typing import Self

from chatroom.bench.wire import MARK, BenchError

HANDSHAKES = 100
"""Connections that are being made at a time."""
PATIENCE = 20.0
"""Seconds without any progress before a run is given up."""
RECEIVE = 256 * 1024

_NUMBERED = re.compile(rb"\^(\d{4}):(\d{9}):")


class Member:
    """One connection, and how many messages it has got."""

    __slots__ = ("_tail", "expected", "got", "is_watched", "socket", "unsent")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.got = 0
        self.unsent = b""
        self.is_watched = False
        """Each message it gets is read, and must be its sender's next."""
        self.expected: dict[bytes, int] = {}
        self._tail = b""

    def check(self, data: bytes) -> None:
        """Raise `BenchError` if a message is lost, comes twice, or comes out of order."""
        data = self._tail + data
        end = 0
        for match in _NUMBERED.finditer(data):
            sender, number = match[1], int(match[2])
            if number != self.expected.get(sender, number):
                raise BenchError(f"of sender {int(sender)}, {self.expected[sender]} was due, and {number} came")
            self.expected[sender] = number + 1
            end = match.end()
        self._tail = data[max(end, len(data) - 20) :]


class _Handshake:
    """A member on its way in."""

    def __init__(self, member: Member, steps: list[tuple[bytes, bytes]], refusal: bytes) -> None:
        self.member = member
        self._steps = iter(steps)
        self._refusal = refusal
        self._answer = b""
        self._step()

    def go_on(self) -> bool:
        """Take an answer; return whether that was the last."""
        data = self.member.socket.recv(RECEIVE)
        self._answer += data
        if not data or self._refusal in self._answer:
            raise BenchError(f"the server refused: {self._answer[-200:].decode(errors='replace')!r}")
        return self._end in self._answer and not self._step()

    def _step(self) -> bool:
        request, self._end = next(self._steps, (b"", b""))
        self._answer = b""
        if request:
            self.member.socket.sendall(request)
        return bool(request)


class Swarm:
    """All connections of a run."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._epoll = select.epoll()
        self._members: dict[int, Member] = {}
        self.delivered = 0
        """Messages that came in, to all."""

    def __enter__(self) -> Self:
        _lift_file_limit()
        return self

    def __exit__(self, *exception: object) -> None:
        for member in self._members.values():
            member.socket.close()
        self._epoll.close()

    def join(
        self,
        handshakes: Iterable[list[tuple[bytes, bytes]]],
        refusal: bytes,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Member]:
        """Connect one member for each handshake, up to a hundred at a time; return when all are in."""
        waiting = iter(handshakes)
        joined: list[Member] = []
        under_way: dict[int, _Handshake] = {}

        def begin() -> None:
            steps = next(waiting, None)
            if steps is not None:
                member = Member(self._connect())
                joined.append(member)
                under_way[member.socket.fileno()] = _Handshake(member, steps, refusal)
                self._epoll.register(member.socket, select.EPOLLIN)

        for _ in range(HANDSHAKES):
            begin()
        deadline = time.monotonic() + PATIENCE
        while under_way:
            for number, _ in self._epoll.poll(1):
                if number not in under_way:
                    self._receive(self._members[number])
                elif under_way[number].go_on():
                    self._members[number] = under_way.pop(number).member
                    progress(1)
                    begin()
                deadline = time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise BenchError(f"{len(under_way)} connections were not answered within {PATIENCE:g} s")
        return joined

    def watch(self, member: Member) -> None:
        """From now on, look at each message that this one gets."""
        member.is_watched = True

    def send(self, member: Member, data: bytes) -> None:
        """Send without waiting; what the system does not take goes out later, in order."""
        if not member.unsent:
            try:
                sent = member.socket.send(data)
            except BlockingIOError:
                sent = 0
            data = data[sent:]
            if data:
                self._epoll.modify(member.socket, select.EPOLLIN | select.EPOLLOUT)
        member.unsent += data

    def poll(self, timeout: float) -> list[Member]:
        """Take what has come in; return who got something."""
        news = []
        for number, events in self._epoll.poll(timeout):
            member = self._members[number]
            if events & select.EPOLLOUT and member.unsent:
                data, member.unsent = member.unsent, b""
                self._epoll.modify(member.socket, select.EPOLLIN)
                self.send(member, data)
            if events & ~select.EPOLLOUT:
                self._receive(member)
                news.append(member)
        return news

    def settle(self) -> None:
        """Wait until nothing more comes in, and forget what did."""
        while self.poll(0.1):
            pass
        self.delivered = 0
        for member in self._members.values():
            member.got = 0

    def drain(self, expected: int) -> None:
        """Wait until that many messages were delivered in all. Raises `BenchError` if they are not."""
        deadline = time.monotonic() + PATIENCE
        while self.delivered < expected:
            if self.poll(0.5):
                deadline = time.monotonic() + PATIENCE
            elif time.monotonic() > deadline:
                raise BenchError(f"{expected - self.delivered} of {expected} messages were lost")
        self.poll(0.02)
        if self.delivered > expected:
            raise BenchError(f"{self.delivered - expected} messages came twice")

    def _receive(self, member: Member) -> None:
        try:
            data = member.socket.recv(RECEIVE)
        except OSError as error:
            raise BenchError(f"a connection was lost: {error}") from error
        if not data:
            raise BenchError("the server closed a connection")
        count = data.count(MARK)
        member.got += count
        self.delivered += count
        if member.is_watched:
            member.check(data)

    def _connect(self) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(200):
            try:
                connection.connect(self._address)
                break
            except (ConnectionRefusedError, BlockingIOError):
                time.sleep(0.05)  # it is starting
        else:
            raise BenchError(f"nobody listens on {self._address[0]}:{self._address[1]}")
        connection.setblocking(False)
        return connection


def _lift_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(processor: int | None) -> None:
    """Run this process on that processor only, where the system allows."""
    if processor is not None and processor in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {processor})
