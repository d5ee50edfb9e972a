"""A way to a server, which breaks when a test wants it to."""

import asyncio
import contextlib
from typing import Self


class Cable:
    """A connection to a server that can be cut, and mended."""

    host = "127.0.0.1"

    def __init__(self, port: int) -> None:
        self.server_port = port
        self.port = 0
        self._is_cut = False
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """Break what goes through it, with whatever is under way, and let nothing through."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        """Let new connections through."""
        self._is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            inner_reader, inner = await asyncio.open_connection(self.host, self.server_port)
            self._writers += [writer, inner]
            await asyncio.gather(self._pass_on(reader, inner), self._pass_on(inner_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
