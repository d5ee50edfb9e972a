"""The commands that work on the data file: `chatroom account`, `ban`, `unban`, `bans` and `backup`.

What changes something leaves an order in the file. Who holds the file's lock does it, and answers there: the
server, or the command itself if none runs.
"""

import asyncio
import getpass
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, TypeVar

import click

from chatroom.config import ConfigError, Settings, from_environment, load
from chatroom.hub.hub import Hub
from chatroom.hub.ports import Order
from chatroom.passwords import hash_now
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorReply
from chatroom.protocol.passwords import BadPassword, checked
from chatroom.stores import orders
from chatroom.stores.file import InUseError, StoreError, connect, ready, to_read
from chatroom.stores.sqlite import SqliteStore
from chatroom.usage import Command, Group, WholeNumber

PATIENCE = 30.0
"""Seconds until an order that nobody takes is withdrawn."""
PAUSE = 0.05
"""Seconds between two looks for the answer."""
DRAIN = 60.0
"""Seconds for the disk to write what an order has changed."""

F = TypeVar("F", bound=Callable[..., Any])


class NotDoneError(click.ClickException):
    """What was asked for was not done; one line says why, and the status is 1."""

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(f"{self.message}", file=file or sys.stderr)


class WrongFileError(NotDoneError):
    """A setting is invalid, or the file cannot be used; the status is 2."""

    exit_code = 2


def _on_file(command: F) -> F:
    """Add the options that say which file is meant."""
    data = click.option("--data", metavar="FILE", help="The data file, if the settings do not name it.")
    config = click.option(
        "--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML file with settings."
    )
    return data(config(command))


@click.group(cls=Group)
def account() -> None:
    """Add, list and change accounts."""


@account.command()
@click.argument("name")
@_on_file
def add(name: str, **file: Any) -> None:
    """Add an account, and the file if there is none.

    Its password is asked for twice, or read from standard input if that is no terminal.
    """
    path, settings = _file(**file, may_be_new=True)
    _order(path, settings, "add", name, hashed=_hash(name))
    click.echo(f"{_shown(name)} has an account")


@account.command(name="list")
@_on_file
def list_(**file: Any) -> None:
    """List the accounts: the day on which each was last used, and what it is."""
    with _reading(_file(**file)[0]) as connection:
        rows = connection.execute(
            "SELECT seen, hashed, is_operator, name FROM accounts ORDER BY name COLLATE NOCASE"
        ).fetchall()
    for seen, hashed, is_operator, name in rows:
        kind = "operator" if is_operator else "account" if hashed else "removed"
        day = time.strftime("%Y-%m-%d", time.gmtime(seen)) if seen else "never"
        click.echo(f"{day:10}  {kind:8}  {_shown(name)}")


@account.command()
@click.argument("name")
@_on_file
def password(name: str, **file: Any) -> None:
    """Set another password, which ends all sessions of the account.

    It is asked for twice, or read from standard input if that is no terminal.
    """
    path, settings = _file(**file)
    _order(path, settings, "password", name, hashed=_hash(name))
    click.echo(f"{_shown(name)} has another password")


@account.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="It is one no longer.")
@_on_file
def operator(name: str, *, off: bool, **file: Any) -> None:
    """Make an account an operator's."""
    path, settings = _file(**file)
    _order(path, settings, "operator", name, is_set=not off)
    click.echo(f"{_shown(name)} is {'no operator' if off else 'an operator'}")


@account.command()
@click.argument("name")
@_on_file
def forget(name: str, **file: Any) -> None:
    """Overwrite all that somebody wrote. The account stays."""
    path, settings = _file(**file)
    _order(path, settings, "forget", name)
    click.echo(f"what {_shown(name)} wrote is overwritten")


