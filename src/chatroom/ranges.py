"""Numbers on the command line: whoever types something else is told what is allowed.

Click's own types only say so for numbers; to a word they answer that it is "not a valid integer range".
"""

from typing import Any

import click


class WholeNumber(click.IntRange):
    """A whole number, bounded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number. Raises `click.BadParameter`."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"a whole number {_bounds(self)} is allowed, not {value!r}", param, ctx)


class Number(click.FloatRange):
    """A number, bounded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number. Raises `click.BadParameter`."""
        try:
            return float(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"a number {_bounds(self)} is allowed, not {value!r}", param, ctx)


def _bounds(kind: WholeNumber | Number) -> str:
    return f"from {kind.min} up" if kind.max is None else f"from {kind.min} to {kind.max}"
