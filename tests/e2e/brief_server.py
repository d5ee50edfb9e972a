"""Somebody else's server: it knows the brief and nothing more."""

import json
import queue
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

# What each request of the brief consists of: such a server may well refuse anything else.
FIELDS = {
    "hello": {"code", "name"},
    "who": {"code"},
    "outgoing": {"code", "to", "content"},
    "outgoing_broadcast": {"code", "content"},
    "quit": {"code"},
}


def raw(*messages: dict[str, Any], delimiter: str = "") -> bytes:
    return "".join(json.dumps(message) + delimiter for message in messages).encode()


def incoming(content: str, sender: str = "bob") -> dict[str, str]:
    return {"code": "incoming", "from": sender, "content": content}


class BriefServer:
    """Serves one connection after the other, hangs up on fields that the brief does not name, delimits as told.

    `instead`: what to answer to the first requests of a code, one after the other, in place of the brief's
    answer; None ends the connection. `requests` holds all that came, `strange` what it did not understand.
    """

    host = "127.0.0.1"

    def __init__(self, *, delimiter: str = "", instead: dict[str, list[bytes | None]] | None = None) -> None:
        self.requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self.strange: list[dict[str, Any]] = []
        self._delimiter = delimiter
        self._instead = instead or {}
        self._listening = socket.create_server((self.host, 0))
        self._connection = self._listening  # the one that is served
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in (self._listening, self._connection):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def wait_for(self, code: str) -> dict[str, Any]:
        """Wait until a request of this code has come; return it, and pass over those before it."""
        while True:
            request = self.requests.get(timeout=100)
            if request["code"] == code:
                return request

    def send(self, *messages: dict[str, Any]) -> None:
        """Send something to whoever is connected."""
        self._connection.sendall(raw(*messages, delimiter=self._delimiter))

    def hang_up(self) -> None:
        """End the connection of whoever is connected."""
        self._connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with suppress(OSError):  # the test is over
            while True:
                self._connection, _ = self._listening.accept()
                with self._connection, suppress(ConnectionError):
                    self._talk()

    def _talk(self) -> None:
        decoder, text = json.JSONDecoder(), ""
        while data := self._connection.recv(65536):
            text = (text + data.decode()).lstrip()
            while text:
                request, end = decoder.raw_decode(text)
                text = text[end:].lstrip()
                if set(request) != FIELDS[request["code"]]:
                    self.strange.append(request)
                    return
                self.requests.put(request)
                if not self._answer(request):
                    return

    def _answer(self, request: dict[str, Any]) -> bool:
        """Answer the request; return whether the connection goes on."""
        code = request["code"]
        if self._instead.get(code):
            answer = self._instead[code].pop(0)
            self._connection.sendall(answer or b"")
            return answer is not None and code != "quit"
        if code == "hello":
            self.send({"code": "welcome"})
        elif code == "who":
            self.send({"code": "users", "users": ["bob", "ann"]})
        return bool(code != "quit")
