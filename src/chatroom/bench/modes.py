"""The workloads. Each runs against any server that a `Wire` speaks to, and returns its figures."""

import time
from collections.abc import Callable

from msgspec import Struct

from chatroom.bench.cost import Meter, memory
from chatroom.bench.swarm import Member, Swarm
from chatroom.bench.wire import BenchError, Wire, payload

WARM_UP = 0.15
"""The part of a run's time that goes before it, uncounted."""

Progress = Callable[[float], None]


class Target(Struct, frozen=True):
    """A running server."""

    wire: Wire
    address: tuple[str, int]
    process: int
    """Its process, whose use of processor and memory is measured."""


class Result(Struct, kw_only=True):
    """The figures of one run."""

    mode: str
    deliveries: int = 0
    seconds: float = 0.0
    server_cpu: float = 0.0
    """Seconds of processor time that the server used."""
    generator_load: float = 0.0
    """The part of its processor that the generator used: near 1, it held the server back."""
    per_cpu_second: float = 0.0
    """Deliveries (or joins) per second of the server's processor time."""
    per_second: float = 0.0
    """Deliveries (or joins) per second on the wall."""
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    """Milliseconds from the intended sending."""
    bytes_each: float = 0.0
    """Resident bytes of the server per idle connection."""


def _result(mode: str, count: int, meter: Meter) -> Result:
    return Result(
        mode=mode,
        deliveries=count,
        seconds=meter.wall,
        server_cpu=meter.server,
        generator_load=meter.generator / meter.wall,
        per_cpu_second=count / meter.server if meter.server else 0.0,
        per_second=count / meter.wall,
    )


