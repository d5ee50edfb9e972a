"""A connection of the asyncio client."""

import asyncio
from collections.abc import Callable
from typing import cast

from chatroom.client.core import Core
from chatroom.client.errors import ConnectionLost
from chatroom.client.inbox import Inbox


class Wire(asyncio.Protocol):
    """Bytes for the core, messages for the inbox; nothing is read while the inbox is full."""

    def __init__(self, inbox: Inbox, has_news: asyncio.Event) -> None:
        """`has_news` is set when something came into the inbox, and when the connection ended."""
        self.core = Core()
        self.transport: asyncio.Transport
        self.on_lost: Callable[[], None] = lambda: None
        self.has_ended = asyncio.Event()
        self._inbox = inbox
        self._has_news = has_news
        self._may_write = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._inbox.put(self.core.receive(data))
        self._has_news.set()
        if self._inbox.is_full:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if not self.core.lost:
            self._lose(getattr(exc, "strerror", None) or str(exc or "the server closed the connection"))
            self.on_lost()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._may_write.set()

    async def write(self, data: bytes) -> None:
        """Send; wait while too much is under way. Raises `ConnectionLost`."""
        self.transport.write(data)
        await self._may_write.wait()
        if self.core.lost:
            raise ConnectionLost(self.core.lost)

    def read_on(self) -> None:
        """Read on, if the inbox was full and is no longer."""
        if not (self._inbox.is_full or self.transport.is_closing() or self.transport.is_reading()):
            self.transport.resume_reading()

    def end(self, reason: str) -> None:
        """End the connection now."""
        self.transport.abort()
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        self.core.lose(reason)
        for event in (self._may_write, self.has_ended, self._has_news):
            event.set()
