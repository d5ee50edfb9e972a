"""`chatroom bench`: what a server delivers here, measured on a server of its own or on one that runs."""

import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from msgspec import Struct

from chatroom.bench import modes
from chatroom.bench.place import divide, pin
from chatroom.bench.plot import plot_curve, plot_latency
from chatroom.bench.process import check_listens, free_port, running
from chatroom.bench.report import figures, grid, waits
from chatroom.bench.stall import OPTIONS, Stall, duration
from chatroom.bench.target import Progress, Result, Target, Until
from chatroom.bench.wire import BenchError, ChatroomWire
from chatroom.protocol.messages import FEATURES
from chatroom.usage import Group, Number, WholeNumber

_READERS = [10, 100, 1000, 10_000]
_IN_FLIGHT = [1, 4, 16, 64, 256]

_SHORT = Until(seconds=0.5)
"""For each mode, where all of them are run."""
_SILENCE = 10.0
"""Seconds between lines that say how far a run is, where there is no terminal."""
_PROCESSORS = os.sched_getaffinity(0) if sys.platform == "linux" else set()
"""Those that we may use, before we are pinned to one of them."""

Found = TypeVar("Found", bound=Result)

_positive = WholeNumber(min=1)


class Given(Struct, frozen=True):
    """What every mode is told."""

    host: str
    port: int | None
    """Of a server that runs; without it, one is started."""
    pid: int | None
    features: tuple[str, ...]
    """What all ask to be sent beyond the base protocol."""
    data: Path | None
    """Where the server that is started keeps messages."""
    as_json: bool


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Group, invoke_without_command=True)
@_json
@click.pass_context
def bench(context: click.Context, *, as_json: bool) -> None:
    """Measure a server.

    What it delivers, and at what cost. Without a command, a short round of everything is run.

    A run in which a message is lost, duplicated or reordered has no figures. Server and load generator run on
    different processors, if there are two. The room is flooded: never measure a server that people use.
    """
    if sys.platform != "linux":
        raise click.ClickException("chatroom bench needs Linux: it relies on epoll and /proc")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    if context.invoked_subcommand is None:
        _short_round(as_json=as_json)
    elif as_json:
        raise click.UsageError(f"put --json after {context.invoked_subcommand}")


def _mode(run: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every mode has, and hand them over as one."""

    @functools.wraps(run)
    def told(
        host: str,
        port: int | None,
        pid: int | None,
        features: tuple[str, ...],
        data: Path | None,
        *,
        as_json: bool,
        **options: Any,
    ) -> None:
        if port is not None and data is not None:
            raise click.UsageError("--data is for the server that the command starts, without --port")
        if port is not None and pid is None:
            raise click.UsageError("--port needs --pid, because the server's CPU time is measured")
        if port is None and pid is not None:
            raise click.UsageError("--pid needs --port: without it, the command starts a server of its own")
        run(Given(host, port, pid, features, data, as_json), **options)

    for option in (
        _json,
        click.option(
            "--data",
            type=click.Path(dir_okay=False, path_type=Path),
            help="File in which the server that is started keeps messages. By default, it keeps none.",
        ),
        click.option(
            "--feature",
            "features",
            multiple=True,
            type=click.Choice(sorted(FEATURES)),
            help="Feature that every client asks for; may be repeated.",
        ),
        click.option("--pid", type=_positive, help="Process that listens on --port, to be measured."),
        click.option(
            "--port",
            type=WholeNumber(1, 65535),
            help="Port of a running server that nobody uses: it is flooded. Needs --pid. By default, the "
            "command starts a server of its own.",
        ),
        click.option("--host", default="127.0.0.1", show_default=True, help="Address of the running server."),
    ):
        told = option(told)
    return told


def _svg(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Refuse, before anything is measured, what cannot be written then."""
    if path and path.suffix != ".svg":
        raise click.BadParameter("plots are SVG files: the name must end in .svg")
    if path and not os.access(path.parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"the folder {path.parent} is not writable")
    return path


_size = click.option(
    "--size", type=WholeNumber(20, 10_000), default=100, show_default=True, help="Characters per message."
)
_seconds = click.option(
    "--seconds", type=Number(0.1, 3600), default=3.0, show_default=True, help="Length of the run."
)
_messages = click.option(
    "--messages",
    type=WholeNumber(min=0),
    default=0,
    help="Send so many messages instead, however long it takes.",
)
_readers = click.option("--readers", type=_positive, default=100, show_default=True)
_generators = click.option(
    "--generators", type=_positive, default=1, show_default=True, help="Processes that generate the load."
)
_plot = click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_svg,
    help="SVG file to write a plot to.",
)


