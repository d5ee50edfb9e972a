"""Measures chatroom beside its peers, in turn, in one run, and writes docs/performance.md: `make bench`."""

import os
import signal
import sys
from pathlib import Path

import click

import page
from chatroom.bench import modes
from chatroom.bench.place import divide, pin
from chatroom.bench.report import grid, table
from chatroom.bench.target import Until
from compare import HEAD, Results, measure, row
from peers.install import install
from peers.servers import OURS, peers, started
from workloads import READERS, SIZE, WORKLOADS, quiet

ROOT = Path(__file__).parent.parent


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each run.")
@click.option("--quick", is_flag=True, help="One short round, and no plots; docs/performance.md is left alone.")
def main(rounds: int, seconds: float, *, quick: bool) -> None:
    """Measure all servers in turn."""
    if quick:
        rounds, seconds = 1, 0.5
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    every = peers(install(ROOT / ".venv-bench"))
    compared = [peer for peer in every if peer.is_installed()]
    for peer in compared:
        print(f"{peer.name} {peer.version()}: {peer.settings}")
    for peer in every:
        if peer not in compared:
            print(f"{peer.name} is left out: {peer.program} is not installed")
    places = divide(os.sched_getaffinity(0))
    pin(places.of_generator(0))
    if places.server is None:
        print("there is only one processor, which server and generator share: trust no figure")
    results: dict[str, Results] = {}
    rows = []
    for workload in WORKLOADS:
        print(workload.name, flush=True)
        results[workload.name] = measure(workload, compared, rounds, seconds, places)
        rows.append(row(workload, results[workload.name]))
    print(table(HEAD, rows))
    lossy = [name for name, found in results.items() if len(found.get(OURS, [])) < rounds]
    if lossy:
        raise click.ClickException(f"chatroom has no figures for {', '.join(lossy)}; nothing is written")
    if quick:
        return
    few = READERS[10]
    print(few.name, flush=True)
    results[few.name] = measure(few, compared, 1, seconds, places)
    print("readers and messages in flight", flush=True)
    with started(every[0], places) as target:
        curve = list(
            modes.curve(
                target,
                readers=[10, 100, 1000, 10_000],
                in_flight=[1, 4, 16, 64, 256],
                size=SIZE,
                until=Until(seconds=seconds / 2),
                progress=quiet,
            )
        )
    print(grid(curve))
    page.write(rows, results, curve, compared, f"{rounds} rounds of {seconds:g} s")


if __name__ == "__main__":
    main()
