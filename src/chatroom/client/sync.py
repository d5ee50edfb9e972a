"""The blocking client: what `AsyncClient` does, done in a thread that all blocking clients share.

So there is one way to talk to a server, and it goes on while the program is busy: what comes is taken in, a
ping answered, a lost connection noticed. It is also what makes Ctrl-C harmless: Python raises KeyboardInterrupt
in the main thread alone, which only waits here.
"""

import asyncio
import signal
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from chatroom.client.core import Core
from chatroom.client.errors import InboxFull, TimedOut
from chatroom.client.inbox import Message
from chatroom.client.link import Link
from chatroom.protocol.messages import BanRecord, HistoryReply, RoomSize, Sent

Result = TypeVar("Result")


class Client:
    """A connection to a chatroom, for programs that do one thing at a time.

    >>> with Client.connect("127.0.0.1", 7777, "robot") as client:
    ...     client.users()
    ...     client.send("robot", "note to self") is not None
    ...     next(client).content
    ['robot']
    True
    'note to self'

    Iterating gives each message that comes, and waits for the next; so does `receive()`, with a time limit.
    What comes in meanwhile is kept for that: at most 10,000 messages, or 16 million characters. Beyond that
    nothing is read from the server, which closes the connection of a client that does not read, and what waits
    for an answer raises `InboxFull`, until half of them have been taken.

    Use one client from one thread at a time; a process that was forked makes its own. A `KeyboardInterrupt` may
    come at any time: the client can still be used afterwards, and no message is lost. A connection on which
    nothing comes back any longer is given up within 30 seconds; the next method that is called says so.
    """

    def __init__(self, link: object = None, *_: object, **__: object) -> None:
        """Call `connect()` or `open()` instead."""
        if not isinstance(link, Link):
            raise TypeError(f"call {type(self).__name__}.connect(host, port, name)")
        self._link = link
        self._inbox = link.inbox
        self._bell = _Bell()
        link.on_news = self._bell.ring
        # Should nobody close it: the thread would keep the connection.
        weakref.finalize(self, _loop().call_soon_threadsafe, link.abort).atexit = False

    @classmethod
    def open(
        cls,
        host: str,
        port: int,
        *,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        reconnect: bool = False,
        presence: bool = False,
    ) -> Self:
        """Connect, without a name yet: `hello()` comes next.

        All parameters are as for `connect()`; `reconnect` takes effect once `hello()` has succeeded.
        Raises `CannotConnect`; `BadArgument` for a port outside 1 to 65535.
        """
        link = Link(
            host,
            port,
            timeout=timeout,
            tls=tls,
            reconnect=reconnect,
            presence=presence,
            takes_while_asking=False,
        )
        client = cls(link)
        client._do(link.open)
        return client

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        name: str,
        *,
        password: str | None = None,
        session: str | None = None,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        reconnect: bool = False,
        presence: bool = False,
    ) -> Self:
        """Connect and say hello.

        - `host`: a name or an address; `port`: 1 to 65535.
        - `name`: 1 to 32 characters, without a `|`, and not `*`.
        - `password`: that of the account which owns the name. `session`: what `session` was for a client that
          was closed with `close(stay=True)`, or that has crashed; if it is not known any longer, the password
          counts. Both are sent only over TLS, or to 127.0.0.1.
        - `timeout`: seconds for the connection, and for each answer later.
        - `tls`: a context, as `ssl.create_default_context()` makes it; the server's certificate must be for
          `host`. None: no TLS.
        - `reconnect`: whether a lost connection is made anew, with the same name, for as long as it takes;
          calls wait for it. Messages tell of it: `Disconnected`, an `ErrorReply` if somebody has the name
          meanwhile, and `Reconnected`. The client joins its rooms again, and what it missed comes in its place,
          each message once; `Gap` marks where messages may be missing. If the server does not want us back,
          that is raised in place of a message: `NameTaken` if somebody has had the name for 30 seconds,
          another `Refused` (`NameReserved`, `BadPassword`, `Banned`, …), `ConnectionLost`.
        - `presence`: whether `Presence` messages tell who comes into the lobby and the rooms, and who leaves.

        On servers that grant it, messages have an `id` and a `time`, and `Forgotten` messages come; and to an
        account, as an `OwnMessage`, what other connections of it have sent.

        `hello` asks for more than the base protocol has. If the server does not answer that in 5 seconds, or
        not with a welcome, the client connects once more, as the base protocol has it.
        A server that grants nothing is sent only what the base protocol has, one message at a time, 20 ms
        apart.
        Raises `CannotConnect`; `NotAChatroom` if what answers is something else, `ConnectionLost` or `TimedOut`
        if nothing does; `NameTaken` or `NameReserved` (both with a free `suggestion`), `BadPassword`, `Banned`
        or another `Refused` (`bad_name`, …); `BadArgument` for a port outside 1 to 65535, a lone surrogate, or
        a `password` or `session` without `tls` to any host but 127.0.0.1.
        """
        client = cls.open(host, port, timeout=timeout, tls=tls, reconnect=reconnect, presence=presence)
        try:
            client.hello(name, password=password, session=session)
        except BaseException:
            _loop().call_soon_threadsafe(client._link.abort)
            raise
        return client

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at present."""
        return self._link.is_connected

    @property
    def session(self) -> str | None:
        """A secret by which the server knows this client again, for `connect()` in the same or another program.

        A guest's is known for 60 seconds after the connection, an account's for 30 days; one that is in use is
        taken over. None unless `reconnect`, `password` or `session` was given, and if the server knows none.
        """
        return self._link.session

    @property
    def is_account(self) -> bool:
        """Whether one owns one's name: the server has said so at the last welcome, or when one registered."""
        return self._link.is_account

    @property
    def is_operator(self) -> bool:
        """Whether one may use `kick()` and the like, as the last welcome said."""
        return self._link.is_operator

    @property
    def is_private(self) -> bool:
        """Whether a password may be sent: over TLS, or to 127.0.0.1."""
        return self._link.is_private

    @property
    def last_ref(self) -> str:
        """The `ref` of the latest request: an `ErrorReply` or `Unconfirmed` about it has the same.

        A server that knows only the base protocol gives no errors a `ref`.
        """
        return self._link.last_ref

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next attempt to reconnect; None while none is waited for."""
        return self._link.retry_in

    def retry_now(self) -> None:
        """Make the next attempt to reconnect at once, if one is waited for; the pauses begin small again."""
        _loop().call_soon_threadsafe(self._link.retry_now)

    def hello(self, name: str, *, password: str | None = None, session: str | None = None) -> None:
        """Ask for a name, as for `connect()`; after a refusal another may be tried, or another password.

        With `reconnect`, also while the connection is lost, and when the iteration has raised: the client
        connects anew, with this name. Raises what `connect()` does.
        """
        self._do(lambda: self._link.hello(name, password, session))

    def register(self, password: str, old: str | None = None) -> None:
        """Own the name that one has: from now on only the password, or a `session`, opens it.

        `password`: 8 to 128 characters. `old`: the present one, to change it, which ends all other sessions.
        Raises `BadPassword` (too short or too long, or `old` is wrong), `Refused` (`not_allowed`: the server
        keeps no accounts, nobody may register, or `old` is missing; `slow_down`), `OutcomeUnknown` if the
        connection was lost meanwhile, `BadArgument` without TLS but to 127.0.0.1, and what `users()` does.
        """
        self._do(lambda: self._link.register(password, old))

    def users(self, room: str | None = None) -> list[str]:
        """Return the names of all who are connected, one's own too; or of those in a room.

        With `reconnect` it is asked again if the connection breaks, once.
        Raises `Refused` (before `hello`, if there is no such room, or if the list is not understood),
        `ConnectionLost`, `TimedOut`, `InboxFull`.
        """
        return self._do(lambda: self._link.users(room))

    def join(self, room: str) -> str:
        """Join a room, which is made if there is none; return its name, as its maker spelled it.

        `room`: 1 to 32 characters, as a user's name. Its messages have the returned name as their `room`; for
        those of the lobby, in which everybody is, it is None.
        Raises `Refused` (`bad_name`; `not_allowed`: one may be in 100 rooms; `unknown_code`: the server has no
        rooms, and was not asked), and what `users()` does.
        """
        return self._do(lambda: self._link.join(room))

    def leave(self, room: str) -> None:
        """Leave a room. Raises `Refused` (`not_in_room`), and what `users()` does."""
        return self._do(lambda: self._link.leave(room))

    def rooms(self) -> list[RoomSize]:
        """Return the 1,000 largest rooms (`room`, `users`), the largest first; raises what `users()` does."""
        return self._do(lambda: self._link.ask(Core.rooms))

    def history(
        self,
        *,
        room: str | None = None,
        with_: str | None = None,
        before: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        find: str | None = None,
    ) -> HistoryReply:
        """Return what was said, oldest first: `messages`, each with `id`, `time`, `from_`, `content`, `to`.

        - `room`: a room that one is in; `with_`: the direct messages with somebody, or `"*"` with anybody.
          Neither: the lobby. Direct messages are kept only if a client with `reconnect=True` sent or got them:
          otherwise `messages` is empty.
        - `before`, `after`: an `id`. Neither: the newest.
        - `limit`: 1 to 200 messages; 50 if None.
        - `find`: a text of 1 to 256 characters that they contain. Case is ignored for ASCII letters only.
          A search that was broken off says where to go on: with `before`.

        `complete` says that there is no more in that direction.
        Raises `Refused` (`not_in_room`, `bad_request`, `unknown_code`), and what `users()` does.
        """
        return self._do(
            lambda: self._link.history(
                room=room, with_=with_, before=before, after=after, limit=limit, find=find
            )
        )

    def forget(self, id: str) -> None:  # noqa: A002 - as the protocol calls it
        """Take back one's own message with this `id`: it is not in the history any longer.

        Others who have had it get a `Forgotten` message. Raises `Refused` (`not_allowed`: it is not one's own),
        and what `users()` does.
        """
        return self._do(lambda: self._link.forget(id))

    def kick(self, name: str, *, reason: str | None = None) -> None:
        """End all connections of a user, who is told the `reason`, of at most 256 characters.

        This and what follows, up to `bans()`, is for operators.
        Raises `Refused` (`not_allowed`, `unknown_user`), and what `users()` does.
        """
        self._do(lambda: self._link.kick(name, reason))

    def mute(self, name: str, *, minutes: int | None = None, reason: str | None = None) -> None:
        """Let a user read, but not write, for so many `minutes` (60 if None; 0: for good); else as `kick()`."""
        self._do(lambda: self._link.mute(name, minutes, reason))

    def unmute(self, name: str) -> None:
        """Let a user write again; else as `kick()`."""
        self._do(lambda: self._link.unmute(name))

    def ban(self, name: str, *, minutes: int | None = None, reason: str | None = None) -> int:
        """Let a user in no more, for so many `minutes`, as `mute()`.

        Return how many others are on the addresses that a guest is banned from.
        """
        return self._do(lambda: self._link.ban(name, minutes, reason))

    def unban(self, name: str) -> None:
        """Let a user in again; else as `kick()`."""
        self._do(lambda: self._link.unban(name))

    def bans(self) -> list[BanRecord]:
        """Return who is banned or muted.

        Each has a `kind` (`ban` or `mute`), the `name`, `by` whom, the `time`, `until` when (None: for good),
        both in seconds since 1970, and a `reason` or None. Raises as `kick()`.
        """
        return self._do(lambda: self._link.bans())

    def send(self, to: str, content: str, *, confirm: bool = True) -> Sent | None:
        """Send a message to one; return its `id` and `time` once the server has taken it.

        `to`: a name, spelled as in `users()` or in another case. `content`: any text; our server takes 16 KiB
        of UTF-8 by default, other servers have limits of their own.
        With `confirm=False`, and always if the server knows only the base protocol, wait only until it has left
        and return None; a refusal then comes as an `ErrorReply` among the messages.
        Of messages that the server confirms, 8 are under way at a time, or 16 KiB; one that is refused with
        `slow_down` is sent again when the server says so, for a minute, and so is one that could not be stored.

        Raises `Refused` (`unknown_user`, `too_big`, …); `OutcomeUnknown`, `TimedOut` or `InboxFull` if it
        cannot be known whether it was taken (if it is not confirmed: it was not sent); `ConnectionLost`: it was
        not sent; `BadArgument` for an empty name, `*`, or a lone surrogate.
        """
        return self._do(lambda: self._link.send(to, content, confirm=confirm))

    def broadcast(self, content: str, *, room: str | None = None, confirm: bool = True) -> Sent | None:
        """Send a message to everybody else, in the lobby or in a room; all else is as for `send()`.

        Raises `Refused` (`not_in_room`, `unknown_code`) for a room that one is not in, or the server not known.
        """
        return self._do(lambda: self._link.say(None, content, room=room, confirm=confirm))

    def receive(self, timeout: float | None = None) -> Message:
        """Return the next message; wait for it at most this many seconds (0: not at all, None: for ever).

        Raises `TimedOut`; once all that came before has been returned, what ended the connection:
        `ConnectionLost`, with `reconnect` also `Refused`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._read_on()
        while not self._inbox:
            # Its end is told behind its last message, which may have come just now.
            if (end := self._link.end) is not None and not self._inbox:
                raise end.with_traceback(None)
            if not self._bell.wait(deadline):
                raise TimedOut("nothing came from the server in time")
        return self._inbox.take()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        if self._link.is_closed and not self._inbox:
            raise StopIteration
        return self.receive()

    def close(self, *, stay: bool = False) -> None:
        """Say quit, and take what was still on its way; it can be iterated over, now and later.

        With `stay`, say nothing instead, so that the server keeps the `session`.

        Waits until all that was sent is confirmed, where the server does that, and until the server has closed
        the connection; `timeout` seconds at most without progress. May be called again.
        """
        with suppress(InboxFull):  # the rest is not taken
            self._do(lambda: self._link.close(stay=stay))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, function: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Have the thread do something, and wait for what comes of it."""
        self._read_on()
        loop, errand = _loop(), _Errand(function, self._bell)
        try:
            loop.call_soon_threadsafe(errand.begin)
            while errand.outcome is None:
                self._bell.wait(None)
        except BaseException:
            loop.call_soon_threadsafe(errand.cancel)
            raise
        return errand.outcome.result()

    def _read_on(self) -> None:
        if self._link.is_paused and self._inbox.has_room:
            _loop().call_soon_threadsafe(self._link.read_on)


class _Bell:
    """What one thread waits for and another rings.

    An exception out of a signal handler leaves a `threading.Condition` locked if it comes at the wrong
    moment. A bare lock has no such moment.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """End the wait, or the next one."""
        with suppress(RuntimeError):  # it has been rung already
            self._lock.release()

    def wait(self, deadline: float | None) -> bool:
        """Wait until it rings; return False if the deadline has passed before."""
        if deadline is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))