@bench.command("fan-out")
@_readers
@click.option("--senders", type=WholeNumber(1, 10_000), default=1, show_default=True)
@click.option("--in-flight", type=_positive, default=64, show_default=True, help="Messages per sender.")
@_size
@_seconds
@_messages
@_generators
@_mode
def fan_out(given: Given, *, seconds: float, messages: int, **options: int) -> None:
    """Broadcast to many readers."""
    until = Until(seconds=seconds, messages=messages)
    _measure(given, lambda target, progress: modes.fan_out(target, until=until, progress=progress, **options))


@bench.command()
@click.option("--pairs", type=_positive, default=50, show_default=True)
@click.option("--in-flight", type=_positive, default=16, show_default=True, help="Messages per pair.")
@_size
@_seconds
@_messages
@_mode
def direct(given: Given, *, seconds: float, messages: int, **options: int) -> None:
    """Send direct messages, in many pairs at once."""
    until = Until(seconds=seconds, messages=messages)
    _measure(given, lambda target, progress: modes.direct(target, until=until, progress=progress, **options))


@bench.command()
@click.option("--clients", type=_positive, default=100, show_default=True)
@click.option("--in-flight", type=_positive, default=8, show_default=True, help="Messages per client.")
@_size
@_seconds
@_messages
@_mode
def confirm(given: Given, *, seconds: float, messages: int, **options: int) -> None:
    """Send messages that the server confirms once it has stored them (see --data)."""
    until = Until(seconds=seconds, messages=messages)
    _measure(given, lambda target, progress: modes.confirm(target, until=until, progress=progress, **options))


@bench.command()
@_readers
@click.option("--rate", type=Number(min=0.1), default=50.0, show_default=True, help="Messages per second.")
@_size
@_seconds
@_plot
@_mode
def latency(given: Given, *, rate: float, seconds: float, plot: Path | None, **options: int) -> None:
    """Broadcast at a fixed rate and measure the latency.

    It counts from the time at which each message was due.
    """
    found = _measure(
        given,
        lambda target, progress: modes.latency(
            target, rate=rate, seconds=seconds, progress=progress, **options
        ),
    )
    if plot:
        title = f"{rate:g} broadcasts a second to {options['readers']:,}"
        _write_plot(plot, plot_latency({"chatroom": found.distribution}, title))


@bench.command()
@click.option("--clients", type=_positive, default=1000, show_default=True)
@_mode
def join(given: Given, *, clients: int) -> None:
    """Connect and log in, a hundred clients at a time."""
    _measure(given, lambda target, progress: modes.join(target, clients=clients, progress=progress))


@bench.command()
@click.option("--clients", type=_positive, default=1000, show_default=True)
@_mode
def idle(given: Given, *, clients: int) -> None:
    """Measure the memory of idle connections."""
    _measure(given, lambda target, progress: modes.idle(target, clients=clients, progress=progress))


@bench.command()
@click.option("--most-readers", type=WholeNumber(min=10), default=10_000, show_default=True)
@_size
@click.option("--seconds", type=Number(0.1, 3600), default=1.0, show_default=True, help="Length of each run.")
@_generators
@_plot
@_mode
def curve(given: Given, *, most_readers: int, seconds: float, plot: Path | None, **options: int) -> None:
    """Measure throughput by readers and messages in flight."""
    readers = [count for count in _READERS if count <= most_readers]
    until = Until(seconds=seconds)
    with _refusing(), _target(given) as target, _bar() as progress:
        found = list(
            modes.curve(
                target, readers=readers, in_flight=_IN_FLIGHT, until=until, progress=progress, **options
            )
        )
    _show(_as_json(found) if given.as_json else grid(found))
    if plot:
        _write_plot(plot, plot_curve(found, "Broadcast from one sender"))


@bench.command()
@click.option("--rounds", type=_positive, default=20, show_default=True)
@_json
def stall(*, rounds: int, as_json: bool) -> None:
    """Measure how long the worst known inputs delay another user.

    They come from clients that have not logged in, from users, and from users who are exempt from the rate
    limits. A server is started for the run.
    """
    _say(f"{rounds} rounds take about {duration(rounds):.0f} s")
    with _refusing(), _own_server(*OPTIONS) as target, _bar() as progress:
        found = modes.stall(target, rounds=rounds, progress=progress)
    _show(_as_json(found) if as_json else waits(found))


