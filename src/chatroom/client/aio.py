"""The asyncio client."""

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, Self, TypeVar, cast, overload

from chatroom.client.core import Call, Core, Message
from chatroom.client.errors import ConnectionLost, Refused
from chatroom.protocol.messages import Sent

Result = TypeVar("Result")

MAX_INBOX = 10_000
"""Messages that may wait to be iterated over. Beyond, nothing more is read from the server, unless some call
waits for its answer."""

FIRST_DELAY, LAST_DELAY = 0.25, 30.0
"""Seconds before the first attempt to reconnect, and at most before a later one; each is about twice the one
before, give or take a half, so that not all come back at the same moment."""


class _Wire(asyncio.Protocol):
    """The connection: bytes for the core, messages for the inbox."""

    def __init__(self) -> None:
        self.core = Core()
        self.inbox: deque[Message] = deque()
        self.lost: ConnectionLost | None = None
        self.transport: asyncio.Transport
        self.may_write = asyncio.Event()
        self.has_news = asyncio.Event()
        """Set when something came into the inbox, or the connection ended."""
        self.on_lost: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.may_write.set()

    def data_received(self, data: bytes) -> None:
        self.inbox.extend(self.core.receive(data))
        self.has_news.set()
        self.adjust()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.core.lose(str(exc) if exc else "the server closed the connection")
        self.may_write.set()
        self.has_news.set()
        self.on_lost()

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def adjust(self) -> None:
        """Read on, or not, by how much waits."""
        if self.lost or self.transport.is_closing():
            return
        if len(self.inbox) < MAX_INBOX or self.core.is_waiting:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()


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

    Its methods may be called from many tasks of one event loop; iterate in one. At most 10,000 messages wait to
    be iterated over: beyond that the server is not read from, unless a call waits for its answer.
    """

    def __init__(self, dial: Callable[[], Awaitable[_Wire]], timeout: float) -> None:
        """Rather call `connect()`."""
        self._dial = dial
        self._timeout = timeout
        self._wire: _Wire
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

        async def dial() -> _Wire:
            async with asyncio.timeout(timeout):
                _, wire = await asyncio.get_running_loop().create_connection(_Wire, host, port, ssl=tls)
            return wire

        client = cls(dial, timeout)
        client._wire = await dial()
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
        await self._ask(*self._wire.core.hello(name))

    async def users(self) -> list[str]:
        """Return the names of all who are connected, one's own too. Raises `ConnectionLost`, `TimeoutError`."""
        return await self._ask(*(await self._living()).core.who())

    @overload
    async def send(self, to: str, text: str, *, confirm: Literal[True] = True) -> Sent: ...
    @overload
    async def send(self, to: str, text: str, *, confirm: bool) -> Sent | None: ...
    async def send(self, to: str, text: str, *, confirm: bool = True) -> Sent | None:
        """Send a message to one; return its `id` and `time` once the server has taken it.

        With `confirm=False` do not wait for that, and return None; a refusal then comes as an `Error` in the
        iteration. Raises `Refused` (`unknown_user`, …), `ConnectionLost`, `TimeoutError`.
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
        wire = self._wire
        while not wire.inbox:
            if self._is_closed:
                raise StopAsyncIteration
            if wire.lost:
                wire = await self._living()
                continue
            wire.has_news.clear()
            await wire.has_news.wait()
        message = wire.inbox.popleft()
        wire.adjust()
        return message

    async def close(self) -> None:
        """Say quit, and take what was still on its way; it can be iterated over. May be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._revival is not None:
            self._revival.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._revival
        wire = self._wire
        if not wire.lost:
            wire.transport.resume_reading()
            wire.transport.write(wire.core.quit())
        try:
            async with asyncio.timeout(self._timeout):
                while not wire.lost:
                    wire.has_news.clear()
                    await wire.has_news.wait()
        except TimeoutError:
            pass  # our patience ends
        finally:
            wire.transport.abort()
            wire.has_news.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _say(self, to: str | None, text: str, *, confirm: bool) -> Sent | None:
        core = (await self._living()).core
        if confirm:
            return await self._ask(*core.send(to, text))
        await self._write(core.send_unconfirmed(to, text))
        return None

    async def _ask(self, request: bytes, call: Call[Result]) -> Result:
        done = asyncio.Event()
        call.on_done = done.set
        async with asyncio.timeout(self._timeout):
            await self._write(request)
            self._wire.adjust()
            await done.wait()
        self._wire.adjust()
        return call.result()

    async def _write(self, data: bytes) -> None:
        wire = self._wire
        if wire.lost:
            raise wire.lost
        wire.transport.write(data)
        if not wire.may_write.is_set():
            await wire.may_write.wait()
            if wire.lost:
                raise wire.lost

    async def _living(self) -> _Wire:
        """Return a connection that is not lost: this one, or the next. Raises what keeps it from that."""
        if self._wire.lost and self._revival is not None and not self._is_closed:
            await asyncio.shield(self._revival)
        if self._wire.lost:
            raise self._wire.lost
        return self._wire

    def _revive(self) -> None:
        if not self._is_closed:
            self._revival = asyncio.create_task(self._reconnect(str(self._name)))

    async def _reconnect(self, name: str) -> None:
        delay = FIRST_DELAY
        while True:
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter is no secret
            delay = min(2 * delay, LAST_DELAY)
            before = self._wire
            try:
                self._wire = await self._dial()
                await self._ask(*self._wire.core.hello(name))
            except (OSError, Refused) as error:
                self._wire.transport.abort()
                self._wire = before
                if isinstance(error, Refused) and not error.temporary:
                    raise
            else:
                self._wire.on_lost = self._revive
                return
