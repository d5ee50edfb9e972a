"""The commands that work on the data file: `chatroom account`, `ban`, `unban`, `bans` and `backup`.

What changes something leaves an order in the file. Who holds the file's lock does it, and answers there: the
server, or the command itself if none runs.
"""

import asyncio
import getpass
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from types import FrameType
from typing import Any, TypeVar

import click

from chatroom.config import ConfigError, Settings, from_environment, load
from chatroom.hub.hub import Hub
from chatroom.hub.ports import DONE, Order
from chatroom.passwords import hash_now
from chatroom.protocol.messages import MAX_MINUTES, MAX_REASON, MINUTES, ErrorReply
from chatroom.protocol.passwords import MAX_GIVEN, BadPassword, checked
from chatroom.stores import orders
from chatroom.stores.file import ACCOUNTS, InUseError, StoreError, connect, lock, ready, version, why
from chatroom.stores.orders import PATIENCE
from chatroom.stores.sqlite import SqliteStore
from chatroom.terminal.text import visible
from chatroom.usage import Command, Group, WholeNumber

PAUSE = 0.05
"""Seconds between two looks for the answer."""
MAX_LINE = 4 * MAX_GIVEN + 2
"""Bytes that are read of a password: more than the longest has."""
DRAIN = 60.0
"""Seconds for the disk to write what an order has changed."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class NotDoneError(click.ClickException):
    """What was asked for was not done; one line says why, and the status is 1."""

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(visible(self.message), file=file or sys.stderr)


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
    """Add an account.

    The file is made if there is none. The password is asked for twice, or read from standard input if that is
    no terminal.
    """
    path, settings = _file(**file, may_be_new=True)
    _order(path, settings, "add", name, hashed=_hash(name))
    _say(f"{name} has an account")


@account.command(name="list")
@_on_file
def list_(**file: Any) -> None:
    """List the accounts.

    Each line says on which day the account was last used, and what it is.
    """
    statement = "SELECT seen, hashed, is_operator, name FROM accounts ORDER BY name COLLATE NOCASE"
    for seen, hashed, is_operator, name in _rows(_file(**file)[0], statement):
        kind = "operator" if is_operator else "account" if hashed else "removed"
        day = time.strftime("%Y-%m-%d", time.gmtime(seen)) if seen else "never"
        _say(f"{day:10}  {kind:8}  {name}")


@account.command()
@click.argument("name")
@_on_file
def password(name: str, **file: Any) -> None:
    """Set a new password.

    That ends all sessions of the account.
    It is asked for twice, or read from standard input if that is no terminal.
    """
    path, settings = _file(**file)
    _order(path, settings, "password", name, hashed=_hash(name))
    _say(f"the password of {name} is changed")


@account.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="Make it an ordinary account again.")
@_on_file
def operator(name: str, *, off: bool, **file: Any) -> None:
    """Make an account an operator."""
    path, settings = _file(**file)
    _order(path, settings, "operator", name, is_set=not off)
    _say(f"{name} is {'no longer' if off else 'now'} an operator")


@account.command()
@click.argument("name")
@_on_file
def forget(name: str, **file: Any) -> None:
    """Erase what an account wrote.

    It is overwritten in the file, too. The account stays. Where there is no such account, what the guest of
    this name has written is meant, who must be here or just have gone.
    """
    path, settings = _file(**file)
    _order(path, settings, "forget", name)
    _say(f"what {name} wrote is erased")


@account.command()
@click.argument("name")
@click.option("--free", is_flag=True, help="Let others take the name.")
@_on_file
def remove(name: str, *, free: bool, **file: Any) -> None:
    """Remove an account.

    Its name stays reserved, unless --free is given, also later. `account add` gives the name to a new account.
    """
    path, settings = _file(**file)
    _order(path, settings, "remove", name, is_set=free)
    _say(f"the account {name} is removed; its name is {'free' if free else 'kept reserved'}")


@click.command(cls=Command)
@click.argument("name_or_network")
@click.option(
    "--minutes",
    type=WholeNumber(0, MAX_MINUTES),
    default=MINUTES,
    metavar="N",
    help=f"{MINUTES} by default; 0: permanently.",
)
@click.option("--reason", default="", metavar="TEXT", help="What the banned are told.")
@_on_file
def ban(name_or_network: str, minutes: int, reason: str, **file: Any) -> None:
    """Ban a user or a network.

    An account of this name is banned; if there is none, guests of this name, or of one that looks like it. A
    network, or an address, is banned for guests.
    """
    if len(reason) > MAX_REASON:
        raise click.BadParameter(
            f"it has {len(reason)} characters, at most {MAX_REASON} allowed", param_hint="--reason"
        )
    path, settings = _file(**file)
    note = _order(path, settings, "ban", name_or_network, minutes=minutes, reason=reason)
    end = f"until {_moment(time.time() + 60 * minutes)} UTC" if minutes else "for good"
    _say(f"{name_or_network} is banned {end}{'; but ' * bool(note)}{note}")


@click.command(cls=Command)
@click.argument("name_or_network")
@_on_file
def unban(name_or_network: str, **file: Any) -> None:
    """Lift all bans of a name or a network."""
    path, settings = _file(**file)
    _order(path, settings, "unban", name_or_network)
    _say(f"{name_or_network} is no longer banned")


@click.command(cls=Command)
@_on_file
def bans(**file: Any) -> None:
    """List the bans and mutes.

    Each line says until when (UTC) somebody is banned or muted, by whom, since when, and why.
    """
    statement = """
        SELECT kind, name, by, time, until, reason FROM bans
        WHERE until = 0 OR until > ? ORDER BY time, name, kind
    """
    for kind, name, by, since, until, reason in _rows(_file(**file)[0], statement, time.time()):
        end = f"until {_moment(until)}" if until else "for good"
        who = f"by {by or 'the command line'}, {_moment(since)}"
        _say(f"{'mute' if kind == 'mute' else 'ban':4}  {end:22}  {name} ({who}){': ' * bool(reason)}{reason}")


@click.command(cls=Command)
@click.argument("copy", type=click.Path(path_type=Path), metavar="FILE")
@_on_file
def backup(copy: Path, **file: Any) -> None:
    """Copy the data file.

    FILE must not exist. The server may run meanwhile. Only its owner can read the copy.
    """
    path, _ = _file(**file)
    with _open(path) as connection:
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
        except BaseException as error:
            with suppress(OSError):
                copy.unlink()
            if isinstance(error, sqlite3.Error | OSError | UnicodeError):
                raise NotDoneError(f"{copy}: it cannot be written: {error}") from None
            raise
    _say(f"{path} is copied to {copy}")


# Parts


def _file(data: str | None, config: Path | None, *, may_be_new: bool = False) -> tuple[Path, Settings]:
    """Return the file that is meant, and the settings. Raises `WrongFileError`."""
    try:
        settings = load(config, from_environment(), {"data": data}, ())
    except ConfigError as error:
        raise WrongFileError(str(error)) from None
    if settings.data is None:
        raise WrongFileError(
            "no data file is named: use --data, CHATROOM_DATA, or data in the file of --config"
        )
    path = Path(settings.data)
    if not may_be_new and not path.exists():
        raise WrongFileError(f"{path}: there is no such file")
    return path, settings


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection to a data file. Raises `WrongFileError`."""
    try:
        with closing(connect(path)) as connection:
            if not version(connection, path):
                raise StoreError(f"{path}: this file is empty, and no database of chatroom")
            yield connection
    except StoreError as error:
        raise WrongFileError(str(error)) from None
    except sqlite3.Error as error:
        raise WrongFileError(f"{path}: {why(error)}") from None


