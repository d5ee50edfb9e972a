"""Servers as students write them: they pass messages on, and know nothing but the brief."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass
class Hello:
    """What `**fields` fits or raises `TypeError`, as the other requests."""

    code: str
    name: str


@dataclass
class Bare:
    """A request without fields."""

    code: str


@dataclass
class Outgoing:
    """A message to one."""

    code: str
    to: str
    content: str


@dataclass
class OutgoingBroadcast:
    """A message to all others."""

    code: str
    content: str


TYPES = {
    "hello": Hello,
    "who": Bare,
    "outgoing": Outgoing,
    "outgoing_broadcast": OutgoingBroadcast,
    "quit": Bare,
}


class NaiveServer:
    """A thread for each client, and one table of all.

    `one_a_read`: what `recv()` returns is taken for one message. `typed`: a field that the brief does not name
    ends the connection. `quits`: `quit` is known; else the end of the stream is waited for. `knows_who`: `who`
    is answered. `delimiter` and `indent`: of its own messages. `received` has every message that was passed
    on, `fields` the names of all fields of requests but `hello`.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        one_a_read: bool = False,
        typed: bool = False,
        quits: bool = True,
        knows_who: bool = True,
        delimiter: str = "",
        indent: int | None = None,
    ) -> None:
        self.received: list[tuple[str, str]] = []
        self.fields: set[str] = set()
        self.one_a_read, self.typed, self.quits, self.knows_who = one_a_read, typed, quits, knows_who
        self.delimiter, self.indent = delimiter, indent
        self._users: dict[str, socket.socket] = {}
        self._listening = socket.create_server((self.host, 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in (self._listening, *self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for connection in (self._listening, *self._connections):
            connection.close()

    def _start(self, target: Any, *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):  # the test is over
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                self._start(self._serve, connection)

    def _requests(self, connection: socket.socket) -> Iterator[dict[str, Any]]:
        if self.one_a_read:
            while data := connection.recv(1024):
                yield json.loads(data)
            return
        decoder, text = json.JSONDecoder(), ""
        while data := connection.recv(1024):
            text = (text + data.decode()).lstrip()
            with suppress(ValueError):
                while text:
                    request, end = decoder.raw_decode(text)
                    text = text[end:].lstrip()
                    yield request

    def _serve(self, connection: socket.socket) -> None:
        name = ""
        try:
            for request in self._requests(connection):
                if self.typed:
                    TYPES[request["code"]](**request)
                if request["code"] == "hello":
                    name = request["name"]
                    self._users[name] = connection
                    self._send(connection, code="welcome")
                else:
                    self.fields |= set(request)
                    if not self._obey(request, name, connection):
                        break
        except (ValueError, TypeError, OSError):
            pass
        finally:
            self._users.pop(name, None)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _obey(self, request: dict[str, Any], name: str, connection: socket.socket) -> bool:
        """Do what is asked; return whether the connection goes on."""
        match request:
            case {"code": "who"} if self.knows_who:
                self._send(connection, code="users", users=list(self._users))
            case {"code": "outgoing", "to": to, "content": content}:
                self.received.append((name, content))
                if to in self._users:
                    self._send(self._users[to], code="incoming", **{"from": name}, content=content)
            case {"code": "outgoing_broadcast", "content": content}:
                self.received.append((name, content))
                for other, their in list(self._users.items()):
                    if other != name:
                        self._send(their, code="incoming_broadcast", **{"from": name}, content=content)
            case {"code": "quit"}:
                return not self.quits
        return True

    def _send(self, connection: socket.socket, **message: Any) -> None:
        connection.sendall((json.dumps(message, indent=self.indent) + self.delimiter).encode())
