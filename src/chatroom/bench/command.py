"""`chatroom bench`: what a server delivers here, measured on a server of its own or on one that runs."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from chatroom.bench import modes
from chatroom.bench.modes import Progress, Result, Target
from chatroom.bench.report import SATURATED, short, svg, table
from chatroom.bench.swarm import pin
from chatroom.bench.wire import BenchError, ChatroomWire

Given = tuple[str, int | None, int | None, bool]
"""Host, port and process of a server that runs; whether to print JSON."""

Run = Callable[[Target, Progress], Result]

_READERS = [10, 100, 1000, 10_000]
_IN_FLIGHT = [1, 4, 16, 64, 256]

_positive = click.IntRange(min=1)


@click.group()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of a server that runs.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Its port. Without it, a server is started for the run."
)
@click.option("--pid", type=_positive, help="Its process, to measure what it uses.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def bench(context: click.Context, host: str, port: int | None, pid: int | None, *, as_json: bool) -> None:
    """Measure what a server delivers, and what that costs it.

    A run in which a message was lost, came twice or out of order is refused. Server and generator are put on
    processors of their own, where there are two.
    """
    if port is not None and pid is None:
        raise click.UsageError("--port needs --pid: the server's use of its processor is what is measured")
    context.obj = (host, port, pid, as_json)


_size = click.option(
    "--size", type=click.IntRange(20, 10_000), default=100, show_default=True, help="Characters."
)
_seconds = click.option("--seconds", type=click.FloatRange(0.1, 3600), default=3.0, show_default=True)
_readers = click.option("--readers", type=_positive, default=100, show_default=True)
_plot = click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG plot here.")


@bench.command("fan-out")
@_readers
@click.option("--senders", type=_positive, default=1, show_default=True)
@click.option("--in-flight", type=_positive, default=64, show_default=True, help="Messages per sender.")
@_size
@_seconds
@click.pass_obj
def fan_out(  # noqa: PLR0917 - click passes them by name
    given: Given, readers: int, senders: int, in_flight: int, size: int, seconds: float
) -> None:
    """Broadcast to many readers."""
    _measure(
        given,
        seconds * (1 + modes.WARM_UP),
        lambda target, progress: modes.fan_out(
            target,
            readers=readers,
            senders=senders,
            in_flight=in_flight,
            size=size,
            seconds=seconds,
            progress=progress,
        ),
    )


@bench.command()
@click.option("--pairs", type=_positive, default=50, show_default=True)
@click.option("--in-flight", type=_positive, default=16, show_default=True, help="Messages per pair.")
@_size
@_seconds
@click.pass_obj
def direct(given: Given, pairs: int, in_flight: int, size: int, seconds: float) -> None:
    """Write from one to another, in many pairs."""
    _measure(
        given,
        seconds * (1 + modes.WARM_UP),
        lambda target, progress: modes.direct(
            target, pairs=pairs, in_flight=in_flight, size=size, seconds=seconds, progress=progress
        ),
    )


@bench.command()
@_readers
@click.option(
    "--rate", type=click.FloatRange(min=0.1), default=50.0, show_default=True, help="Messages a second."
)
@_size
@_seconds
@click.pass_obj
def latency(given: Given, readers: int, rate: float, size: int, seconds: float) -> None:
    """Broadcast at a fixed rate, and time the deliveries from when each message was due."""
    _measure(
        given,
        seconds,
        lambda target, progress: modes.latency(
            target, readers=readers, rate=rate, size=size, seconds=seconds, progress=progress
        ),
    )


@bench.command()
@click.option("--clients", type=_positive, default=1000, show_default=True)
@click.pass_obj
def join(given: Given, clients: int) -> None:
    """Connect and say hello, a hundred at a time."""
    _measure(given, clients, lambda target, progress: modes.join(target, clients=clients, progress=progress))


@bench.command()
@click.option("--clients", type=_positive, default=1000, show_default=True)
@click.pass_obj
def idle(given: Given, clients: int) -> None:
    """Measure the memory of connections that say nothing."""
    _measure(given, clients, lambda target, progress: modes.idle(target, clients=clients, progress=progress))


@bench.command()
@click.option("--most-readers", type=_positive, default=10_000, show_default=True)
@_size
@_seconds
@_plot
@click.pass_obj
def curve(given: Given, most_readers: int, size: int, seconds: float, plot: Path | None) -> None:
    """Show how the cost of a delivery falls with readers (10 … 10,000) and messages in flight (1 … 256)."""
    grid = [(readers, in_flight) for in_flight in _IN_FLIGHT for readers in _READERS if readers <= most_readers]
    results: dict[tuple[int, int], Result] = {}

    def run(target: Target, progress: Progress) -> Result:
        for readers, in_flight in grid:
            results[readers, in_flight] = modes.fan_out(
                target,
                readers=readers,
                senders=1,
                in_flight=in_flight,
                size=size,
                seconds=seconds,
                progress=progress,
            )
        return results[grid[-1]]

    with _target(given) as target, _bar(len(grid) * seconds * (1 + modes.WARM_UP)) as progress:
        _guarded(run, target, progress)
    if given[3]:
        rows = [
            {"readers": readers, "in_flight": in_flight, **msgspec.to_builtins(result)}
            for (readers, in_flight), result in results.items()
        ]
        print(json.dumps(rows, indent=2))
    else:
        head = ["deliveries / CPU-s", *(f"{count:,} in flight" for count in _IN_FLIGHT)]
        lines = [
            [f"{readers:,} readers", *(short(results[readers, count].per_cpu_second) for count in _IN_FLIGHT)]
            for readers in _READERS
            if readers <= most_readers
        ]
        print(table(head, lines))
    if plot:
        curves = {
            f"{count} in flight": [
                (float(readers), result.per_cpu_second)
                for (readers, in_flight), result in results.items()
                if in_flight == count
            ]
            for count in _IN_FLIGHT
        }
        plot.write_text(
            svg("Broadcast from one sender", "readers", "deliveries per second of server CPU", curves)
        )


def _measure(given: Given, length: float, run: Run) -> None:
    """Run, and print the figures."""
    with _target(given) as target, _bar(length) as progress:
        result = _guarded(run, target, progress)
    if given[3]:
        print(json.dumps(msgspec.to_builtins(result), indent=2))
        return
    rows = [
        ("deliveries", f"{result.deliveries:,}"),
        ("per second of server CPU", short(result.per_cpu_second)),
        ("per second", short(result.per_second)),
        ("server CPU used", f"{result.server_cpu / result.seconds:.0%}"),
        ("generator CPU used", f"{result.generator_load:.0%}"),
    ]
    if result.p99:
        rows += [
            (f"latency {name}", f"{value:.2f} ms")
            for name, value in [("p50", result.p50), ("p99", result.p99), ("p99.9", result.p999)]
        ]
    if result.bytes_each:
        rows.append(("memory per connection", f"{result.bytes_each / 1024:.2f} KiB"))
    print(table([result.mode, ""], rows))
    if result.generator_load > SATURATED:
        print("The generator was saturated: per second, the server can do more than this.")


def _guarded(run: Run, target: Target, progress: Progress) -> Result:
    try:
        return run(target, progress)
    except (BenchError, OSError) as error:
        raise click.ClickException(f"no figures: {error}") from error


@contextmanager
def _bar(length: float) -> Iterator[Progress]:
    """Show a progress bar, on a terminal."""
    steps = 1000
    done = 0.0
    with click.progressbar(length=steps, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(amount: float) -> None:
            nonlocal done
            before, done = int(done), min(done + amount / length * steps, steps)
            bar.update(int(done) - before)

        yield progress


@contextmanager
def _target(given: Given) -> Iterator[Target]:
    """Give the server that was named, or one of our own on the first processor; we take the last."""
    host, port, process, _ = given
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if len(processors) > 1:
        pin(processors[-1])
    if port is not None and process is not None:
        yield Target(wire=ChatroomWire(), address=(host, port), process=process)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = processors[0] if len(processors) > 1 else None
    server = subprocess.Popen(
        [sys.executable, "-m", "chatroom", "serve", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: pin(own),  # noqa: PLW1509 - no threads here
    )
    try:
        yield Target(wire=ChatroomWire(), address=("127.0.0.1", port), process=server.pid)
    finally:
        server.terminate()
        server.wait(10)
