"""Measures each server in turn, and sets ours beside the best peer."""

import statistics
from collections.abc import Sequence

from chatroom.bench.place import Places
from chatroom.bench.report import DISTURBED, SATURATED, short
from chatroom.bench.target import Result
from chatroom.bench.wire import BenchError
from peers.servers import OURS, Peer, started
from workloads import Workload

Results = dict[str, list[Result]]
"""Of each server, by name, one for each round."""

HEAD = ["work", "chatroom", "best peer", "others", "ratio", "aim", ""]


def measure(
    workload: Workload, compared: Sequence[Peer], rounds: int, seconds: float, places: Places
) -> Results:
    """Run the workload on each server in turn, and again, `rounds` times.

    A round in which a server loses something says so, and has no figure for it.
    """
    results: Results = {peer.name: [] for peer in compared}
    for number in range(rounds):
        for peer in compared:
            try:
                with started(peer, places) as target:
                    result = workload.run(target, seconds)
            except (BenchError, OSError) as error:
                print(f"  {peer.name}: no figures: {error}", flush=True)
                continue
            if result.shares_processor and places.generators:
                raise BenchError(f"{peer.name} ran on the generator's processor")
            results[peer.name].append(result)
            print(f"  round {number + 1}, {peer.name}: {_short(workload, result)}", flush=True)
    return {name: found for name, found in results.items() if found}


def row(workload: Workload, results: Results) -> list[str]:
    """Return the line of the table: ours, the best peer's, and the median of the rounds' ratios."""
    medians = {name: _middle(workload, found) for name, found in results.items()}
    others = [name for name in results if name != OURS]
    if OURS not in results or not others:
        return [workload.name, *["no figures"] * 2, "", "", "", ""]
    best = (min if workload.less_is_better else max)(others, key=medians.__getitem__)
    pairs = zip(results[OURS], results[best], strict=False)
    ratio = statistics.median(workload.figure(ours) / workload.figure(theirs) for ours, theirs in pairs)
    return [
        workload.name,
        _shown(workload, results[OURS]),
        f"{best} {_shown(workload, results[best])}",
        ", ".join(f"{name} {short(medians[name])}{_dagger(results[name])}" for name in others if name != best),
        f"{ratio:.2f}",
        workload.aim_text(),
        "reached" if workload.is_reached(ratio, medians[OURS]) else "**missed**",
    ]


def _middle(workload: Workload, results: Sequence[Result]) -> float:
    return statistics.median(map(workload.figure, results))


def _shown(workload: Workload, results: Sequence[Result]) -> str:
    """Return the median, and from where to where the rounds went."""
    found = [workload.figure(result) for result in results]
    spread = f"({short(min(found))}–{short(max(found))})"
    return f"**{short(_middle(workload, results))}{workload.unit}** {spread}{_dagger(results)}"


def _dagger(results: Sequence[Result]) -> str:
    """Return the mark of those that the generator held back."""
    return " †" if any(result.generator_load > SATURATED for result in results) else ""


def _short(workload: Workload, result: Result) -> str:
    figure = f"{short(workload.figure(result))}{workload.unit}"
    server = result.server_cpu / result.seconds
    others = f", others {result.others_load:.0%}" if result.others_load > DISTURBED else ""
    return f"{figure}; server {server:.0%}, generator {result.generator_load:.0%}{others}"
