"""A pipe: plain lines in, plain lines out, complaints to the standard error."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TextIO

from chatroom.terminal.screen import PROMPT, Chat
from chatroom.terminal.text import Pieces

if sys.platform != "win32":
    import termios

PROGRESS = 1.0
"""Seconds between two reports of how far the input has been sent."""


class PlainScreen:
    """Lines from the standard input, read by a thread: not every input can be waited for otherwise.

    If they take long to send, and nobody types them, somebody at a terminal sees on the standard error how many
    have been. `is_interactive`: somebody types them, though the output is no terminal, or one that can only
    print.
    """

    has_editor = False

    def __init__(self, *, is_interactive: bool) -> None:
        self.status = 0
        self.is_interactive = is_interactive
        self._chat: Chat
        self.has_left = asyncio.Event()
        self._taken = 0
        self._reports = bool(sys.stderr and sys.stderr.isatty() and not is_interactive)
        self._reported = time.monotonic()
        self._report = ""
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)  # the thread reads no further than it is asked to
        self._reads = False

    async def read_name(self, question: str, offer: str) -> None:
        """Nobody can be asked."""
        question = question or "start again with another name"
        self.complain(f"{question} (try {offer})" if offer else question)

    async def read_password(self, prompt: str, question: str = "") -> str | None:
        """Ask for it where somebody types, with the terminal's echo switched off meanwhile."""
        if not self.is_interactive or sys.platform == "win32":
            return None
        if question:
            self.complain(question)
        print(prompt, end="", file=sys.stderr, flush=True)
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        silent = [*before]
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
        try:
            line = await self._next_line()
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
            print(file=sys.stderr, flush=True)
        return None if line is None else line.decode("utf-8", "replace")

    @asynccontextmanager
    async def conversation(self, chat: Chat) -> AsyncGenerator[None]:
        """Print the prompt, once, and begin to read."""
        self._chat = chat
        self.show([("", PROMPT)])
        self._begin_to_read()
        try:
            yield
        finally:
            self._replace_report("")

    async def read_line(self) -> str | None:
        """Return the next line that is UTF-8, and complain about others; None at the end of input."""
        if self._reports and self._taken and time.monotonic() - self._reported >= PROGRESS:
            self._replace_report(f"{self._taken} lines sent")
            self._reported = time.monotonic()
        while True:
            self._taken += 1
            if (line := await self._next_line()) is None:
                return None
            try:
                text = line.decode()
            except UnicodeDecodeError:
                self.complain(f"{self.place}not sent: this is not UTF-8")
                continue
            said = self._chat.take(text) if self.is_interactive else None
            if said is None:
                return text
            if said:
                self.complain(said)

    @property
    def place(self) -> str:
        """The number of the line, in a pipe."""
        return "" if self.is_interactive else f"line {self._taken}: "

    def show(self, pieces: Pieces) -> None:
        """Print the line."""
        self._replace_report("")
        write_line("".join(text for _, text in pieces), sys.stdout)

    def complain(self, text: str) -> None:
        """Print the line to the standard error; in a pipe, the program will not have succeeded."""
        self.status = 0 if self.is_interactive else 1
        self._replace_report("")
        write_line(text, sys.stderr)

    def _replace_report(self, text: str) -> None:
        if self._report or text:
            blank = " " * len(self._report)
            print(f"\r{blank}\r{text}", end="", file=sys.stderr, flush=True)
        self._report = text

    def _begin_to_read(self) -> None:
        if not self._reads:
            self._reads = True
            # A daemon: the program may end while it waits for input.
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read_all, args=[loop], daemon=True).start()

    async def _next_line(self) -> bytes | None:
        """Return the next line; None at the end of input, however often it is asked for."""
        self._begin_to_read()
        self._wanted.release()
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
        return line

    def _read_all(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop has been closed: the program ends
            for line in _lines(sys.stdin.fileno() if sys.stdin else None):
                self._wanted.acquire()
                loop.call_soon_threadsafe(self._lines.put_nowait, line)
            loop.call_soon_threadsafe(self._lines.put_nowait, None)


def write_line(text: str, file: TextIO | None) -> None:
    """Print a line in one piece: unbuffered, Python writes its end apart, and something could come between."""
    print(f"{text}\n", end="", file=file, flush=True)


def _lines(descriptor: int | None) -> Iterator[bytes]:
    """Read lines without Python's buffered reader, whose lock would abort the program if it ends meanwhile."""
    if descriptor is None:
        return  # the program was started without an input
    begun: list[bytes] = []
    with suppress(OSError):  # an input that cannot be read, or no longer, has ended
        while data := os.read(descriptor, 65536):
            *ends, rest = data.split(b"\n")
            for end in ends:
                yield b"".join([*begun, end]).rstrip(b"\r")
                begun.clear()
            begun.append(rest)
    if last := b"".join(begun):
        yield last
