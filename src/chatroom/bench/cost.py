"""What a process has used, as the operating system accounts for it."""

import os
import time
from pathlib import Path


def cpu(process: int) -> float:
    """Return the seconds of processor time that all threads of a process have used.

    By the scheduler's own count in nanoseconds where Linux offers it, else in ticks.
    """
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Time, and what server and generator use in it."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._start = (time.perf_counter(), cpu(process), time.process_time())
        self.wall = self.server = self.generator = 0.0

    def stop(self) -> "Meter":
        """Read off the seconds since the start: on the wall, of the server's CPU, of the generator's."""
        now = (time.perf_counter(), cpu(self._process), time.process_time())
        self.wall, self.server, self.generator = (
            end - start for end, start in zip(now, self._start, strict=True)
        )
        return self
