"""Curves on logarithmic axes, as an SVG document."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from chatroom.bench.report import short
from chatroom.bench.target import Result

_COLOURS = ["#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989"]
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 720, 420, 70, 50, 40, 150

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Points, of which each coordinate is more than 0, by the curve's name."""


def svg(title: str, x_title: str, y_title: str, curves: Curves) -> str:
    """Return a plot of the curves."""
    points = [point for curve in curves.values() for point in curve]
    across = _Axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" style="font-size: 15px">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}">{escape(x_title)}</text>',
        f'<text transform="translate(16 {_HEIGHT - _BOTTOM}) rotate(-90)">{escape(y_title)}</text>',
    ]
    for tick in across.ticks:
        x = across.at(tick)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#d0d7de"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{short(tick)}</text>'
        )
    for tick in up.ticks:
        y = up.at(tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(across.at(x), up.at(y)) for x, y in sorted(curve)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
        line = _TOP + 14 + 18 * number
        parts.append(
            f'<rect x="{_WIDTH - _RIGHT + 12}" y="{line - 9}" width="10" height="10" fill="{colour}"/>'
        )
        parts.append(f'<text x="{_WIDTH - _RIGHT + 28}" y="{line}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def plot_curve(results: Sequence[Result], title: str) -> str:
    """Return what a delivery costs by readers, a curve for each number of messages in flight."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        name = f"{result.given['in_flight']} in flight"
        curves.setdefault(name, []).append((result.given["readers"], result.per_cpu_second))
    return svg(title, "readers", "deliveries per second of server CPU", curves)


def plot_latency(distributions: Curves, title: str) -> str:
    """Return how late messages were, by how rare that is."""
    return svg(
        title, "one delivery in so many took longer", "milliseconds from the intended sending", distributions
    )


class _Axis:
    """Places on an axis from `start` to `end` in pixels, with a tick at each power of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        first = math.floor(math.log10(min(values)) + 1e-9)
        last = max(first + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self.ticks = [10.0**power for power in range(first, last + 1)]
        self._first, self._last, self._start, self._end = first, last, start, end

    def at(self, value: float) -> float:
        """Return the place of a value."""
        part = (math.log10(value) - self._first) / (self._last - self._first)
        return self._start + part * (self._end - self._start)
