"""The log: one line for each join, leave and refused request; never the text of a message."""

import contextlib
import logging
import os
import select
import sys
import time
from collections.abc import Callable

from chatroom.hub.ports import Timing
from chatroom.protocol.messages import ErrorReply

log = logging.getLogger("chatroom")

DELAY = 0.1
"""Seconds that lines may be held back, to be written together, at a tenth of the cost of a `logging` record."""

# Lines that may be written at once, and then per second; the rest is counted, and the count is logged.
_ALLOWANCE = {
    "joined": (1000, 100),
    "left": (1000, 100),
    "refused": (200, 10),
    "turned away": (200, 10),
    "decided": (200, 10),
}


_NEWLINE = 0x0A
_AT_ONCE = 4096
"""Bytes that a pipe takes without waiting if it takes any (`PIPE_BUF` on Linux)."""


class LineWriter:
    """Writes text to a file descriptor, past Python's buffers. What cannot be written now is dropped.

    `write()` never raises and never waits: neither for a full disk, nor for a pipe or terminal that nobody
    reads. As nothing is kept, nothing is left to fail when the process ends, and its exit status stays its own.
    """

    def __init__(self, descriptor: int = 2) -> None:
        """`descriptor`: 1 or 2. What its encoding lacks is written as an escape."""
        stream = {1: sys.stdout, 2: sys.stderr}[descriptor]
        self._encoding = getattr(stream, "encoding", None) or "ascii"
        self._descriptor = descriptor
        self._is_cut = False
        with contextlib.suppress(OSError, AttributeError):  # a terminal, which cannot tell how much it takes
            self._descriptor = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        self._poll = select.poll() if hasattr(select, "poll") else None  # Windows has none
        if self._poll:
            self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        """Write whole lines, as far as that is possible without waiting."""
        data = (b"\n" if self._is_cut else b"") + text.encode(self._encoding, "backslashreplace")
        written = 0
        with contextlib.suppress(OSError):  # there is nowhere to report it
            while written < len(data) and (self._poll is None or self._poll.poll(0)):
                written += os.write(self._descriptor, data[written : written + _AT_ONCE])
        if written:
            self._is_cut = data[written - 1] != _NEWLINE


class LogObserver:
    """Writes the hub's events, each as one line.

    Names are quoted as Python quotes strings, so that none can pass for another line or hide characters. Only
    the code of an error is logged, not its text, which may quote the request. Bursts of events are summed up,
    so that they cannot fill a disk.
    """

    def __init__(self, timing: Timing, write: Callable[[str], None] | None = None) -> None:
        """`write` takes whole lines; by default, they go to standard error."""
        self._timing = timing
        self._write = write or LineWriter().write
        self._lines: list[str] = []
        self._left = {kind: float(burst) for kind, (burst, _) in _ALLOWANCE.items()}
        self._unwritten = dict.fromkeys(_ALLOWANCE, 0)
        self._refilled = timing.time()
        self._stamped = (0, "")
        self._flush_is_due = False

    def joined(self, name: str, peer: str) -> None:
        """A user has logged in."""
        self._event("joined", f"{name!r} from {peer}")

    def left(self, name: str, peer: str, reason: str) -> None:
        """A user has left."""
        self._event("left", f"{name!r} from {peer} ({reason})")

    def refused(self, name: str | None, peer: str, error: ErrorReply) -> None:
        """A request was answered with an error."""
        self._event("refused", f"{error.error} for {'' if name is None else f'{name!r} from '}{peer}")

    def decided(self, what: str, name: str, by: str | None) -> None:
        """An operator or the command line has decided something; the reason is never logged."""
        self._event("decided", f"{what} {name!r} by {'the command line' if by is None else repr(by)}")

    def turned_away(self, peer: str, reason: str) -> None:
        """A connection was closed before a user had logged in on it."""
        self._event("turned away", f"{peer} ({reason})")

    def note(self, text: str) -> None:
        """Log something else that the operator should know."""
        self._lines.append(f"{self._stamp()} {_visible(text)}\n")
        if not self._flush_is_due:
            self._flush_is_due = True
            self._timing.call_later(DELAY, self.flush)

    def flush(self) -> None:
        """Write the lines that were held back, and the counts of those that were too many."""
        self._flush_is_due = False
        now = self._timing.time()
        for kind, (burst, rate) in _ALLOWANCE.items():
            self._left[kind] = min(burst, self._left[kind] + rate * (now - self._refilled))
            if self._unwritten[kind] and self._left[kind] >= 1:
                self._lines.append(f"{self._stamp()} {kind}: {self._unwritten[kind]} more\n")
                self._unwritten[kind] = 0
        self._refilled = now
        lines, self._lines = self._lines, []
        self._write("".join(lines))
        if any(self._unwritten.values()):
            self._flush_is_due = True
            self._timing.call_later(1.0, self.flush)

    def _event(self, kind: str, text: str) -> None:
        if self._left[kind] >= 1:
            self._left[kind] -= 1
            self.note(f"{kind}: {text}")
        else:
            self._unwritten[kind] += 1
            if not self._flush_is_due:
                self._flush_is_due = True
                self._timing.call_later(DELAY, self.flush)

    def _stamp(self) -> str:
        """Return the date and time, formatted once a second."""
        now = int(time.time())
        if now != self._stamped[0]:
            self._stamped = (now, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)))
        return self._stamped[1]


class _LineHandler(logging.Handler):
    """Writes records without Python's buffers. The lines of a traceback are indented."""

    def __init__(self) -> None:
        super().__init__()
        self._writer = LineWriter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        lines = map(_visible, self.format(record).splitlines())
        self._writer.write("\n    ".join(lines) + "\n")


def log_to_stderr() -> None:
    """Send warnings and errors, above all bugs, to standard error."""
    handler = _LineHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)  # asyncio's own records too


def occupy_standard_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed, on the null device.

    Otherwise the first connections would get these numbers, and the log would be sent to them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free


def _visible(text: str) -> str:
    """Return one line with its control characters, and others that cannot be printed, as escapes."""
    return text if text.isprintable() else ascii(text)[1:-1]