class _Errand(Generic[Result]):
    """Something that the thread does for another one, which waits for the bell."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, Result]], bell: _Bell) -> None:
        self.outcome: asyncio.Task[Result] | None = None
        """Once it is done."""
        self._function = function
        self._bell = bell
        self._task: asyncio.Task[Result] | None = None

    def begin(self) -> None:
        """Called in the thread."""
        self._task = asyncio.get_running_loop().create_task(self._function())
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Called in the thread: nobody waits any longer."""
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[Result]) -> None:
        if not task.cancelled():
            task.exception()  # whoever was interrupted will not ask for it
        self.outcome = task
        self._bell.ring()


class _Thread(threading.Thread):
    """An event loop that runs for as long as the program does."""

    def __init__(self) -> None:
        super().__init__(name="chatroom clients", daemon=True)
        self.loop = asyncio.new_event_loop()

    def run(self) -> None:
        """Leave signals to the main thread, so that they interrupt what it waits for; serve the clients."""
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.loop.run_forever()


_threads: list[_Thread] = []
_starting = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all blocking clients; in a process that was forked, a new one."""
    if not (_threads and _threads[-1].is_alive()):
        with _starting:
            if not (_threads and _threads[-1].is_alive()):
                thread = _Thread()
                thread.start()
                _threads.append(thread)
    return _threads[-1].loop