@account.command()
@click.argument("name")
@click.option("--free", is_flag=True, help="Let others take the name.")
@_on_file
def remove(name: str, *, free: bool, **file: Any) -> None:
    """Remove an account; its name stays reserved."""
    path, settings = _file(**file)
    _order(path, settings, "remove", name, is_set=free)
    click.echo(f"{_shown(name)} has no account; the name is {'free' if free else 'reserved'}")


@click.command(cls=Command)
@click.argument("name_or_network")
@click.option(
    "--minutes", type=WholeNumber(0, 525_600), default=60, metavar="N", help="60 by default; 0: for good."
)
@click.option("--reason", default="", metavar="TEXT", help="What the banned are told.")
@_on_file
def ban(name_or_network: str, minutes: int, reason: str, **file: Any) -> None:
    """Ban an account, guests of this name, or guests from a network."""
    path, settings = _file(**file)
    _order(path, settings, "ban", name_or_network, minutes=minutes, reason=reason)
    click.echo(f"{_shown(name_or_network)} is banned {f'for {minutes} minutes' if minutes else 'for good'}")


@click.command(cls=Command)
@click.argument("name_or_network")
@_on_file
def unban(name_or_network: str, **file: Any) -> None:
    """Undo all bans of a name or a network."""
    path, settings = _file(**file)
    _order(path, settings, "unban", name_or_network)
    click.echo(f"{_shown(name_or_network)} is not banned")


@click.command(cls=Command)
@_on_file
def bans(**file: Any) -> None:
    """List who is banned or muted: until when (UTC), by whom, since when, and why."""
    with _reading(_file(**file)[0]) as connection:
        rows = connection.execute(
            "SELECT kind, name, by, time, until, reason FROM bans WHERE until = 0 OR until > ? "
            "ORDER BY time, name",
            (time.time(),),
        ).fetchall()
    for kind, name, by, since, until, reason in rows:
        end = f"until {_moment(until)}" if until else "for good"
        who = f"by {_shown(by) if by else 'the command line'}, {_moment(since)}"
        click.echo(f"{kind:4}  {end:22}  {_shown(name)} ({who}){': ' * bool(reason)}{_shown(reason)}")


