"""The client program on a pseudo-terminal, read through a terminal emulator; and in a pipe."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, Self

import pexpect
import pyte

from conftest import PROJECT, run


class Server(Protocol):
    """What listens somewhere."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


PROMPT = "enter your message>"


class Terminal:
    """The client program on a pseudo-terminal of 60 by 20, and the screen that a person sees."""

    def __init__(
        self,
        server: Server,
        name: str,
        *options: str,
        shell: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """With `shell`, it is a command of this one, which is interactive."""
        self.screen = pyte.HistoryScreen(60, 20, history=5000)
        self.raw = ""
        self._stream = pyte.Stream(self.screen)
        client = [sys.executable, "client.py", server.host, str(server.port), name, *options]
        command = shlex.split(shell) if shell else client
        self.process = pexpect.spawn(
            command[0],
            command[1:],
            cwd=PROJECT,
            dimensions=(20, 60),
            encoding="utf-8",
            timeout=100,
            env={
                **os.environ,
                "TERM": "xterm-256color",
                "PS1": "$ ",
                "HOME": "/nonexistent",
                **(environment or {}),
            },
        )
        self.process.delaybeforesend = None
        if shell:
            self.type(f"{shlex.join(client)}\r")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.isalive():  # `close` would give up if it took longer than 0.1 s
            self.process.kill(signal.SIGKILL)
            self.process.wait()
        self.process.close()

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def all_lines(self) -> list[str]:
        """Return the screen and all that was scrolled off it."""
        gone = [
            "".join(row[x].data for x in range(self.screen.columns)).rstrip() for row in self.screen.history.top
        ]
        return [line for line in gone if line] + self.lines()

    def flat(self) -> str:
        """Return all that was printed, as if no line had been broken."""
        return "".join(self.all_lines())

    def wait(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Read until the screen shows what is waited for."""
        while not condition(self.lines()):
            self.read()
        return self.lines()

    def read(self) -> str:
        """Read on, as soon as there is something; return it."""
        try:
            data = str(self.process.read_nonblocking(4096, timeout=100))
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            raise AssertionError("\n".join(["waited in vain; the screen:", *self.lines()])) from error
        self._feed(data)
        return data

    def wait_for(self, text: str) -> list[str]:
        """Wait for the text, on one line or, broken between words, on several."""
        return self.wait(lambda lines: any(text in line for line in lines) or text in " ".join(lines))

    def type(self, text: str) -> None:
        self.process.send(text)

    def paste(self, text: str) -> None:
        """Paste as terminals do, once the program has asked for it."""
        while "\x1b[?2004h" not in self.raw:
            self.read()
        self.type(f"\x1b[200~{text}\x1b[201~")

    def resize(self, columns: int, *, breaks: bool) -> None:
        """Change the width: rows that are too wide are broken, as most terminals do, or cut off."""
        rows = [line.rstrip() for line in self.screen.display]
        y, x = self.screen.cursor.y, self.screen.cursor.x
        self.screen.resize(columns=columns)
        if breaks:
            parts = [[row[at : at + columns] for at in range(0, max(len(row), 1), columns)] for row in rows]
            above = [part for row in parts[:y] for part in row]
            screen = [*above, *(part for row in parts[y:] for part in row)]
            y = len(above) + x // columns
            first = max(0, y + 1 - self.screen.lines)
            text = "\r\n".join(screen[first : first + self.screen.lines])
            self._stream.feed(f"\x1b[H\x1b[2J{text}\x1b[{y - first + 1};{x % columns + 1}H")
        self.process.setwinsize(20, columns)

    def pause(self, seconds: float) -> None:
        """Read on until nothing has come for so long."""
        with suppress(pexpect.TIMEOUT):
            while True:
                self._feed(self.process.read_nonblocking(4096, timeout=seconds))

    def _feed(self, data: str) -> None:
        self.raw += data
        self._stream.feed(data)

    def status(self) -> int:
        """Wait for the end of the program; return its exit status."""
        self.process.expect(pexpect.EOF)
        self._feed(self.process.before)
        self.process.wait()
        self.process.close()
        return int(self.process.exitstatus)


def joined(
    server: Server,
    name: str = "ann",
    *options: str,
    shell: str | None = None,
    environment: dict[str, str] | None = None,
) -> Terminal:
    terminal = Terminal(server, name, *options, shell=shell, environment=environment)
    terminal.wait_for(PROMPT)
    return terminal


def pipe(server: Server, name: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run the client program in a pipe."""
    return run("client.py", server.host, str(server.port), name, text=text)


@contextmanager
def piped(server: Server) -> Iterator[subprocess.Popen[str]]:
    """Run the client program with pipes, until the prompt and on."""
    with subprocess.Popen(
        [sys.executable, "client.py", server.host, str(server.port), "ann"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as process:
        assert process.stdout
        try:
            while PROMPT not in process.stdout.readline():
                pass
            yield process
        finally:
            process.kill()
