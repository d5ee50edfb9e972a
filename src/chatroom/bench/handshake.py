"""A connection on its way in: what is said, and what must be answered, step by step."""

import socket

from chatroom.bench.wire import BenchError


class Handshake:
    """The first step is taken at once; `go_on` takes the others, as the answers come in."""

    def __init__(self, connection: socket.socket, steps: list[tuple[bytes, bytes]], refusal: bytes) -> None:
        self._socket = connection
        self._steps = iter(steps)
        self._refusal = refusal
        self._answer = b""
        self._step()

    def go_on(self) -> bool:
        """Take an answer; return whether that was the last. Raises `BenchError` if the server refuses."""
        try:
            data = self._socket.recv(4096)
        except OSError as error:
            raise BenchError(f"a connection was lost: {error}") from error
        self._answer += data
        if self._refusal in self._answer:
            raise BenchError(f"the server refused: {self._answer[-300:].decode(errors='replace').strip()}")
        if not data:
            raise BenchError("the server closed a connection before it was welcome")
        return self._end in self._answer and not self._step()

    def _step(self) -> bool:
        request, self._end = next(self._steps, (b"", b""))
        self._answer = b""
        if request:
            self._socket.sendall(request)
        return bool(request)
