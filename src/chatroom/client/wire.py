"""A connection of a client, in an event loop."""

import array
import asyncio
import contextlib
import ipaddress
import sys
from collections.abc import Callable
from typing import cast

from chatroom.client.core import Core
from chatroom.client.inbox import Inbox

if sys.platform != "win32":
    import fcntl
    import termios


class Wire(asyncio.Protocol):
    """Bytes for the core and from it, messages for the inbox; nothing is read while the inbox is full."""

    def __init__(self, core: Core, inbox: Inbox) -> None:
        self.core = core
        self.transport: asyncio.Transport
        self.on_news: Callable[[], None] = lambda: None
        """Called when something came into the inbox, and when the connection has ended."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called once, when the connection has ended."""
        self.is_paused = False
        """Whether nothing is read, since the inbox is full."""
        self.is_loopback = False
        """Whether the server is on this machine."""
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._may_write = True
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def unread(self) -> int:
        """Bytes that have been sent and that the server's system has not acknowledged, as far as ours says."""
        waiting = self.transport.get_write_buffer_size()
        connection = self.transport.get_extra_info("socket")
        if sys.platform != "win32":
            size = array.array("i", [0])
            with contextlib.suppress(OSError, ValueError):  # it has just ended
                fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, size)
            waiting += size[0]
        return waiting

    @property
    def has_said_all(self) -> bool:
        """Whether we have said all, and now end our side of the connection: it is not `quit` that does.

        A server that confirms nothing may not know `quit`, and wait for this.
        """
        return self.core.has_quit and (self.core.stays or not self.core.knows_refs)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)
        self.is_loopback = is_this_machine(transport.get_extra_info("peername")[0])

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._inbox.put(self.core.receive(data))
        if self._inbox.is_full and not self.transport.is_closing():
            self.is_paused = self.core.is_deaf = True
            self.transport.pause_reading()
        self.pump()
        self.on_news()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._lose(getattr(exc, "strerror", None) or str(exc or "the server closed the connection"))

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._may_write = True
        self.pump()

    def pump(self) -> None:
        """Send what may be sent now, and see to it that the rest is sent when it may be."""
        if self.core.lost is not None or self.transport.is_closing():
            return
        if self.core.is_silent:
            self.end("the server does not answer any longer")
            return
        if late := self.core.tick():
            self._inbox.put(late)
            self.on_news()
        while self._may_write and (data := self.core.next()) is not None:
            try:
                self.transport.write(data)
            except RuntimeError:  # uvloop: the connection has just broken; we will be told
                return
        if self.has_said_all:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            elif self.core.stays:  # over TLS there is no other way
                self.transport.close()
        self._set_timer(self.core.wake_at())

    def read_on(self) -> None:
        """Read on, if the inbox was full and has room again."""
        if self.is_paused and self._inbox.has_room and not self.transport.is_closing():
            self.is_paused = False
            self.core.hear_again()
            self.transport.resume_reading()
            self.pump()

    def end(self, reason: str) -> None:
        """End the connection now, if it has not ended yet."""
        if self.core.lost is None:
            self._lose(reason)
            self.transport.abort()

    def _set_timer(self, at: float | None) -> None:
        if at is None or (self._timer is not None and self._timer_at <= at):
            return  # an earlier one that is not needed any longer does no harm
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._wake), at

    def _wake(self) -> None:
        self._timer = None
        self.pump()

    def _lose(self, reason: str) -> None:
        if self.core.lost is not None:
            return
        if (closing := self.core.closing) is not None:
            why = "" if closing.message is None else f": {closing.message}"
            reason = f"the server ended the connection: {closing.reason}{why}"
        self._inbox.put(self.core.lose(reason))
        self.is_paused = False
        if self._timer is not None:
            self._timer.cancel()
        self.on_lost()
        self.on_news()


def is_this_machine(address: str) -> bool:
    """Whether what goes to this address does not leave the machine."""
    given = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(given, "ipv4_mapped", None)  # Python 3.11 does not call that one loopback
    return given.is_loopback or bool(mapped and mapped.is_loopback)
