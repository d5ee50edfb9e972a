"""Figures as people read them."""

from collections.abc import Sequence

from chatroom.bench.stall import RATIO, UNNOTICED, Stall
from chatroom.bench.target import IdleResult, LatencyResult, Result

SATURATED = 0.9
"""A generator that uses more than this part of its processor holds the server back."""

DISTURBED = 0.05
"""Other processes that use more than this part of the machine make figures worse, and uneven."""


def short(value: float) -> str:
    """Return a figure with three digits that count, and its unit of a thousand."""
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit * 0.9995:  # what rounds to a thousand is one
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as a table in Markdown, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join(
        [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
    )


def figures(result: Result) -> str:
    """Return the figures of one run as a table, and what must be known to read them."""
    counted = "joins" if result.mode in {"join", "idle"} else "deliveries"
    several = f", the busiest of {result.generators}" if result.generators > 1 else ""
    rows = [
        (counted, f"{result.count:,}"),
        ("per second of server CPU", short(result.per_cpu_second)),
        ("per second", short(result.per_second)),
        ("server CPU used", f"{result.server_cpu / result.seconds:.0%}"),
        ("generator CPU used", f"{result.generator_load:.0%}{several}"),
    ]
    if isinstance(result, LatencyResult):
        rows += [
            (f"latency {name}", f"{value:.2f} ms")
            for name, value in [("p50", result.p50), ("p99", result.p99), ("p99.9", result.p999)]
        ]
    if isinstance(result, IdleResult):
        rows.append(("memory per connection", f"{result.bytes_each / 1024:.2f} KiB"))
    return "\n".join([table([result.mode, ""], rows), *notes([result])])


def notes(results: Sequence[Result]) -> list[str]:
    """Return what must be known to read these figures."""
    found = []
    if any(result.generator_load > SATURATED for result in results):
        found.append("The generator was saturated: per second, the server can do more than this.")
    if any(result.shares_processor for result in results):
        found.append(
            "Server and generator may have shared a processor: trust no figure (taskset moves the server)."
        )
    return found + _disturbed(results)


def _disturbed(results: Sequence[Result | Stall]) -> list[str]:
    """Return what must be said of other processes."""
    load = max((result.others_load for result in results), default=0.0)
    if load <= DISTURBED:
        return []
    return [f"Other processes used up to {load:.0%} of the machine meanwhile, which distorts these figures."]


def grid(results: Sequence[Result]) -> str:
    """Return a table of what each number of readers and of messages in flight gave."""
    cells = {(result.given["readers"], result.given["in_flight"]): result for result in results}
    readers, windows = (sorted({key[at] for key in cells}) for at in (0, 1))
    head = ["deliveries per CPU-s", *(f"{window:,} in flight" for window in windows)]
    rows = [
        [f"{many:,} readers", *(short(cells[many, window].per_cpu_second) for window in windows)]
        for many in readers
    ]
    return "\n".join([table(head, rows), *notes(results)])


def waits(found: Sequence[Stall]) -> str:
    """Return a table of the bystander's longest ping for each input, the longest first, and what disturbed."""
    rows = [
        [
            one.input,
            one.sender,
            f"{one.longest_ms:.2f}",
            f"{one.ordinary_ms:.2f}",
            "kept" if one.is_bounded else "**exceeded**",
        ]
        for one in sorted(found, key=lambda one: -one.longest_ms)
    ]
    head = [
        "64 KiB of",
        "from",
        "longest ping, ms",
        "ordinary messages, ms",
        f"limit: {RATIO:g} times ordinary, or {UNNOTICED:g} ms",
    ]
    return "\n".join([table(head, rows), *_disturbed(found)])