def _rows(path: Path, statement: str, *values: float) -> list[Any]:
    """Return what this selects of accounts or bans: nothing, if the file was made when there were none."""
    with _open(path) as connection:
        if version(connection, path) < ACCOUNTS:
            return []
        return connection.execute(statement, values).fetchall()


def _hash(name: str) -> str:
    """Return the hash of a password that is asked for. Raises `NotDoneError`."""
    if _is_terminal():
        given = getpass.getpass(f"password for {visible(name)}: ")
        if getpass.getpass("the same again: ") != given:
            raise NotDoneError("the two passwords differ")
    else:
        line = b"" if sys.stdin is None else sys.stdin.buffer.readline(MAX_LINE)
        try:
            given = line.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise NotDoneError("the password on standard input is not in UTF-8") from None
    try:
        return hash_now(checked(given))
    except BadPassword as error:
        raise NotDoneError(str(error)) from None


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _order(path: Path, settings: Settings, what: str, name: str, **more: Any) -> str:
    """Have something done by whoever holds the file's lock; return what else there is to know of it.

    Raises `NotDoneError`.
    """
    order = Order(0, what, name, **more)
    try:
        f"{name}{order.reason}".encode()
    except UnicodeEncodeError:
        raise NotDoneError("what was given is not in UTF-8") from None
    try:
        answer = _done(path, settings, order)
    except StoreError as error:
        raise WrongFileError(str(error)) from None
    except sqlite3.Error as error:
        raise WrongFileError(f"{path}: {why(error)}") from None
    if answer and not answer.startswith(DONE):
        raise NotDoneError(answer)
    return answer.removeprefix(DONE)


