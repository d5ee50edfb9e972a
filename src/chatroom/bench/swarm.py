"""Many connections in one process, on bare sockets and one epoll, so that the generator costs little.

What comes in is counted by its length, as a delivery has a known number of bytes, and not even copied out of
the kernel. A few members are watched: theirs is read, and must be complete and in order.
"""

import contextlib
import resource
import select
import socket
import time
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Self

from chatroom.bench.handshake import Handshake
from chatroom.bench.sequence import Sequence
from chatroom.bench.wire import MARK, BenchError, Wire

PATIENCE = 20.0
"""Seconds without any progress before a run is given up."""
RECEIVE = 256 * 1024
"""Bytes that are taken from a connection at a time."""
UNREAD = socket.MSG_TRUNC
"""For `recv`: take the bytes out of the connection, and do not copy them (tcp(7))."""


class Member:
    """One connection, and what it has got."""

    __slots__ = ("marks", "socket", "taken", "unsent", "watch", "weighs")

    def __init__(self, connection: socket.socket, *, weighs: bool) -> None:
        self.socket = connection
        self.weighs = weighs
        """Whether its deliveries are counted by bytes: it gets nothing else."""
        self.taken = 0
        """Bytes that it got."""
        self.marks = 0
        """Messages that it got, if they are not counted by bytes."""
        self.unsent = b""
        self.watch: Sequence | None = None