@click.command(cls=Command)
@click.argument("copy", type=click.Path(path_type=Path), metavar="FILE")
@_on_file
def backup(copy: Path, **file: Any) -> None:
    """Copy the data file to FILE, which must not exist, while the server runs or not.

    Only its owner can read the copy.
    """
    path, _ = _file(**file)
    with _reading(path) as connection:
        try:
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise NotDoneError(f"{copy}: {error.strerror}") from None
        try:
            connection.execute("VACUUM INTO ?", (str(copy.absolute()),))
            for part in (copy, copy.absolute().parent):
                descriptor = os.open(part, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
        except (sqlite3.Error, OSError) as error:
            with suppress(OSError):
                copy.unlink()
            raise NotDoneError(f"{copy}: it cannot be written: {error}") from None
        except BaseException:
            copy.unlink()
            raise
    click.echo(f"{path} is copied to {copy}")


# Parts


def _file(data: str | None, config: Path | None, *, may_be_new: bool = False) -> tuple[Path, Settings]:
    """Return the file that is meant, and the settings. Raises `WrongFileError`."""
    try:
        settings = load(config, from_environment(), {"data": data}, ())
    except ConfigError as error:
        raise WrongFileError(str(error)) from None
    if settings.data is None:
        raise WrongFileError("no data file is named: use --data, CHATROOM_DATA, or data in the file of --config")
    path = Path(settings.data)
    if not may_be_new and not path.exists():
        raise WrongFileError(f"{path}: there is no such file")
    return path, settings


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection to a file that this chatroom has made or brought up to date."""
    try:
        with closing(to_read(path)) as connection:
            yield connection
    except (StoreError, sqlite3.Error) as error:
        raise WrongFileError(str(error)) from None


def _hash(name: str) -> str:
    """Return the hash of a password that is asked for. Raises `NotDoneError`."""
    if sys.stdin is not None and sys.stdin.isatty():
        given = getpass.getpass(f"password for {_shown(name)}: ")
        if getpass.getpass("the same again: ") != given:
            raise NotDoneError("the two passwords differ")
    else:
        given = "" if sys.stdin is None else sys.stdin.readline().rstrip("\r\n")
    try:
        return hash_now(checked(given))
    except BadPassword as error:
        raise NotDoneError(str(error)) from None


def _order(path: Path, settings: Settings, what: str, name: str, **more: Any) -> None:
    """Have something done by whoever holds the file's lock. Raises `NotDoneError`."""
    order = Order(0, what, name, **{"hashed": "", "minutes": 0, "is_set": False, "reason": ""} | more)
    try:
        answer = _done(path, settings, order)
    except (StoreError, sqlite3.Error) as error:
        raise WrongFileError(f"{path}: {error}" if isinstance(error, sqlite3.Error) else str(error)) from None
    if answer:
        raise NotDoneError(_shown(answer))


def _done(path: Path, settings: Settings, order: Order) -> str:
    """Leave the order, and return the answer. The server does it, or, if none runs, we do."""
    end = time.monotonic() + PATIENCE
    _make_ready(path, end)
    with closing(connect(path)) as connection:
        number = orders.leave(connection, order, time.time())
    try:
        while True:
            with closing(connect(path)) as connection:
                answer = orders.answer(connection, number)
                if answer is not None:
                    return answer
                if time.monotonic() > end and orders.withdraw(connection, number):
                    raise NotDoneError(
                        f"{path}: whoever uses this file has not answered for {PATIENCE:g} seconds: "
                        "the order is withdrawn, and nothing was done"
                    )
            try:
                _do_orders(path, settings)
            except InUseError:
                time.sleep(PAUSE)
    except KeyboardInterrupt:
        with closing(connect(path)) as connection:
            if orders.withdraw(connection, number):
                raise NotDoneError("withdrawn: nothing was done") from None
        raise NotDoneError("it is being done") from None


def _make_ready(path: Path, end: float) -> None:
    """Wait until the file can take orders; make it, or bring it up to date, if nobody uses it."""
    while not ready(path):
        if time.monotonic() > end:
            raise InUseError(f"{path}: a server that is older than this command uses this file")
        time.sleep(PAUSE)


def _do_orders(path: Path, settings: Settings) -> None:
    """Do all that is ordered, with a hub that nobody is connected to. Raises `InUseError` if a server runs."""
    asyncio.run(_doing(path, settings))


async def _doing(path: Path, settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    days = settings.limits.history_days
    store = SqliteStore(path, loop=loop, clock=time.time, note=_note, days=days, patience=0)
    hub = None
    try:
        hub = Hub(
            limits=settings.limits,
            clock=time.time,
            timing=loop,
            observer=_Quiet(),
            secret=partial(token_urlsafe, 16),
            store=store,
        )
        store.take_orders(hub.obey)
        with closing(connect(path)) as connection:
            while orders.are_left(connection):
                await asyncio.sleep(PAUSE)
    finally:
        store.close(0 if hub is None else hub.house.next - 1, DRAIN)


class _Quiet:
    """An observer of a hub that nobody is connected to."""

    def joined(self, name: str, peer: str) -> None:
        """Cannot be."""

    def left(self, name: str, peer: str, reason: str) -> None:
        """The end of a session is not reported."""

    def refused(self, name: str | None, peer: str, error: ErrorReply) -> None:
        """Cannot be."""

    def turned_away(self, peer: str, reason: str) -> None:
        """Cannot be."""

    def note(self, text: str) -> None:
        """Print what else the operator should know."""
        _note(text)


def _note(text: str) -> None:
    click.echo(_shown(text), err=True)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _shown(text: str) -> str:
    """Return text of others as it can be printed."""
    return names.visible(text) if hasattr(names, "visible") else text