def _done(path: Path, settings: Settings, order: Order) -> str:
    """Leave the order, and return the answer. The server does it, or, if none runs, we do."""
    end = time.monotonic() + PATIENCE
    with _killed_as_interrupted():
        return _answered(path, settings, order, end)


def _answered(path: Path, settings: Settings, order: Order, end: float) -> str:
    _make_ready(path, end)
    with closing(connect(path)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {round(PATIENCE * 1000)}")
        number = orders.leave(connection, order, time.time())
    try:
        while (answer := _ask(path, orders.answer, number)) is None:
            try:
                _do_orders(path, settings)
            except InUseError:
                if time.monotonic() > end and _ask(path, orders.withdraw, number):
                    raise NotDoneError(
                        f"{path}: the server that uses this file has not answered for {PATIENCE:g} seconds: "
                        "the order is withdrawn, and nothing was done"
                    ) from None
                time.sleep(PAUSE)
    except KeyboardInterrupt:
        if _ask(path, orders.withdraw, number):
            raise NotDoneError("the order is withdrawn, and nothing was done") from None
        raise NotDoneError("it is being done, or has been") from None
    return answer


@contextmanager
def _killed_as_interrupted() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, unless they are ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask(path: Path, ask: Callable[[sqlite3.Connection, int], T], number: int) -> T:
    """Return what the file says of an order. The connection may not last: a lock is tried in between."""
    with closing(connect(path)) as connection:
        return ask(connection, number)


def _make_ready(path: Path, end: float) -> None:
    """Wait until the file can take orders; make it, or bring it up to date, if nobody uses it."""
    while not ready(path):
        if time.monotonic() > end:
            raise InUseError(f"{path}: a server that is older than this command uses this file")
        time.sleep(PAUSE)


def _do_orders(path: Path, settings: Settings) -> None:
    """Do all that is ordered, with a hub that nobody is connected to. Raises `InUseError` if a server runs."""
    os.close(lock(path, 0))  # else each look would begin an event loop, which a signal may break off anywhere
    asyncio.run(_doing(path, settings))


async def _doing(path: Path, settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    days = settings.limits.history_days
    notes: list[str] = []
    store = SqliteStore(path, loop=loop, clock=time.time, note=notes.append, days=days, patience=0)
    secret = partial(token_urlsafe, 16)
    hub = Hub(
        limits=settings.limits, clock=time.time, timing=loop, observer=_Quiet(), secret=secret, store=store
    )
    try:
        store.take_orders(hub.obey)
        with closing(connect(path)) as connection:
            while orders.are_left(connection):
                if why := store.failure or "; ".join(notes):
                    raise NotDoneError(f"{path}: {why}: the order is left to whoever uses the file next")
                await asyncio.sleep(PAUSE)
    finally:
        store.close(hub.house.next - 1, DRAIN)


class _Quiet:
    """An observer of a hub that nobody is connected to."""

    def joined(self, name: str, peer: str) -> None:
        """Cannot be."""

    def left(self, name: str, peer: str, reason: str) -> None:
        """The end of a session is not reported."""

    def refused(self, name: str | None, peer: str, error: ErrorReply) -> None:
        """Cannot be."""

    def decided(self, what: str, name: str, by: str | None) -> None:
        """The command says so itself."""

    def turned_away(self, peer: str, reason: str) -> None:
        """Cannot be."""

    def note(self, text: str) -> None:
        """Print what else the operator should know."""
        click.echo(visible(text), err=True)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _say(text: str) -> None:
    """Print a line; what the terminal lacks, as an escape."""
    encoding = sys.stdout.encoding or "ascii"
    click.echo(visible(text).encode(encoding, "backslashreplace").decode(encoding))
