"""The command line: what every command answers, however it is started."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from chatroom import __version__
from chatroom.cli import main
from conftest import run


def commands(command: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    """Return the words that each command is started with, behind `chatroom`."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from commands(found, *words, name)


@pytest.mark.parametrize("words", list(commands(main)), ids=" ".join)
def test_help_and_version(words: tuple[str, ...]) -> None:
    """Every command knows -h, --help and --version."""
    short, long, version = (
        CliRunner().invoke(main, [*words, option]) for option in ("-h", "--help", "--version")
    )

    assert short.stdout.startswith("Usage: ")
    assert short.stdout == long.stdout
    assert version.stdout.endswith(f", version {__version__}\n")
    assert short.exit_code == long.exit_code == version.exit_code == 0


@pytest.mark.parametrize("program", ["client.py", "server.py"])
def test_help_and_version_of_a_program(program: str) -> None:
    """The programs of a checkout know them too."""
    help_, version = run(program, "-h"), run(program, "--version")

    assert help_.stdout.startswith(f"Usage: {program} [OPTIONS]")
    assert version.stdout == f"{program}, version {__version__}\n"
    assert help_.returncode == version.returncode == 0
