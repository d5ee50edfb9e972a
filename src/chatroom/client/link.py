"""What both clients share: a connection that is made, and made again, in an event loop."""

import asyncio
import random
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from chatroom.client.calls import Call
from chatroom.client.core import Core
from chatroom.client.dial import dial, why_not
from chatroom.client.errors import (
    BadArgument,
    CannotConnect,
    ConnectionLost,
    InboxFull,
    NameReserved,
    NameTaken,
    NotAChatroom,
    OutcomeUnknown,
    Refused,
    TimedOut,
)
from chatroom.client.inbox import Disconnected, Inbox
from chatroom.client.session import Session
from chatroom.client.wire import Wire
from chatroom.protocol.messages import (
    Ban,
    BanRecord,
    Bans,
    History,
    HistoryReply,
    Kick,
    Mute,
    Sent,
    Unban,
    Unmute,
)

Result = TypeVar("Result")

FIRST_DELAY, LAST_DELAY = 0.5, 10.0
"""Seconds at most before the first attempt to reconnect, and before a later one. Each is twice the one before,
less up to a half, so that not all clients come back at the same moment."""
LONGEST_REST = 300.0
"""Seconds for which the attempts to reconnect rest at most, however long the server asks for."""
FEATURES_TIMEOUT = 5.0
"""Seconds that a server has to answer a `hello` that asks for more than the base protocol has."""
ATTEMPTS = 2
"""Connections over which a request is made that each of them breaks behind."""
LEAVE_TIMEOUT, LOOK_AGAIN = 2.0, 0.1
"""Seconds that a server of the base protocol has to end the connection once its system has all up to `quit`,
and between two looks at whether it has."""
NAME_PATIENCE = 30.0
"""Seconds after which nobody who holds our name at the return can be our own dead connection: the server has
noticed by then."""
MAX_PORT = 65535
CLOSED = "this client has been closed"
NOT_PRIVATE = "it would be sent without TLS, and not to 127.0.0.1: connect with TLS"


