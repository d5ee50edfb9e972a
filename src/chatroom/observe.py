"""What the operator sees: one line for each join, leave and refused message; never what people wrote."""

import logging
import sys
import time
from typing import TextIO

from chatroom.hub.ports import Timing
from chatroom.protocol.messages import Error

log = logging.getLogger("chatroom")

DELAY = 0.1
"""Seconds that lines may be held back, to be written together: a line costs a tenth of a `logging` record."""

# Lines that may be written at once, and then each second; the rest is counted, and the count written.
_ALLOWANCE = {"joined": (1000, 100), "left": (1000, 100), "refused": (200, 10), "turned away": (200, 10)}


class LogObserver:
    """Writes the hub's events to a stream.

    Names that are welcome have no control characters in them. What was refused might have: of an error only
    its word is logged, not its text, which may quote the request. A flood of events is summed up, so that it
    cannot fill a disk.
    """

    def __init__(self, timing: Timing, stream: TextIO = sys.stderr) -> None:
        self._timing = timing
        self._stream = stream
        self._lines: list[str] = []
        self._left = {kind: float(burst) for kind, (burst, _) in _ALLOWANCE.items()}
        self._unwritten = dict.fromkeys(_ALLOWANCE, 0)
        self._refilled = timing.time()
        self._stamped = (0, "")
        self._flush_is_due = False

    def joined(self, name: str, peer: str) -> None:
        """Somebody is welcome."""
        self._event("joined", f"{name} from {peer}")

    def left(self, name: str, peer: str, reason: str) -> None:
        """Somebody has gone."""
        self._event("left", f"{name} from {peer} ({reason})")

    def refused(self, name: str | None, peer: str, error: Error) -> None:
        """A request was answered with an error."""
        self._event("refused", f"{error.error} to {name or 'a stranger'} from {peer}")

    def turned_away(self, peer: str, reason: str) -> None:
        """A connection was ended before anybody was welcome on it."""
        self._event("turned away", f"{peer} ({reason})")

    def note(self, text: str) -> None:
        """Something else that the operator should know."""
        self._lines.append(f"{self._stamp()} {text}\n")
        if not self._flush_is_due:
            self._flush_is_due = True
            self._timing.call_later(DELAY, self.flush)

    def flush(self) -> None:
        """Write what has been held back, and go on counting what was too much."""
        self._flush_is_due = False
        now = self._timing.time()
        for kind, (burst, rate) in _ALLOWANCE.items():
            self._left[kind] = min(burst, self._left[kind] + rate * (now - self._refilled))
            if self._unwritten[kind] and self._left[kind] >= 1:
                self._lines.append(f"{self._stamp()} {kind}: {self._unwritten[kind]} more\n")
                self._unwritten[kind] = 0
        self._refilled = now
        self._stream.write("".join(self._lines))
        self._stream.flush()
        self._lines.clear()
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
        """Return the time of day, to the second; it is made once a second."""
        now = int(time.time())
        if now != self._stamped[0]:
            self._stamped = (now, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)))
        return self._stamped[1]


def log_to_stderr() -> None:
    """Send the log of what should not happen, bugs above all, to the standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
