"""Pairs, in each of which one writes to the other."""

import time
from collections.abc import Mapping

from chatroom.bench import swarm as swarms
from chatroom.bench.audience import weigh
from chatroom.bench.cost import Meter
from chatroom.bench.sequence import Sequence
from chatroom.bench.swarm import Member, Swarm
from chatroom.bench.target import WARM_UP, Progress, Result, Target, Until, measured
from chatroom.bench.wire import ChatroomWire, Numbered, payload

_WATCHED = 10
"""Of so many pairs, one is read message by message; the others are counted."""


def direct(
    target: Target, *, pairs: int, in_flight: int, size: int, until: Until, progress: Progress
) -> Result:
    """Send from each of `pairs` to its partner, each with `in_flight` messages under way."""
    wire = target.wire
    with Swarm(target.address, weigh(target, size, directly=True)) as swarm:
        hearing, sending = swarm.join(wire, range(pairs), range(pairs))
        messages = [wire.direct(number, payload(number % 10_000, 0, size)) for number in range(pairs)]
        everybody = Pairs(swarm, hearing, sending, messages, in_flight)
        given = {"pairs": pairs, "in_flight": in_flight, "size": size}
        return everybody.measure("direct", given, target, until, progress)


def confirm(
    target: Target, *, clients: int, in_flight: int, size: int, until: Until, progress: Progress
) -> Result:
    """Send from each to itself, each with `in_flight` messages under way; what is counted are confirmations."""
    wire = ChatroomWire(["resume"])
    with Swarm(target.address) as swarm:
        _, sending = swarm.join(wire, senders=range(clients))
        messages = [wire.confirmed(number, payload(number % 10_000, 0, 20), size) for number in range(clients)]
        everybody = Pairs(swarm, sending, sending, messages, in_flight)
        given = {"clients": clients, "in_flight": in_flight, "size": size}
        return everybody.measure("confirm", given, target, until, progress)


class Pairs:
    """Senders and their partners, connected. `in_flight`: messages that a sender may have under way."""

    def __init__(
        self,
        swarm: Swarm,
        hearing: list[Member],
        sending: list[Member],
        messages: list[bytes],
        in_flight: int,
    ) -> None:
        """`hearing`, `sending`: both ends of each pair; who sends to itself is in both."""
        self._swarm = swarm
        self._in_flight = in_flight
        self._hearing, self._sending = hearing, sending
        swarm.settle()
        self._messages = [Numbered(message) for message in messages]
        self._number_of = {member: number for number, member in enumerate(hearing)}
        for member in hearing[::_WATCHED]:
            member.watch = Sequence()

    def measure(
        self, mode: str, given: Mapping[str, float], target: Target, until: Until, progress: Progress
    ) -> Result:
        """Warm up, then send for so long, and see that nothing is missing."""
        self.run(until.part(WARM_UP), lambda _: None)
        meter = Meter(target.process)
        count = self.run(until, progress)
        meter.stop()
        self.check()
        return Result(**measured(mode, given, count, meter, target))

    def run(self, until: Until, progress: Progress) -> int:
        """Send for so long, then wait until all was delivered; return how many."""
        swarm, first = self._swarm, self._sent
        start = reported = time.perf_counter()
        for member in self._hearing:
            self._fill(member)
        while (done := until.share((now := time.perf_counter()) - start, swarm.delivered - first)) < 1:
            if now - reported > 0.1:
                progress(done)
                reported = now
            news = swarm.poll(swarms.PATIENCE)
            if not news:
                break  # something is lost; draining will say what
            for member in news:
                if member in self._number_of:
                    self._fill(member)
        swarm.drain(self._sent)
        return self._sent - first

    def check(self) -> None:
        """Raise `BenchError` unless each got what its partner sent, once."""
        for member, message in zip(self._hearing, self._messages, strict=True):
            self._swarm.must_have(member, message.count)

    @property
    def _sent(self) -> int:
        return sum(message.count for message in self._messages)

    def _fill(self, member: Member) -> None:
        """Have its partner send as many as it may."""
        number = self._number_of[member]
        message = self._messages[number]
        room = self._in_flight - (message.count - self._swarm.got(member))
        if room > 0:
            self._swarm.send(self._sending[number], message.take(room))