class Link:
    """A client's connection, its name, and its way back to both.

    All of it runs in one event loop; the inbox, `end` and `is_paused` may be looked at from another thread.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout: float,
        tls: ssl.SSLContext | None,
        reconnect: bool = False,
        presence: bool = False,
        takes_while_asking: bool = True,
    ) -> None:
        """Have `open()` called next.

        `takes_while_asking`: while one waits for an answer, another may take messages; if not, a full inbox
        ends the wait. Raises `BadArgument`, `TypeError`.
        """
        _check_type("host", host, str)
        _check_type("port", port, int)
        if not 1 <= port <= MAX_PORT:
            raise BadArgument(f"port is {port}: it must be 1 to {MAX_PORT}")
        self.inbox = Inbox()
        self.on_news: Callable[[], None] = lambda: None
        """Called when something came into the inbox, and when there is an `end`."""
        self.end: Exception | None = None
        """Why there is no connection, and none will be made."""
        self.is_closed = False
        self.wire: Wire
        self._address, self._tls = (host, port), tls
        self._timeout = timeout
        self._reconnects = reconnect
        self._session = Session(resumes=reconnect, presence=presence)
        self._name: str | None = None  # the one that was accepted
        self._password: str | None = None  # with which it was
        self._welcome_at = 0.0
        self._delay = FIRST_DELAY
        self._next_try_at: float | None = None
        self._try_now = asyncio.Event()
        self._give_up_at: float | None = None  # when a name that is taken will have been so for too long
        self._is_greeting = False
        self._takes_while_asking = takes_while_asking
        self._waiting: set[asyncio.Event] = set()  # for an answer, or for the end
        self._revival: asyncio.Task[None] | None = None  # the attempts to reconnect
        self._settled = asyncio.Event()  # there is a connection, or an end
        self._settled.set()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at present."""
        return self._settled.is_set() and self.end is None

    @property
    def last_ref(self) -> str:
        """What tells the latest request from all others."""
        return self._session.last_ref

    @property
    def session(self) -> str | None:
        """What the server knows this client by."""
        return self._session.secret

    @property
    def is_account(self) -> bool:
        """Whether the name is that of an account."""
        return self._session.is_account

    @property
    def is_operator(self) -> bool:
        """Whether the client was an operator when it was welcomed."""
        return self._session.is_operator

    @property
    def is_private(self) -> bool:
        """Whether nobody between here and the server can read along: with TLS, or on this machine."""
        return self._tls is not None or self.wire.is_loopback

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read from the server, since the inbox is full."""
        return hasattr(self, "wire") and self.wire.is_paused

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next attempt to reconnect; None if none is waited for.

        None means that there is a connection, or an attempt is being made, or none will be.
        """
        at = self._next_try_at
        return None if at is None else max(0.0, at - time.monotonic())

    def retry_now(self) -> None:
        """Make the next attempt to reconnect at once, if one is waited for."""
        self._try_now.set()

    def read_on(self) -> None:
        """Read on, if nothing was read since the inbox was full, and it has room again."""
        self.wire.read_on()

    async def open(self) -> None:
        """Connect, without a name. Raises `CannotConnect`."""
        await self._dial()

    async def hello(self, name: str, password: str | None = None, session: str | None = None) -> None:
        """Ask for a name; if the connection was lost and is to be renewed, over a new one.

        Raises any `ChatroomError`, and `TypeError`.
        """
        _check_text("name", name)
        _check_texts(password=password, session=session)
        if self.is_closed or (self.end is not None and not self._reconnects):
            raise ConnectionLost(self.wire.core.lost)
        is_return = self._name is not None and not self.is_connected
        self._is_greeting = True
        try:
            await self._stop_revival()
            if self.wire.core.lost is not None:
                await self._dial()
            await self._greet(name, password, session)
            self.end = None
        except BaseException:
            if is_return:  # the attempts with the old name go on, over connections of their own
                self.wire.end("the attempt to reconnect failed")
            raise
        finally:
            self._is_greeting = False
            self._settle()

    async def ask(self, request: Callable[[Core], Call[Result]]) -> Result:
        """Make a request and wait for its answer, over the next connection if this one is lost before.

        One that was on its way at two losses is not made again: it may be what the server dies of.
        """
        return (await self._settled_call(request)).result()

    async def send(self, to: str, content: str, *, confirm: bool) -> Sent | None:
        """Send a message to one, as `say()` does."""
        _check_text("to", to)
        if to == "*":
            raise BadArgument('to is "*", which is nobody\'s name: broadcast() sends to all')
        if not to:
            raise BadArgument("to is empty: it must be somebody's name")
        return await self.say(to, content, confirm=confirm)

    async def users(self, room: str | None) -> list[str]:
        """Return who is here, or in a room."""
        _check_texts(room=room)
        return await self.ask(lambda core: core.who(room))

    async def join(self, room: str) -> str:
        """Hear a room; return its name, as its maker spelled it."""
        _check_text("room", room)
        return await self.ask(lambda core: core.join(room))

    async def leave(self, room: str) -> None:
        """Hear a room no more."""
        _check_text("room", room)
        await self.ask(lambda core: core.leave(room))

    async def history(
        self,
        *,
        room: str | None,
        with_: str | None,
        before: str | None,
        after: str | None,
        limit: int | None,
        find: str | None,
    ) -> HistoryReply:
        """Return what was said; None is not sent."""
        texts = {"room": room, "with_": with_, "before": before, "after": after, "find": find}
        _check_texts(**texts)
        if limit is not None:
            _check_type("limit", limit, int)
        given = {key: value for key, value in (texts | {"limit": limit}).items() if value is not None}
        return await self.ask(lambda core: core.ask(History(**given)))  # type: ignore[arg-type]  # as checked

    async def forget(self, ident: str) -> None:
        """Take back a message of one's own."""
        _check_text("id", ident)
        await self.ask(lambda core: core.take_back(ident))

    async def register(self, password: str, old: str | None) -> None:
        """Ask for an account, or for another password.

        It is not asked again over another connection: what came of it is not known then.
        """
        _check_text("password", password)
        _check_texts(old=old)
        wire = await self._living()
        self._check_private("password")
        call = wire.core.register(password, old)
        await self._finish(call, self._timeout)
        if call.was_lost and call.has_left:
            raise OutcomeUnknown(str(call.error))
        call.result()
        self._password = password

    async def kick(self, name: str, reason: str | None) -> None:
        """End all connections of a user."""
        await self._order(Kick, name, reason=reason)

    async def mute(self, name: str, minutes: int | None, reason: str | None) -> None:
        """Let a user read only."""
        await self._order(Mute, name, minutes=minutes, reason=reason)

    async def unmute(self, name: str) -> None:
        """Let a user write again."""
        await self._order(Unmute, name)

    async def ban(self, name: str, minutes: int | None, reason: str | None) -> int:
        """Let a user in no more; return how many others are on the same addresses."""
        return await self._order(Ban, name, minutes=minutes, reason=reason)

    async def unban(self, name: str) -> None:
        """Let a user in again."""
        await self._order(Unban, name)

    async def bans(self) -> list[BanRecord]:
        """Return who is banned or muted."""
        return await self.ask(lambda core: core.ask(Bans()))

    async def _order(
        self,
        kind: type[Kick | Mute | Unmute | Ban | Unban],
        name: str,
        *,
        minutes: int | None = None,
        reason: str | None = None,
    ) -> int:
        _check_text("name", name)
        _check_texts(reason=reason)
        if minutes is not None:
            _check_type("minutes", minutes, int)
        given = {"name": name, "minutes": minutes, "reason": reason}
        order = {key: value for key, value in given.items() if value is not None}
        return await self.ask(lambda core: core.ask(kind(**order)))  # type: ignore[arg-type]  # as checked

    async def say(self, to: str | None, content: str, *, room: str | None = None, confirm: bool) -> Sent | None:
        """Send a message to one, or to all (None), in the lobby or in a room.

        Without `confirm`, or if the server confirms nothing, wait only until it has left.
        """
        _check_text("content", content)
        _check_texts(room=room)
        call = await self._settled_call(lambda core: core.send(to, content, room=room, confirm=confirm))
        return None if call.first_left_at is not None and not call.is_confirmed else call.result()

    async def close(self, *, stay: bool = False) -> None:
        """Say quit behind all that is under way, and wait for the end of the connection.

        With `stay`, say nothing: the server keeps the session.
        """
        if self.is_closed:
            return
        self.is_closed = True
        try:
            await self._stop_revival()
            wire = self.wire
            self.inbox.put(wire.core.quit(stay=stay))
            wire.pump()
            await self._wait(asyncio.Event(), lambda: wire.core.lost is not None, self._patience(wire))
        finally:
            self.abort()

    def _patience(self, wire: Wire) -> Callable[[], float]:
        """Return until when the end of a connection is waited for, at each moment."""
        now = asyncio.get_running_loop().time
        unread, moved_at = -1, now()

        def deadline() -> float:
            nonlocal unread, moved_at
            if unread != (unread := wire.unread):
                moved_at = now()
            is_idle = wire.has_said_all and not unread
            patience = min(LEAVE_TIMEOUT, self._timeout) if is_idle else self._timeout
            at = max(moved_at, wire.core.moved_at) + patience
            return at if now() >= at else min(at, now() + LOOK_AGAIN)

        return deadline

    def abort(self) -> None:
        """End it now."""
        self.is_closed = True
        if self._revival is not None:
            self._revival.cancel()
        if hasattr(self, "wire"):  # else it was given up before there was one
            self.wire.end(CLOSED)
        self._end_with(ConnectionLost(CLOSED))

    async def _settled_call(self, request: Callable[[Core], Call[Result]]) -> Call[Result]:
        losses = 0
        while True:
            wire = await self._living()
            call = request(wire.core)
            await self._finish(call, self._timeout)
            losses += call.first_left_at is not None
            if not (self._reconnects and call.was_lost and losses < ATTEMPTS):
                return call

    async def _living(self) -> Wire:
        """Return a connection that is not lost: this one, or the next. Raises what keeps it from that."""
        await self._settled.wait()
        if self.is_closed:
            raise ConnectionLost(CLOSED)
        if self.end is not None:
            raise self.end.with_traceback(None)
        return self.wire

    async def _finish(self, call: Call[Any], timeout: float) -> None:
        """Wait until a call is done, or has left, if nobody wants its answer: so long without progress.

        A message that was under way when the connection broke goes on over the next; until then, time stands
        still.
        """
        session, now = self._session, asyncio.get_running_loop().time
        changed = asyncio.Event()
        call.on_change = changed.set
        is_finished = False
        try:
            self.wire.pump()
            is_finished = await self._wait(
                changed,
                lambda: call.is_done or (call.has_left and not call.is_confirmed),
                lambda: (now() if call in session.unsure else self.wire.core.since(call)) + timeout,
                reads=call.is_confirmed or self.wire.core.knows_refs,
            )
        finally:
            if not is_finished:
                self.wire.core.forget(call)
                self.wire.pump()
        if not is_finished:
            if self.inbox.is_full:
                raise InboxFull(len(self.inbox))
            odd = self.wire.core.odd
            raise TimedOut(f"the server did not answer in time{odd and f': {odd}'}")

    async def _wait(
        self,
        changed: asyncio.Event,
        is_over: Callable[[], bool],
        deadline: Callable[[], float],
        *,
        reads: bool = True,
    ) -> bool:
        """Wait until it is over; return whether it was before the deadline, which may move.

        `reads`: it is the server's bytes that end it.
        """
        now = asyncio.get_running_loop().time
        self._waiting.add(changed)
        try:
            while not is_over():
                at = deadline()
                if now() >= at or (reads and self.is_paused and not self._takes_while_asking):
                    return False
                changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(at):
                        await changed.wait()
            return True
        finally:
            self._waiting.discard(changed)

    def _news(self) -> None:
        self.on_news()
        if self.wire.core.lost is not None or (self.is_paused and not self._takes_while_asking):
            for changed in self._waiting:
                changed.set()

    async def _dial(self, *, features: bool = True) -> None:
        loop = asyncio.get_running_loop()
        core = Core(loop.time, self._session, wants_features=features)
        wire = Wire(core, self.inbox)
        host, port = self._address
        try:
            async with asyncio.timeout(self._timeout):
                connection = await dial(host, port)
                name = host if self._tls else None
                await loop.create_connection(lambda: wire, sock=connection, ssl=self._tls, server_hostname=name)
        except (OSError, UnicodeError) as error:
            raise CannotConnect(f"cannot connect to {host}, port {port}: {why_not(error)}") from error
        self.wire = wire
        wire.on_lost = self._lost
        wire.on_news = self._news

    async def _greet(self, name: str, password: str | None, session: str | None) -> None:
        """Say hello; if the server does not understand ours, connect anew and say the base protocol's.

        One that has promised to know the session again, or that reserves names, understands it: then the
        connection is bad.
        """
        failure: ConnectionLost | TimeoutError | None = None
        has_secret = password is not None or session is not None
        if has_secret and not self.wire.core.wants_features:  # that it knows more has turned out since
            self.wire.end("a password goes over another connection")
            await self._dial()
        if self.wire.core.wants_features:
            # A password takes its time: many may be waiting for theirs to be looked at.
            patience = FEATURES_TIMEOUT if password is None else self._timeout
            try:
                await self._hello(name, password, session, min(patience, self._timeout))
            except (ConnectionLost, TimeoutError) as error:
                self.wire.end("the server did not answer")
                if self._session.can_continue:
                    raise
                await self._dial(features=False)
                failure = error
            else:
                return
        try:
            await self._hello(name, None, None, self._timeout)
        except NameReserved:
            if failure is None or not has_secret:
                raise
            raise failure from None
        self._password = password

    async def _hello(self, name: str, password: str | None, session: str | None, timeout: float) -> None:
        for parameter, secret in ("password", password), ("session", session):
            if secret is not None:
                self._check_private(parameter)
        if self._session.is_account:
            self._check_private("session")  # the host's name may stand for another address now
        call = self.wire.core.hello(name, password, session, is_return=self._name is not None)
        try:
            await self._finish(call, timeout)
            call.result()
        except NotAChatroom as error:
            self.wire.end(str(error))
            raise
        self._name, self._password = name, password
        self._welcome_at = asyncio.get_running_loop().time()

    def _check_private(self, parameter: str) -> None:
        if not self.is_private:
            raise BadArgument(f"{parameter} is not sent: {NOT_PRIVATE}")

    # The way back

    def _lost(self) -> None:
        if not self._is_greeting and self._revival is None:
            self._settle()

    def _settle(self) -> None:
        """The connection is there, or was lost: see to what follows."""
        core = self.wire.core
        if core.lost is None:
            self._settled.set()
        elif self.is_closed:
            self._end_with(ConnectionLost(CLOSED))
        elif (
            self._reconnects
            and self._name is not None
            and self.end is None
            and (core.closing is None or core.closing.reconnect)
        ):
            if self._settled.is_set():
                self._settled.clear()
                self.inbox.put([Disconnected(core.lost)])
            self._revival = asyncio.create_task(self._come_back(self._name))
            self._revival.add_done_callback(self._revived)
        else:
            self._end_with(self.end or ConnectionLost(core.lost))
        self.on_news()

    async def _come_back(self, name: str) -> None:
        """Connect and say hello again; give up only when the server does not want us for good."""
        if asyncio.get_running_loop().time() - self._welcome_at > LAST_DELAY:
            self._delay = FIRST_DELAY  # else the server may be one that welcomes us and ends the connection
        self._give_up_at = None
        rest = 0.0
        while True:
            await self._pause(max(rest, self._delay * random.uniform(0.5, 1.0)))  # noqa: S311 - no secret
            self._delay, rest = min(2 * self._delay, LAST_DELAY), 0.0
            try:
                await self._attempt(name)
            except OSError:
                continue
            except Refused as refusal:
                rest = self._rest(refusal)
            else:
                return

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until somebody wants the next attempt made."""
        self._try_now.clear()
        self._next_try_at = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                await self._try_now.wait()
            self._delay = FIRST_DELAY
        except TimeoutError:
            pass
        finally:
            self._next_try_at = None

    async def _attempt(self, name: str) -> None:
        try:
            await self._dial()
            await self._greet(name, self._password, None)
        except BaseException:
            self.wire.end("the attempt to reconnect failed")
            raise

    def _rest(self, refusal: Refused) -> float:
        """Return the seconds until the next attempt makes sense; raise the refusal if none does."""
        now = asyncio.get_running_loop().time()
        if isinstance(refusal, NameTaken):
            if self._give_up_at is None:
                self._give_up_at = now + NAME_PATIENCE
                self.inbox.put([refusal.error])
                self.on_news()
            if now >= self._give_up_at:
                raise refusal
        elif not refusal.temporary:
            raise refusal
        return min(refusal.retry_after or 0.0, LONGEST_REST)

    def _revived(self, revival: asyncio.Task[None]) -> None:
        if self._revival is not revival:
            return  # it was stopped
        self._revival = None
        error = None if revival.cancelled() else revival.exception()
        if isinstance(error, Exception):
            self._end_with(error)
        else:
            self._settle()

    async def _stop_revival(self) -> None:
        revival, self._revival = self._revival, None
        if revival is not None:
            revival.cancel()
            await asyncio.wait([revival])

    def _end_with(self, error: Exception) -> None:
        self.inbox.put(self._session.end(str(error)))
        self.end = error
        self._settled.set()
        self.on_news()


def _check_type(parameter: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{parameter} must be of type {kind.__name__}, not {type(value).__name__}")


def _check_text(parameter: str, text: str) -> None:
    """Raise `TypeError`, or `BadArgument` for a text that cannot be sent."""
    _check_type(parameter, text, str)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadArgument(f"{parameter} is no Unicode text: lone surrogate at {error.start}") from None


def _check_texts(**texts: str | None) -> None:
    """The same for those that are given."""
    for parameter, text in texts.items():
        if text is not None:
            _check_text(parameter, text)
