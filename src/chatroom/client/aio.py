"""The asyncio client."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, Self, TypeVar, overload

from chatroom.client.core import Call
from chatroom.client.errors import ConnectionLost, InboxFull, Refused
from chatroom.client.inbox import Inbox, Message
from chatroom.client.wire import Wire
from chatroom.protocol.messages import Sent

Result = TypeVar("Result")

FIRST_DELAY, LAST_DELAY = 0.25, 30.0
"""Seconds before the first attempt to reconnect, and at most before a later one; each is about twice the one
before, give or take a half, so that not all come back at the same moment."""


class AsyncClient:
    """A connection to a chatroom, for asyncio.

    >>> async def main():
    ...     async with await AsyncClient.connect("127.0.0.1", 7777, "robot") as client:
    ...         print(await client.users())
    ...         await client.send("robot", "note to self")
    ...         async for message in client:
    ...             print(message.content)
    ...             break
    >>> asyncio.run(main())
    ['robot']
    note to self

    Its methods may be called from many tasks of one event loop; iterate in one. At most 10,000 messages, or 16
    million characters, wait to be iterated over: beyond that nothing is read from the server, which lets go of
    whoever does not read; and answers that stand behind them do not come either (`InboxFull`).
    """

    def __init__(self, dial: Callable[[Callable[[], Wire]], Awaitable[Wire]], timeout: float) -> None:
        """Rather call `connect()`."""
        self._dial = dial
        self._timeout = timeout
        self._wire: Wire
        self._inbox = Inbox()
        self._has_news = asyncio.Event()  # a message, the end of the connection, or of attempts to renew it
        self._name: str | None = None
        self._revival: asyncio.Task[None] | None = None
        self._is_closed = False

    @classmethod
    async def open(
        cls, host: str, port: int, *, timeout: float = 10.0, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect, without a name yet: `hello()` comes next.

        `timeout`: seconds for this, and for each answer later. `tls`: as `ssl.create_default_context()` makes
        it; the server's certificate must be for `host`. Raises `OSError`, `TimeoutError` among them.
        """

        async def dial(new_wire: Callable[[], Wire]) -> Wire:
            async with asyncio.timeout(timeout):
                _, wire = await asyncio.get_running_loop().create_connection(new_wire, host, port, ssl=tls)
            return wire

        client = cls(dial, timeout)
        client._wire = await dial(client._new_wire)
        return client

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        name: str,
        *,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        reconnect: bool = False,
    ) -> Self:
        """Connect and say hello.

        `name`: 1 to 32 characters. `timeout`: seconds for this and for each answer later. `tls`: as for `open`.
        With `reconnect`, a lost connection is made anew, with the same name, for as long as it takes: the
        iteration goes on, calls wait for it. What was under way is lost: pending calls raise `ConnectionLost`.
        Raises `OSError` if there is no connection, `NameTaken` (with a free `suggestion`) or another `Refused`.
        """
        client = await cls.open(host, port, timeout=timeout, tls=tls)
        try:
            await client.hello(name)
        except BaseException:
            client._wire.transport.abort()
            raise
        if reconnect:
            client._name = name
            client._wire.on_lost = client._revive
        return client

    async def hello(self, name: str) -> None:
        """Ask for a name; after a `NameTaken` another may be tried. Raises `Refused`, `ConnectionLost`."""
        await self._hello(self._wire, name)

    async def users(self) -> list[str]:
        """Return the names of all who are connected, one's own too.

        Raises `ConnectionLost`, `TimeoutError`, `InboxFull`.
        """
        wire = await self._living()
        return await self._ask(wire, *wire.core.who())

    @overload
    async def send(self, to: str, text: str, *, confirm: Literal[True] = True) -> Sent: ...
    @overload
    async def send(self, to: str, text: str, *, confirm: bool) -> Sent | None: ...
    async def send(self, to: str, text: str, *, confirm: bool = True) -> Sent | None:
        """Send a message to one; return its `id` and `time` once the server has taken it.

        With `confirm=False` do not wait for that, and return None; a refusal then comes as an `Error` in the
        iteration. A server that knows only the brief never confirms. How long `text` may be is the server's
        affair.
        Raises `Refused` (`unknown_user`, `too_big`, …), `ConnectionLost`; `TimeoutError` or `InboxFull` if it
        cannot be known whether it was taken; `UnicodeEncodeError` for a lone surrogate.
        """
        return await self._say(to, text, confirm=confirm)

    @overload
    async def broadcast(self, text: str, *, confirm: Literal[True] = True) -> Sent: ...
    @overload
    async def broadcast(self, text: str, *, confirm: bool) -> Sent | None: ...
    async def broadcast(self, text: str, *, confirm: bool = True) -> Sent | None:
        """Send a message to everybody else; all else as for `send()`."""
        return await self._say(None, text, confirm=confirm)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._inbox:
            if end := self._end():
                if self._is_closed:
                    raise StopAsyncIteration
                raise end
            self._has_news.clear()
            await self._has_news.wait()
        message = self._inbox.take()
        self._wire.read_on()
        return message

    async def close(self) -> None:
        """Say quit, and take what was still on its way; it can be iterated over, now and later.

        Waits for the server to close the connection, `timeout` seconds at most. May be called again.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.wait([self._revival])
        wire = self._wire
        if not wire.core.lost:
            wire.transport.write(wire.core.quit())
        try:
            async with asyncio.timeout(self._timeout):
                await wire.has_ended.wait()
        except TimeoutError:
            pass  # our patience ends
        finally:
            wire.end("this client has been closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _new_wire(self) -> Wire:
        return Wire(self._inbox, self._has_news)

    async def _hello(self, wire: Wire, name: str) -> None:
        await self._ask(wire, *wire.core.hello(name))

    async def _say(self, to: str | None, text: str, *, confirm: bool) -> Sent | None:
        wire = await self._living()
        if confirm:
            return await self._ask(wire, *wire.core.send(to, text))
        async with asyncio.timeout(self._timeout):
            await wire.write(wire.core.send_unconfirmed(to, text))
        return None

    async def _ask(self, wire: Wire, request: bytes, call: Call[Result]) -> Result:
        done = asyncio.Event()
        call.on_done = done.set
        try:
            async with asyncio.timeout(self._timeout):
                await wire.write(request)
                await done.wait()
        except TimeoutError:
            if self._inbox.is_full:
                raise InboxFull(len(self._inbox)) from None
            raise TimeoutError("the server did not answer in time") from None
        finally:
            wire.core.forget(call)
        return call.result()

    def _end(self) -> Exception | None:
        """Return why there is no connection and will be none, if that is so."""
        if not self._wire.core.lost:
            return None
        if self._revival is not None and not self._is_closed:
            return self._revival.exception() if self._revival.done() else None  # type: ignore[return-value]
        return ConnectionLost(self._wire.core.lost)

    async def _living(self) -> Wire:
        """Return a connection that is not lost: this one, or the next. Raises what keeps it from that."""
        while self._wire.core.lost:
            if end := self._end():
                raise end
            if self._revival is not None:
                await asyncio.wait([self._revival])
        return self._wire

    def _revive(self) -> None:
        if not self._is_closed:
            self._revival = asyncio.create_task(self._reconnect(str(self._name)))
            self._revival.add_done_callback(self._revived)

    def _revived(self, revival: asyncio.Task[None]) -> None:
        if not revival.cancelled():
            revival.exception()  # whoever calls or iterates next is told
        self._has_news.set()

    async def _reconnect(self, name: str) -> None:
        """Come back with the name; give up only when the server does not want us for good."""
        delay = FIRST_DELAY
        while self._wire.core.lost:
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter is no secret
            delay = min(2 * delay, LAST_DELAY)
            try:
                wire = await self._dial(self._new_wire)
            except OSError:
                continue
            try:
                await self._hello(wire, name)
            except BaseException as error:
                wire.transport.abort()
                if isinstance(error, OSError | InboxFull) or (isinstance(error, Refused) and error.temporary):
                    continue
                raise
            self._wire = wire
        self._wire.on_lost = self._revive