class Swarm:
    """Connections to one server. `frame`: the bytes of one delivery; with 0, their marks are counted."""

    def __init__(self, address: tuple[str, int], frame: int = 0) -> None:
        self.frame = frame
        self.rang = False
        """Whether what `listen` was given became readable."""
        self._address = address
        self._epoll = select.epoll()
        self._members: dict[int, Member] = {}
        self._buffer = bytearray(RECEIVE)
        self._bytes = 0
        self._marks = 0

    def __enter__(self) -> Self:
        lift_file_limit()
        return self

    def __exit__(self, *exception: object) -> None:
        for member in self._members.values():
            member.socket.close()
        self._epoll.close()

    @property
    def delivered(self) -> int:
        """Messages that came in, to all."""
        return self._marks + (self._bytes // self.frame if self.frame else 0)

    def join(
        self,
        wire: Wire,
        readers: Iterable[int] = (),
        senders: Iterable[int] = (),
        joined: Callable[[], None] = lambda: None,
    ) -> tuple[list[Member], list[Member]]:
        """Connect these readers and senders; return both when all are in. `joined` is called for each.

        Senders may get acknowledgements beside messages, so bytes do not count their deliveries.
        """
        weighs = self.frame > 0 and not wire.has_pings
        handshakes = chain(
            ((wire.read(one), weighs) for one in readers), ((wire.send(one), None) for one in senders)
        )
        hearing: list[Member] = []
        sending: list[Member] = []
        under_way: dict[int, tuple[Member, Handshake]] = {}

        def begin() -> None:
            for steps, weighs in islice(handshakes, 1):
                member = Member(self._connect(), weighs=bool(weighs))
                self._members[member.socket.fileno()] = member  # so that it is closed, whatever happens
                (sending if weighs is None else hearing).append(member)
                under_way[member.socket.fileno()] = (member, Handshake(member.socket, steps, wire.refusal))
                self._epoll.register(member.socket, select.EPOLLIN)

        for _ in range(wire.at_once):
            begin()
        deadline = time.monotonic() + PATIENCE
        while under_way:
            for number, _ in self._epoll.poll(1):
                if number not in under_way:
                    self._receive(self._members[number])
                elif under_way[number][1].go_on():
                    del under_way[number]
                    joined()
                    begin()
                deadline = time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise BenchError(f"{len(under_way)} connections were not answered within {PATIENCE:g} s")
        return hearing, sending

    def listen(self, descriptor: int) -> None:
        """From now on `poll` returns early, and sets `rang`, when that descriptor is readable."""
        self._epoll.register(descriptor, select.EPOLLIN)

    def send(self, member: Member, data: bytes) -> None:
        """Send without waiting; what the system does not take goes out later, in order."""
        if not member.unsent:
            try:
                sent = member.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise BenchError(f"a connection was lost: {error}") from error
            data = data[sent:]
            if data:
                self._epoll.modify(member.socket, select.EPOLLIN | select.EPOLLOUT)
        member.unsent += data

    def poll(self, timeout: float, at_most: int = -1) -> list[Member]:
        """Take what has come in, from `at_most` members where that matters; return who got something."""
        news = []
        members, as_a_rule = self._members, select.EPOLLIN
        for number, events in self._epoll.poll(timeout, at_most):
            member = members.get(number)
            if member is None:
                self.rang = True
                continue
            if events != as_a_rule and events & select.EPOLLOUT:
                self._send_on(member)
                if events == select.EPOLLOUT:
                    continue
            self._receive(member)
            news.append(member)
        return news

    def settle(self) -> None:
        """Wait until nothing more comes in, and forget what did. Raises `BenchError` if others keep talking."""
        deadline = time.monotonic() + PATIENCE
        while self.poll(0.1):
            if time.monotonic() > deadline:
                raise BenchError("others are talking in the room, and would be counted")
        self._bytes = self._marks = 0
        for member in self._members.values():
            member.taken = member.marks = 0

    def drain(self, expected: int) -> None:
        """Wait until that many messages were delivered in all. Raises `BenchError` if they are not."""
        deadline = time.monotonic() + PATIENCE
        while self.delivered < expected:
            if self.poll(0.5):
                deadline = time.monotonic() + PATIENCE
            elif time.monotonic() > deadline:
                break
        self.poll(0.02)
        must_be(self.delivered, expected)

    def got(self, member: Member) -> int:
        """Return how many messages this one has got."""
        return member.taken // self.frame if member.weighs else member.marks

    def must_have(self, member: Member, count: int) -> None:
        """Raise `BenchError` unless this one got exactly so many messages, and no byte more."""
        if member.weighs and member.taken != count * self.frame:
            raise BenchError(f"a reader got {member.taken:,} bytes, and {count * self.frame:,} were due")
        if not member.weighs and member.marks != count:
            raise BenchError(f"a member got {member.marks:,} messages, and {count:,} were due")

    def _send_on(self, member: Member) -> None:
        data, member.unsent = member.unsent, b""
        self._epoll.modify(member.socket, select.EPOLLIN)
        if data:
            self.send(member, data)

    def _receive(self, member: Member) -> None:
        is_read = member.watch is not None or not member.weighs
        try:
            size = member.socket.recv_into(self._buffer, RECEIVE, 0 if is_read else UNREAD)
        except OSError as error:
            raise BenchError(f"a connection was lost: {error}") from error
        if not size:
            raise BenchError("the server closed a connection")
        member.taken += size
        if member.weighs:
            self._bytes += size
        else:
            marks = self._buffer.count(MARK, 0, size)
            member.marks += marks
            self._marks += marks
        if member.watch:
            member.watch.see(bytes(self._buffer[:size]))

    def _connect(self) -> socket.socket:
        connection = socket.socket()
        try:
            connection.connect(self._address)
        except OSError as error:
            connection.close()
            raise BenchError(f"{self._address[0]}:{self._address[1]} cannot be reached: {error}") from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        return connection


def must_be(delivered: int, expected: int) -> None:
    """Raise `BenchError`, which tells the difference, unless the two are the same."""
    if delivered < expected:
        raise BenchError(f"{expected - delivered:,} of {expected:,} messages were lost")
    if delivered > expected:
        raise BenchError(f"{delivered - expected:,} messages more than {expected:,} came: some came twice")


def lift_file_limit() -> None:
    """Let this process have as many connections as the system allows it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
