"""The command line's mistakes: each is one line that says what is wrong, and status 2.

Click itself prints the usage, an empty line and then the mistake. Its number types name the allowed range only
if they are given a number; of anything else they say that it is "not a valid integer range".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from chatroom import __version__


class WrongUsage(click.ClickException):
    """A mistake on the command line, in one line."""

    exit_code = click.UsageError.exit_code


class Command(click.Command):
    """A command that reports each mistake in one line, and has -h, --help and --version.

    `client.py` and `server.py` start theirs without the group.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take the same as `click.Command`."""
        super().__init__(*arguments, **options)
        self.context_settings.setdefault("help_option_names", ["-h", "--help"])
        click.version_option(__version__)(self)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the arguments. Raises `WrongUsage`."""
        with _in_one_line():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises `WrongUsage`."""
        with _in_one_line():
            return super().invoke(ctx)


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # nothing was asked for: the help is the answer
        raise
    except click.UsageError as error:
        raise WrongUsage(" ".join(error.format_message().split())) from None


class WholeNumber(click.IntRange):
    """A whole number, bounded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number. Raises `click.BadParameter`."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"must be a whole number {_bounds(self)}, not {value!r}", param, ctx)


class Number(click.FloatRange):
    """A number, bounded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number. Raises `click.BadParameter`."""
        try:
            return float(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"must be a number {_bounds(self)}, not {value!r}", param, ctx)


def _bounds(kind: WholeNumber | Number) -> str:
    return f"of at least {kind.min}" if kind.max is None else f"from {kind.min} to {kind.max}"
