"""Senders and readers of one room, and the figures of what is broadcast among them."""

import os
import time
from contextlib import ExitStack
from typing import Self

from chatroom.bench import swarm as swarms
from chatroom.bench.cost import Meter
from chatroom.bench.helper import SETTLE, Helper, Share
from chatroom.bench.sequence import Sequence
from chatroom.bench.swarm import Swarm, must_be
from chatroom.bench.target import WARM_UP, Progress, Result, Target, Until, measured
from chatroom.bench.wire import MARK, BenchError, Numbered, payload

STRANGER = 99_999
"""The number of a reader that is in no run."""


class Audience:
    """Everybody in the room, from entering the context to leaving it. May be measured more than once."""

    def __init__(
        self, target: Target, *, readers: int, senders: int = 1, size: int = 100, generators: int = 1
    ) -> None:
        self._target = target
        self._readers, self._senders, self._size = readers, senders, size
        self._shares = [range(number, readers, generators) for number in range(min(generators, readers))]
        self._copies = readers + (senders - 1 if target.wire.senders_hear else 0)
        self._helpers: list[Helper] = []
        self._ends = ExitStack()
        self._turn = 0

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            self._gather(ends)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ends.close()

    def _gather(self, ends: ExitStack) -> None:
        """Have everybody in the room, and nothing more on its way to them."""
        target, wire = self._target, self._target.wire
        frame = weigh(target, self._size)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)
        ends.callback(os.close, self._bell)
        own, *others = self._shares
        for number, share in enumerate(others, 1):
            place = target.places.of_generator(number)
            helper = Helper(Share(target, share, frame, place, self._bell))
            ends.callback(helper.stop)
            self._helpers.append(helper)
        swarm = self._swarm = ends.enter_context(Swarm(target.address, frame))
        self._hearing, self._sending = swarm.join(wire, own, range(self._senders))
        for helper in self._helpers:
            helper.wait()  # until it has joined
        for helper in self._helpers:
            helper.tell(SETTLE)
        swarm.settle()
        for helper in self._helpers:
            helper.wait()
        swarm.listen(self._bell)
        texts = (payload(number, 0, self._size) for number in range(self._senders))
        self._numbered = [Numbered(wire.broadcast(text)) for text in texts]
        for member in {self._hearing[0], self._hearing[-1]}:
            member.watch = Sequence()

    def measure(self, in_flight: int, until: Until, progress: Progress) -> Result:
        """Broadcast, each sender with `in_flight` messages under way: sent, and not yet with everybody."""
        self._run(in_flight, until.part(WARM_UP), lambda _: None)
        before = self._sent
        meter = Meter(self._target.process, [helper.pid for helper in self._helpers])
        self._run(in_flight, until, progress)
        meter.stop()
        self._check()
        given = {"readers": self._readers, "senders": self._senders, "in_flight": in_flight, "size": self._size}
        figures = measured("fan-out", given, (self._sent - before) * self._copies, meter, self._target)
        return Result(**figures, generators=1 + len(self._helpers))

    @property
    def _sent(self) -> int:
        return sum(message.count for message in self._numbered)

    @property
    def _delivered(self) -> int:
        return self._swarm.delivered + sum(helper.delivered for helper in self._helpers)

    def _run(self, in_flight: int, until: Until, progress: Progress) -> None:
        """Send for so long, then wait until all was delivered. Raises `BenchError` if it was not."""
        window, copies = in_flight * self._senders, self._copies
        start = reported = time.perf_counter()
        sent = first = self._sent
        while (done := until.share((now := time.perf_counter()) - start, sent - first)) < 1:
            if now - reported > 0.1:
                progress(done)
                reported = now
            room = window - (sent - self._delivered // copies)
            if until.messages:
                room = min(room, first + until.messages - sent)
            sent += self._fill(room)
            if not self._hear():
                break
        while self._delivered < sent * copies and self._hear():
            pass
        self._swarm.poll(0.02)
        must_be(self._delivered, sent * copies)

    def _fill(self, room: int) -> int:
        """Send so many more messages, each sender its share in one piece; return how many."""
        count, left = self._senders, room
        for _ in range(min(room, count)):
            at, self._turn = self._turn, (self._turn + 1) % count
            share = min(left, max(1, room // count))
            self._swarm.send(self._sending[at], self._numbered[at].take(share))
            left -= share
        return max(0, room) - max(0, left)

    def _hear(self) -> bool:
        """Wait until something was delivered; return False if nothing is for too long."""
        deadline = time.monotonic() + swarms.PATIENCE
        swarm = self._swarm
        while time.monotonic() < deadline:
            news = swarm.poll(0.5)
            if swarm.rang:
                swarm.rang = False
                os.eventfd_read(self._bell)
                return True
            if news:
                return True
            for helper in self._helpers:
                if helper.has_trouble():
                    helper.wait()
        return False

    def _check(self) -> None:
        """See that each got every message once, the senders those of the other senders."""
        sent = self._sent
        for helper in self._helpers:
            helper.tell(sent)
        for member in self._hearing:
            self._swarm.must_have(member, sent)
        for member, own in zip(self._sending, self._numbered, strict=True):
            self._swarm.must_have(member, sent - own.count if self._target.wire.senders_hear else 0)
        for helper in self._helpers:
            helper.wait()


def weigh(target: Target, size: int, *, directly: bool = False) -> int:
    """Return the bytes that one delivery has, by having three made. Raises `BenchError` if they differ."""
    wire = target.wire
    with Swarm(target.address) as swarm:
        [reader], [sender] = swarm.join(wire, [STRANGER], [STRANGER])
        text = payload(0, 0, size)
        message = wire.direct(STRANGER, text) if directly else wire.broadcast(text)
        swarm.send(sender, Numbered(message).take(3))
        reader.socket.settimeout(swarms.PATIENCE)
        data = b""
        while data.count(MARK) < 3:
            try:
                news = reader.socket.recv(swarms.RECEIVE)
            except OSError as error:
                raise BenchError(f"the first messages did not arrive: {error}") from error
            if not news:
                raise BenchError("the server closed a connection")
            data += news
    first = data.index(MARK)
    second = data.index(MARK, first + 1)
    third = data.index(MARK, second + 1)
    if second - first != third - second and not wire.has_pings:
        raise BenchError("deliveries of one size differ in their number of bytes")
    return second - first
