"""The workloads. Each runs against any server that a `Wire` speaks to, and returns its figures."""

from collections.abc import Callable, Iterator
from itertools import count

from chatroom.bench.audience import Audience
from chatroom.bench.cost import Meter, memory
from chatroom.bench.latency import latency
from chatroom.bench.pairs import confirm, direct
from chatroom.bench.stall import stall
from chatroom.bench.swarm import Swarm
from chatroom.bench.target import IdleResult, Progress, Result, Target, Until, measured

__all__ = ["confirm", "curve", "direct", "fan_out", "idle", "join", "latency", "stall"]


def fan_out(
    target: Target,
    *,
    readers: int,
    senders: int,
    in_flight: int,
    size: int,
    until: Until,
    progress: Progress,
    generators: int = 1,
) -> Result:
    """Broadcast from `senders` to `readers`, each sender with `in_flight` messages under way."""
    with Audience(target, readers=readers, senders=senders, size=size, generators=generators) as audience:
        return audience.measure(in_flight, until, progress)


def curve(
    target: Target,
    *,
    readers: list[int],
    in_flight: list[int],
    size: int,
    until: Until,
    progress: Progress,
    generators: int = 1,
) -> Iterator[Result]:
    """Broadcast from one sender to each number of readers, with each number of messages in flight."""
    cells = len(readers) * len(in_flight)
    done = 0

    def within(part: float) -> None:
        progress((done + part) / cells)

    for many in readers:
        with Audience(target, readers=many, size=size, generators=generators) as audience:
            for window in in_flight:
                yield audience.measure(window, until, within)
                done += 1


def join(target: Target, *, clients: int, progress: Progress) -> Result:
    """Connect and say hello, as many at a time as the wire says, until all are welcome."""
    with Swarm(target.address) as swarm:
        swarm.join(target.wire, senders=[0])
        meter = Meter(target.process)
        swarm.join(target.wire, range(clients), joined=_counted(clients, progress))
        return Result(**measured("join", {"clients": clients}, clients, meter.stop(), target))


def idle(target: Target, *, clients: int, progress: Progress) -> IdleResult:
    """See how much the server's memory grows by connections that are welcome and then say nothing."""
    with Swarm(target.address) as swarm:
        swarm.join(target.wire, senders=range(10))
        swarm.settle()
        before = memory(target.process)
        meter = Meter(target.process)
        swarm.join(target.wire, range(clients), joined=_counted(clients, progress))
        meter.stop()
        swarm.settle()
        return IdleResult(
            **measured("idle", {"clients": clients}, clients, meter, target),
            bytes_each=(memory(target.process) - before) / clients,
        )


def _counted(clients: int, progress: Progress) -> Callable[[], None]:
    """Return what is called when one has joined, and tells which part of all that makes."""
    joined = count(1)
    return lambda: progress(next(joined) / clients)