class _Window:
    """Senders that keep so many messages each in flight: sent, and not yet delivered to everybody."""

    def __init__(
        self, swarm: Swarm, wire: Wire, senders: list[Member], *, fan_out: int, in_flight: int, size: int
    ) -> None:
        self._swarm = swarm
        self._wire = wire
        self._senders = senders
        self._fan_out = fan_out
        self._in_flight = in_flight * len(senders)
        self._size = size
        self._numbers = [0] * len(senders)
        self._turn = 0
        self.sent = 0

    def run(self, seconds: float, progress: Progress) -> None:
        """Send for so long, then wait until all was delivered. Raises `BenchError` if it was not."""
        swarm, start = self._swarm, time.perf_counter()
        end = start + seconds
        reported = quiet = start
        while (now := time.perf_counter()) < end:
            if now - reported > 0.1:
                progress(now - reported)
                reported = now
            self._fill(self._in_flight - (self.sent - swarm.delivered // self._fan_out))
            if swarm.poll(0.5):
                quiet = now
            elif now - quiet > 5:
                break  # something is lost; draining will say what
        swarm.drain(self.sent * self._fan_out)

    def _fill(self, room: int) -> None:
        """Send so many more messages, each sender its share, in one piece."""
        count = len(self._senders)
        for _ in range(min(room, count)):
            at, self._turn = self._turn, (self._turn + 1) % count
            share = max(1, room // count)
            first = self._numbers[at]
            self._numbers[at] += share
            self.sent += share
            self._swarm.send(
                self._senders[at],
                b"".join(
                    self._wire.broadcast(payload(at, number, self._size))
                    for number in range(first, first + share)
                ),
            )


def fan_out(
    target: Target, *, readers: int, senders: int, in_flight: int, size: int, seconds: float, progress: Progress
) -> Result:
    """Broadcast from `senders` to `readers`, each sender with `in_flight` messages under way."""
    wire = target.wire
    with Swarm(target.address) as swarm:
        hearing = swarm.join((wire.read(number) for number in range(readers)), wire.refusal)
        sending = swarm.join((wire.send(number) for number in range(senders)), wire.refusal)
        swarm.settle()
        for member in (hearing[0], hearing[-1]):
            swarm.watch(member)
        copies = readers + (senders - 1 if wire.senders_hear else 0)
        window = _Window(swarm, wire, sending, fan_out=copies, in_flight=in_flight, size=size)
        window.run(seconds * WARM_UP, progress)
        before, meter = window.sent, Meter(target.process)
        window.run(seconds, progress)
        meter.stop()
        if {member.got for member in hearing} != {window.sent}:
            raise BenchError("not every reader got every message once")
        return _result("fan-out", (window.sent - before) * copies, meter)


def direct(
    target: Target, *, pairs: int, in_flight: int, size: int, seconds: float, progress: Progress
) -> Result:
    """Send from each of `pairs` to its partner, each with `in_flight` messages under way."""
    wire = target.wire
    with Swarm(target.address) as swarm:
        hearing = swarm.join((wire.read(number) for number in range(pairs)), wire.refusal)
        sending = swarm.join((wire.send(number) for number in range(pairs)), wire.refusal)
        swarm.settle()
        partner = {member: number for number, member in enumerate(hearing)}
        sent = [0] * pairs
        for member in hearing:
            swarm.watch(member)

        def fill(member: Member) -> None:
            number = partner[member]
            first, room = sent[number], in_flight - (sent[number] - member.got)
            sent[number] += room
            texts = (payload(number, at, size) for at in range(first, first + room))
            swarm.send(sending[number], b"".join(wire.direct(number, text) for text in texts))

        def run(seconds: float) -> None:
            start = reported = time.perf_counter()
            for member in hearing:
                fill(member)
            while (now := time.perf_counter()) < start + seconds:
                if now - reported > 0.1:
                    progress(now - reported)
                    reported = now
                for member in swarm.poll(0.5):
                    if member in partner:
                        fill(member)
            swarm.drain(sum(sent))

        run(seconds * WARM_UP)
        before, meter = sum(sent), Meter(target.process)
        run(seconds)
        meter.stop()
        if [member.got for member in hearing] != sent:
            raise BenchError("not everybody got what was sent to them")
        return _result("direct", sum(sent) - before, meter)


def latency(
    target: Target, *, readers: int, rate: float, size: int, seconds: float, progress: Progress
) -> Result:
    """Broadcast at a fixed rate, and see how long after its intended time each message arrives.

    The next message is sent when it is due, whether the last has arrived or not, and what is late counts from
    when it was due: a server that stalls cannot hide that by holding the sender up.
    """
    wire = target.wire
    with Swarm(target.address) as swarm:
        hearing = swarm.join((wire.read(number) for number in range(readers)), wire.refusal)
        [sender] = swarm.join([wire.send(0)], wire.refusal)
        swarm.settle()
        total = int(rate * seconds)
        warm_up = int(total * WARM_UP)
        samples: list[float] = []
        had = dict.fromkeys(hearing, 0)
        start = time.perf_counter() + 0.05
        meter, sent = Meter(target.process), 0
        deadline = start + seconds + 20
        while swarm.delivered < total * readers:
            now = time.perf_counter()
            if now > deadline:
                raise BenchError(f"{total * readers - swarm.delivered} messages were lost")
            while sent < total and now >= start + sent / rate:
                swarm.send(sender, wire.broadcast(payload(0, sent, size)))
                sent += 1
                progress(1 / rate)
            wait = start + sent / rate - time.perf_counter() if sent < total else 0.1
            for member in swarm.poll(max(0.0, wait)):
                if member not in had:
                    continue
                now = time.perf_counter()
                new = range(max(warm_up, had[member]), member.got)
                samples.extend(now - start - number / rate for number in new)
                had[member] = member.got
        result = _result("latency", total * readers, meter.stop())
        samples.sort()
        result.p50, result.p99, result.p999 = (
            samples[int(len(samples) * part)] * 1000 for part in (0.5, 0.99, 0.999)
        )
        return result


def join(target: Target, *, clients: int, progress: Progress) -> Result:
    """Connect and say hello, a hundred at a time."""
    wire = target.wire
    with Swarm(target.address) as swarm:
        swarm.join([wire.send(0)], wire.refusal)
        meter = Meter(target.process)
        swarm.join((wire.read(number) for number in range(clients)), wire.refusal, lambda _: progress(1))
        return _result("join", clients, meter.stop())


def idle(target: Target, *, clients: int, progress: Progress) -> Result:
    """See how much the server's memory grows by connections that are welcome and then say nothing."""
    wire = target.wire
    with Swarm(target.address) as swarm:
        swarm.join((wire.send(number) for number in range(10)), wire.refusal)
        before = memory(target.process)
        meter = Meter(target.process)
        swarm.join((wire.read(number) for number in range(clients)), wire.refusal, lambda _: progress(1))
        result = _result("idle", clients, meter.stop())
        result.bytes_each = (memory(target.process) - before) / clients
        return result
