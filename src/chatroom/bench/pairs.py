"""Pairs, in each of which one writes to the other."""

import time

from chatroom.bench import swarm as swarms
from chatroom.bench.audience import weigh
from chatroom.bench.cost import Meter
from chatroom.bench.sequence import Sequence
from chatroom.bench.swarm import Member, Swarm
from chatroom.bench.target import WARM_UP, Progress, Result, Target, Until, measured
from chatroom.bench.wire import Numbered, payload

_WATCHED = 10
"""Of so many pairs, one is read message by message; the others are counted."""


def direct(
    target: Target, *, pairs: int, in_flight: int, size: int, until: Until, progress: Progress
) -> Result:
    """Send from each of `pairs` to its partner, each with `in_flight` messages under way."""
    with Swarm(target.address, weigh(target, size, directly=True)) as swarm:
        everybody = Pairs(swarm, target, pairs, in_flight, size)
        everybody.run(until.part(WARM_UP), lambda _: None)
        meter = Meter(target.process)
        count = everybody.run(until, progress)
        meter.stop()
        everybody.check()
    given = {"pairs": pairs, "in_flight": in_flight, "size": size}
    return Result(**measured("direct", given, count, meter, target))


class Pairs:
    """Senders and their partners, connected. `in_flight`: messages that a sender may have under way."""

    def __init__(self, swarm: Swarm, target: Target, pairs: int, in_flight: int, size: int) -> None:
        wire = target.wire
        self._swarm = swarm
        self._in_flight = in_flight
        self._hearing, self._sending = swarm.join(wire, range(pairs), range(pairs))
        swarm.settle()
        self._messages = [
            Numbered(wire.direct(number, payload(number % 10_000, 0, size))) for number in range(pairs)
        ]
        self._number_of = {member: number for number, member in enumerate(self._hearing)}
        for member in self._hearing[::_WATCHED]:
            member.watch = Sequence()

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
