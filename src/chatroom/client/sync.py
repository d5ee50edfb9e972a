"""The blocking client: one socket, no threads."""

import socket
import ssl
import time
from types import TracebackType
from typing import Literal, Self, TypeVar, overload

from chatroom.client.core import Call, Core
from chatroom.client.errors import ConnectionLost, InboxFull
from chatroom.client.inbox import Inbox, Message
from chatroom.protocol.messages import Sent

Result = TypeVar("Result")

RECEIVE_SIZE = 64 * 1024


class Client:
    """A connection to a chatroom, for programs that do one thing at a time.

    >>> with Client.connect("127.0.0.1", 7777, "robot") as client:
    ...     client.users()
    ...     client.send("robot", "note to self").id > 0
    ...     next(client).content
    ['robot']
    True
    'note to self'

    Iterating gives each message that comes, and waits for the next; so does `receive()`, with a time limit.
    What comes in while a method waits for its answer is kept for that. At most 10,000 messages, or 16 million
    characters, are kept: then what waits for an answer raises `InboxFull` until some have been taken.

    It reads from the server only while one of its methods waits, and a server lets go of whoever does not
    read: a program that is busy for long should use `AsyncClient`. Use one client from one thread at a time. A
    `KeyboardInterrupt` may come at any time: afterwards the client can be used on, unless it was sending.
    """

    def __init__(self, connection: socket.socket, timeout: float = 10.0) -> None:
        """Over a connected socket; rather call `connect()`."""
        self._socket = connection
        self._timeout = timeout
        self._core = Core()
        self._inbox = Inbox()
        self._is_closed = False

    @classmethod
    def open(cls, host: str, port: int, *, timeout: float = 10.0, tls: ssl.SSLContext | None = None) -> Self:
        """Connect, without a name yet: `hello()` comes next.

        `timeout`: seconds for this, and for each answer later. `tls`: as `ssl.create_default_context()` makes
        it; the server's certificate must be for `host`. Raises `OSError`.
        """
        connection = socket.create_connection((host, port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            try:
                connection = tls.wrap_socket(connection, server_hostname=host)
            except BaseException:
                connection.close()
                raise
        return cls(connection, timeout)

    @classmethod
    def connect(
        cls, host: str, port: int, name: str, *, timeout: float = 10.0, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect and say hello.

        `name`: 1 to 32 characters. `timeout`: seconds for this and for each answer later. `tls`: as for `open`.
        Raises `OSError` if there is no connection, `NameTaken` (with a free `suggestion`) or another `Refused`.
        """
        client = cls.open(host, port, timeout=timeout, tls=tls)
        try:
            client.hello(name)
        except BaseException:
            client._socket.close()
            raise
        return client

    def hello(self, name: str) -> None:
        """Ask for a name; after a `NameTaken` another may be tried. Raises `Refused`, `ConnectionLost`."""
        self._ask(*self._core.hello(name))

    def users(self) -> list[str]:
        """Return the names of all who are connected, one's own too.

        Raises `ConnectionLost`, `TimeoutError`, `InboxFull`.
        """
        return self._ask(*self._core.who())

    @overload
    def send(self, to: str, text: str, *, confirm: Literal[True] = True) -> Sent: ...
    @overload
    def send(self, to: str, text: str, *, confirm: bool) -> Sent | None: ...
    def send(self, to: str, text: str, *, confirm: bool = True) -> Sent | None:
        """Send a message to one; return its `id` and `time` once the server has taken it.

        With `confirm=False` do not wait, and return None; a refusal then comes as an `Error` in the iteration.
        A server that knows only the brief never confirms. How long `text` may be is the server's affair.
        Raises `Refused` (`unknown_user`, `too_big`, …), `ConnectionLost`; `TimeoutError` or `InboxFull` if it
        cannot be known whether it was taken; `UnicodeEncodeError` for a lone surrogate.
        """
        return self._say(to, text, confirm=confirm)

    @overload
    def broadcast(self, text: str, *, confirm: Literal[True] = True) -> Sent: ...
    @overload
    def broadcast(self, text: str, *, confirm: bool) -> Sent | None: ...
    def broadcast(self, text: str, *, confirm: bool = True) -> Sent | None:
        """Send a message to everybody else; all else as for `send()`."""
        return self._say(None, text, confirm=confirm)

    def receive(self, timeout: float | None = None) -> Message:
        """Return the next message; wait for it at most this many seconds (0: not at all, None: for ever).

        Raises `TimeoutError`, and `ConnectionLost` once all that came before has been returned.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._inbox:
            self._read(deadline)
        return self._inbox.take()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        if self._is_closed and not self._inbox:
            raise StopIteration
        return self.receive()

    def close(self) -> None:
        """Say quit, and take what was still on its way; it can be iterated over. May be called again.

        Waits for the server to close the connection, `timeout` seconds at most.
        """
        if self._is_closed:
            return
        deadline = time.monotonic() + self._timeout
        try:
            self._write(self._core.quit())
            while not self._inbox.is_full:
                self._read(deadline)
        except OSError:  # the end of the connection, or of our patience
            pass
        finally:
            self._is_closed = True
            self._socket.close()
            self._core.lose("this client has been closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say(self, to: str | None, text: str, *, confirm: bool) -> Sent | None:
        if confirm:
            return self._ask(*self._core.send(to, text))
        self._write(self._core.send_unconfirmed(to, text))
        return None

    def _ask(self, request: bytes, call: Call[Result]) -> Result:
        deadline = time.monotonic() + self._timeout
        try:
            self._write(request)
            while not call.is_done:
                if self._inbox.is_full:
                    raise InboxFull(len(self._inbox))
                self._read(deadline)
            return call.result()
        finally:
            self._core.forget(call)

    def _write(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(data)
        # Half a request may have gone out: nothing can be sent behind it.
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        except BaseException:
            self._lost("interrupted while sending")
            raise

    def _read(self, deadline: float | None) -> None:
        """Read once, until the deadline."""
        if self._core.lost:
            raise ConnectionLost(self._core.lost)
        try:
            self._socket.settimeout(None if deadline is None else max(0, deadline - time.monotonic()))
            data = self._socket.recv(RECEIVE_SIZE)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            raise TimeoutError("nothing came from the server in time") from None
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        if not data:
            raise self._lost("the server closed the connection")
        self._inbox.put(self._core.receive(data))

    def _lost(self, reason: str) -> ConnectionLost:
        self._core.lose(reason)
        return ConnectionLost(reason)
