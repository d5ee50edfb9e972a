"""The measured part of docs/performance.md, and its plots."""

import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path

from chatroom.bench.plot import plot_curve, plot_latency, svg
from chatroom.bench.report import DISTURBED, grid, table
from chatroom.bench.target import LatencyResult, Result
from compare import HEAD, Results
from peers.servers import Peer
from workloads import LATENCY, READERS, SIZE

DOCS = Path(__file__).parent.parent / "docs"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write(
    rows: Sequence[Sequence[str]],
    results: dict[str, Results],
    curve: Sequence[Result],
    compared: Sequence[Peer],
    how: str,
) -> None:
    """Put the figures between the page's marks, and leave what is written by hand."""
    plots = {
        "readers": _plot_readers(results),
        "latency": _plot_latency(results[LATENCY.name]),
        "curve": plot_curve(curve, f"chatroom, 1 sender, {SIZE} characters"),
    }
    (DOCS / "plots").mkdir(exist_ok=True)
    for name, plot in plots.items():
        (DOCS / "plots" / f"{name}.svg").write_text(plot)
    runs = [result for of in results.values() for found in of.values() for result in found]
    disturbed = sum(result.others_load > DISTURBED for result in runs)
    where = _where(how)
    if disturbed:
        where += f" {disturbed} of {len(runs)} runs were disturbed by other processes."
    text = "\n\n".join(
        [where, table(HEAD, rows), _LEGEND, _settings(compared), *_PLOTS[:2], grid(curve), *_PLOTS[2:]]
    )
    page = (DOCS / "performance.md").read_text()
    if _BEGIN not in page or _END not in page:
        raise ValueError(f"docs/performance.md has no {_BEGIN} … {_END}")
    page = re.sub(f"{_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n{text}\n{_END}", page, flags=re.DOTALL)
    (DOCS / "performance.md").write_text(page)


_LEGEND = (
    f"Messages have {SIZE} characters. Figures without a unit are deliveries per second of the server's CPU "
    "time. †: the load generator was saturated; the server can do more per second.\n"
    "InspIRCd announces each join to the whole channel; the others, chatroom included, do not."
)
_PLOTS = [
    "![deliveries per second of server CPU, by readers](plots/readers.svg)",
    "![latency, by how rare it is](plots/latency.svg)",
    "![deliveries per second of server CPU, by readers and messages in flight](plots/curve.svg)",
]


def _where(how: str) -> str:
    return (
        f"Measured on {time.strftime('%Y-%m-%d')} with Python {platform.python_version()} on "
        f"{platform.system()}, {platform.machine()}: the server on one processor, the generator on another. "
        f"{how}, in each of which the servers took turns; median (min–max) and median ratio of the rounds."
    )


def _settings(compared: Sequence[Peer]) -> str:
    return "\n".join(f"- **{peer.name}** {peer.version()}: {peer.settings}" for peer in compared)


def _plot_readers(results: dict[str, Results]) -> str:
    """Return what each server delivers by the number of readers, the middle one of its rounds."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for readers, workload in READERS.items():
        for name, found in results[workload.name].items():
            middle = sorted(map(workload.figure, found))[len(found) // 2]
            curves.setdefault(name, []).append((readers, middle))
    title = f"Broadcast, 1 sender, 64 in flight, {SIZE} characters"
    return svg(title, "readers", "deliveries per second of server CPU", curves)


def _plot_latency(results: Results) -> str:
    """Return how late messages were, in each server's middle round."""
    middle = {name: sorted(found, key=LATENCY.figure)[len(found) // 2] for name, found in results.items()}
    distributions = {
        name: result.distribution for name, result in middle.items() if isinstance(result, LatencyResult)
    }
    return plot_latency(distributions, LATENCY.name)
