"""How late messages come that are sent at a fixed rate."""

import time
from collections import Counter

from chatroom.bench import swarm as swarms
from chatroom.bench.audience import weigh
from chatroom.bench.cost import Meter
from chatroom.bench.sequence import Sequence
from chatroom.bench.swarm import Swarm
from chatroom.bench.target import WARM_UP, LatencyResult, Progress, Target, measured
from chatroom.bench.wire import Numbered, payload

_AT_A_TIME = 32
"""Readers that are taken before the clock is looked at again."""


def latency(
    target: Target, *, readers: int, rate: float, size: int, seconds: float, progress: Progress
) -> LatencyResult:
    """Broadcast at a fixed rate, and see how long after its intended time each message arrives.

    The next message is sent when it is due, whether the last has arrived or not, and what is late counts from
    when it was due: a server that stalls cannot hide that by holding the sender up.
    """
    wire = target.wire
    warm_up = int(rate * seconds * WARM_UP)
    total = warm_up + max(1, int(rate * seconds))
    lateness = Lateness()
    with Swarm(target.address, weigh(target, size)) as swarm:
        hearing, [sender] = swarm.join(wire, range(readers), [0])
        swarm.settle()
        for member in {hearing[0], hearing[-1]}:
            member.watch = Sequence()
        message = Numbered(wire.broadcast(payload(0, 0, size)))
        had = dict.fromkeys(hearing, 0)
        meter = Meter(target.process)
        start = last = time.perf_counter() + 0.05
        while swarm.delivered < total * readers and time.perf_counter() - last < swarms.PATIENCE:
            while message.count < total and time.perf_counter() >= start + message.count / rate:
                if message.count == warm_up:
                    meter = Meter(target.process)
                swarm.send(sender, message.take(1))
                progress(message.count / total)
            wait = start + message.count / rate - time.perf_counter() if message.count < total else 0.1
            news = swarm.poll(max(0.0, wait), _AT_A_TIME)
            now = time.perf_counter()
            for member in news:
                if member not in had:
                    continue
                last, got = now, swarm.got(member)
                for number in range(max(warm_up, had[member]), got):
                    lateness.add(now - start - number / rate)
                had[member] = got
        meter.stop()
        swarm.drain(total * readers)
        for member in hearing:
            swarm.must_have(member, total)
    given = {"readers": readers, "rate": rate, "size": size}
    return LatencyResult(
        **measured("latency", given, (total - warm_up) * readers, meter, target),
        p50=lateness.of_one_in(2),
        p99=lateness.of_one_in(100),
        p999=lateness.of_one_in(1000),
        distribution=lateness.distribution(),
    )


class Lateness:
    """How late things were, told apart by 10 µs: as small for an hour as for a second."""

    _SLICE = 1e-5

    def __init__(self) -> None:
        self._slices: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one that was so late."""
        self._slices[int(seconds / self._SLICE)] += 1

    def of_one_in(self, many: float) -> float:
        """Return the milliseconds by which one in so many was late, or more: one in 100 is the p99."""
        rank = self._slices.total() / many
        at = 0
        for at in sorted(self._slices, reverse=True):
            rank -= self._slices[at]
            if rank < 0:
                break
        return (at + 1) * self._SLICE * 1000

    def distribution(self) -> list[tuple[float, float]]:
        """Return of one in 2, 5, 10, 20 … how late it was, in milliseconds, as far as there are so many."""
        steps = (count * 10.0**power for power in range(9) for count in (1, 2, 5))
        return [(many, self.of_one_in(many)) for many in steps if 2 <= many <= self._slices.total()]
