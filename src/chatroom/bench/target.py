"""What is measured, and what comes of it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from chatroom.bench.cost import Meter
from chatroom.bench.place import Places, may_share
from chatroom.bench.wire import Wire

WARM_UP = 0.15
"""The part of a run's length that goes before it, uncounted."""

Progress = Callable[[float], None]
"""Told now and then which part of the run is done, from 0 to 1."""


class Until(Struct, frozen=True):
    """How long to send: so many seconds or, if given, so many messages."""

    seconds: float = 3.0
    messages: int = 0

    def share(self, passed: float, sent: int) -> float:
        """Return which part is done."""
        return sent / self.messages if self.messages else passed / self.seconds

    def part(self, share: float) -> "Until":
        """Return a part of this."""
        return Until(seconds=self.seconds * share, messages=math.ceil(self.messages * share))


class Target(Struct, frozen=True):
    """A running server, and where its generators run."""

    wire: Wire
    address: tuple[str, int]
    process: int
    """Its process, whose use of processor and memory is measured."""
    places: Places = Places(server=None, generators=[])


class Result(Struct, kw_only=True):
    """The figures of one run, all of them measured. A mode that measures more has a class of its own."""

    mode: str
    given: dict[str, float]
    """What was asked for: readers, in flight, …"""
    count: int
    """Deliveries or, in the modes `join` and `idle`, joins."""
    seconds: float
    server_cpu: float
    """Seconds of processor time that the server used."""
    generator_load: float
    """The part of its processor that the busiest generator used: near 1, it held the server back."""
    generators: int = 1
    """Generator processes."""
    others_load: float
    """The part of all processors that other processes used: much more than 0, they disturbed the run."""
    shares_processor: bool
    """Server and generator may have run on one processor: the figures say little."""
    per_cpu_second: float
    """Of what was counted, per second of the server's processor time."""
    per_second: float
    """Of what was counted, per second on the wall."""


class LatencyResult(Result, kw_only=True):
    """Figures of `latency`."""

    p50: float
    p99: float
    p999: float
    """Milliseconds from the intended sending."""
    distribution: list[tuple[float, float]]
    """One in so many deliveries took longer than so many milliseconds."""


class IdleResult(Result, kw_only=True):
    """Figures of `idle`."""

    bytes_each: float
    """Resident bytes of the server per idle connection."""


def measured(mode: str, given: Mapping[str, float], count: int, meter: Meter, target: Target) -> dict[str, Any]:
    """Return the fields of `Result`, for a run in which `count` were delivered while the meter ran."""
    return {
        "mode": mode,
        "given": dict(given),
        "count": count,
        "seconds": meter.wall,
        "server_cpu": meter.cpu,
        "generator_load": meter.load,
        "others_load": meter.others,
        "shares_processor": may_share(target.process),
        "per_cpu_second": count / meter.cpu,
        "per_second": count / meter.wall,
    }
