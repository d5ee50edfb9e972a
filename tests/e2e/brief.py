"""A client that knows only the brief, as a student would write it."""

import json
import socket
import struct
from types import TracebackType
from typing import Any, Self


class BriefClient:
    """Sends objects without a delimiter, and takes what one `recv()` returns for one message."""

    end = b""

    def __init__(self, port: int, name: str | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=100)
        if name is not None:
            self.ask(code="hello", name=name)
            answer = self.read()
            if answer != {"code": "welcome"}:
                self.socket.close()
                raise AssertionError(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, **request: Any) -> None:
        self.send(json.dumps(request).encode() + self.end)

    def read(self) -> Any:
        return json.loads(self.socket.recv(65536))

    def is_at_end(self) -> bool:
        """Wait for the end of the connection; what else is still to come is an error."""
        data = self.socket.recv(65536)
        assert not data, data
        return True

    def reset(self) -> None:
        """Vanish with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class LineClient(BriefClient):
    """Sends objects on lines of their own, and reads line by line."""

    end = b"\n"

    def __init__(self, port: int, name: str | None = None) -> None:
        self._unread = b""
        super().__init__(port, name)

    def read(self) -> Any:
        while b"\n" not in self._unread:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self._unread)
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        return json.loads(line)