_ROUND: list[Callable[[Target, Progress], list[Result]]] = [
    lambda target, progress: [
        modes.fan_out(target, readers=100, senders=1, in_flight=64, size=100, until=_SHORT, progress=progress)
    ],
    lambda target, progress: [
        modes.direct(target, pairs=50, in_flight=16, size=100, until=_SHORT, progress=progress)
    ],
    lambda target, progress: [
        modes.latency(target, readers=100, rate=50, size=100, seconds=_SHORT.seconds, progress=progress)
    ],
    lambda target, progress: [modes.join(target, clients=500, progress=progress)],
    lambda target, progress: [modes.idle(target, clients=500, progress=progress)],
    lambda target, progress: list(
        modes.curve(
            target,
            readers=_READERS[:2],
            in_flight=_IN_FLIGHT,
            size=100,
            until=_SHORT.part(0.2),
            progress=progress,
        )
    ),
]
"""Every mode but `stall`, for about a second each."""


def _short_round(*, as_json: bool) -> None:
    """Run every mode for a short time, each on a server of its own, and print the figures of all."""
    results: list[list[Result]] = []
    parts = len(_ROUND) + 1
    with _refusing(), _bar() as progress:
        for run in _ROUND:
            with _own_server() as target:
                results.append(run(target, lambda done: progress((len(results) + done) / parts)))
        with _own_server(*OPTIONS) as target:
            stalled = modes.stall(target, rounds=1, progress=lambda done: progress((parts - 1 + done) / parts))
    if as_json:
        _show(_as_json([*(one for found in results for one in found), *stalled]))
    else:
        *single, curve = results
        _show("\n\n".join([*(figures(one) for [one] in single), grid(curve), waits(stalled)]))


def _measure(given: Given, run: Callable[[Target, Progress], Found]) -> Found:
    """Run, print the figures, and return them."""
    with _refusing(), _target(given) as target, _bar() as progress:
        result = run(target, progress)
    _show(_as_json(result) if given.as_json else figures(result))
    return result


def _as_json(found: Result | Sequence[Result | Stall]) -> str:
    return json.dumps(msgspec.to_builtins(found), indent=2)


def _show(text: str) -> None:
    """Print figures; say in one line if they cannot be printed, and end with status 1."""
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = None  # whose buffer Python would else try to write once more, at its end
        raise click.ClickException(f"cannot print the figures: {error.strerror}") from error


def _say(text: str) -> None:
    """Say how far a run is: where that cannot be said, the run goes on all the same."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def _write_plot(path: Path, plot: str) -> None:
    try:
        path.write_text(plot)
    except OSError as error:
        raise click.ClickException(f"--plot {path}: {error.strerror}") from error


@contextmanager
def _refusing() -> Iterator[None]:
    """Say in one line why there are no figures, and end with status 1."""
    try:
        yield
    except (BenchError, OSError) as error:
        raise click.ClickException(f"no figures: {error}") from error


@contextmanager
def _bar() -> Iterator[Progress]:
    """Show a progress bar, full when all is done; where there is no terminal, a line now and then."""
    is_terminal = sys.stderr.isatty()
    said = time.monotonic()
    with click.progressbar(length=1000, file=sys.stderr, hidden=not is_terminal) as bar:

        def progress(done: float) -> None:
            nonlocal said
            if not is_terminal and time.monotonic() - said >= _SILENCE:
                said = time.monotonic()
                _say(f"{done:.0%} done")
            bar.update(min(1000, int(done * 1000)) - bar.pos)

        yield progress
        progress(1.0)


@contextmanager
def _target(given: Given) -> Iterator[Target]:
    """Give the server that was named, or one of our own; we go to another processor."""
    if given.port is None or given.pid is None:
        options = () if given.data is None else ("--data", str(given.data))
        with _own_server(*options, features=given.features) as target:
            yield target
        return
    check_listens(given.pid, given.port)
    places = divide(_PROCESSORS)
    pin(places.of_generator(0))
    wire = ChatroomWire(given.features)
    yield Target(wire=wire, address=(given.host, given.port), process=given.pid, places=places)


@contextmanager
def _own_server(*options: str, features: tuple[str, ...] = ()) -> Iterator[Target]:
    """Start a server for the run; we go to another processor."""
    places = divide(_PROCESSORS)
    pin(places.of_generator(0))
    port = free_port()
    command = [sys.executable, "-m", "chatroom", "serve", str(port), *options]
    with running(command, port, places.server) as process:
        wire = ChatroomWire(features)
        yield Target(wire=wire, address=("127.0.0.1", port), process=process, places=places)
