"""What is measured, the figure that counts, and what is aimed at."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from chatroom.bench import modes
from chatroom.bench.target import Result, Target, Until

SIZE = 100
"""Characters of a message."""

Run = Callable[[Target, float], Result]
"""Measures a server for so many seconds."""


class Workload(Struct, frozen=True):
    """Something to measure on every server."""

    name: str
    run: Run
    figure: Callable[[Any], float]
    """What counts of a `Result`, of the kind that `run` returns."""
    unit: str
    aim: float
    """The least ratio of ours to the best peer's; for figures of which less is better, the greatest."""
    less_is_better: bool = False
    is_absolute: bool = False
    """The aim is a figure of its own, no ratio."""

    def aim_text(self) -> str:
        """Return the aim, as it is shown."""
        unit = self.unit if self.is_absolute else ""
        return f"{'≤' if self.less_is_better else '≥'} {self.aim:g}{unit}"

    def is_reached(self, ratio: float, ours: float) -> bool:
        """Whether we are where we want to be."""
        value = ours if self.is_absolute else ratio
        return value <= self.aim if self.less_is_better else value >= self.aim


def quiet(_: float) -> None:
    """Report no progress within a run."""


def broadcast(readers: int, senders: int, in_flight: int) -> Run:
    """Return a run with so many readers and senders, and messages that each sender has in flight."""
    return lambda target, seconds: modes.fan_out(
        target,
        readers=readers,
        senders=senders,
        in_flight=in_flight,
        size=SIZE,
        until=Until(seconds=seconds),
        progress=quiet,
    )


def _direct(target: Target, seconds: float) -> Result:
    return modes.direct(target, pairs=50, in_flight=16, size=SIZE, until=Until(seconds=seconds), progress=quiet)


def _latency(target: Target, seconds: float) -> Result:
    return modes.latency(target, readers=1000, rate=50, size=SIZE, seconds=2 * seconds, progress=quiet)


def _join(target: Target, _: float) -> Result:
    return modes.join(target, clients=1000, progress=quiet)


def _idle(target: Target, _: float) -> Result:
    return modes.idle(target, clients=2000, progress=quiet)


def _per_cpu_second(result: Result) -> float:
    return result.per_cpu_second


LATENCY = Workload(
    "50 broadcasts a second to 1,000: p99", _latency, lambda result: result.p99, " ms", 1.0, less_is_better=True
)
READERS = {
    10: Workload("broadcast to 10, 1 sender, 64 in flight", broadcast(10, 1, 64), _per_cpu_second, "", 0),
    100: Workload("broadcast to 100, 1 sender, 64 in flight", broadcast(100, 1, 64), _per_cpu_second, "", 2.0),
    1000: Workload(
        "broadcast to 1,000, 1 sender, 64 in flight", broadcast(1000, 1, 64), _per_cpu_second, "", 2.5
    ),
}
"""The first is for the plot only."""

WORKLOADS = [
    READERS[100],
    READERS[1000],
    Workload(
        "broadcast to 1,000, 10 senders, 64 in flight each", broadcast(1000, 10, 64), _per_cpu_second, "", 10.0
    ),
    Workload("broadcast to 100, 1 in flight", broadcast(100, 1, 1), _per_cpu_second, "", 1.0),
    Workload("direct, 50 pairs, 16 in flight each", _direct, _per_cpu_second, "", 1.0),
    LATENCY,
    Workload("1,000 joins: per second", _join, lambda result: result.per_second, "", 1.0),
    Workload(
        "memory per idle connection, of 2,000",
        _idle,
        lambda result: result.bytes_each / 1024,
        " KiB",
        4.0,
        less_is_better=True,
        is_absolute=True,
    ),
]
