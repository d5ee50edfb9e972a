"""What processes have used, as the operating system accounts for it."""

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from chatroom.bench.wire import BenchError


def cpu(process: int) -> float:
    """Return the seconds of processor time that a process, its children, and all their threads have used."""
    used = 0.0
    for one in _family(process):
        with contextlib.suppress(OSError):  # a child that ended just now
            used += time.clock_gettime(~one << 3 | 2)  # clock_getcpuclockid(3)
    return used


def memory(process: int) -> int:
    """Return the resident memory of a process and its children, in bytes."""
    pages = 0
    for one in _family(process):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _family(process: int) -> list[int]:
    """Return the process, its children, and theirs."""
    tasks = Path(f"/proc/{process}/task")
    if not tasks.exists():
        raise BenchError(f"there is no process {process}")
    found = [process]
    for children in tasks.glob("*/children"):
        with contextlib.suppress(OSError, BenchError):
            for child in children.read_text().split():
                found += _family(int(child))
    return found


def busy() -> float:
    """Return the seconds for which processors were at work, for anybody, since the system was started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, interrupts, soft, stolen = map(int, fields)
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Time, and what server, generators and others use in it.

    `load` is the busiest generator's part of its processor; those that share one are added up. `others` is the
    part of all processors that went to processes which have nothing to do with the run.
    """

    def __init__(self, server: int, helpers: Sequence[int] = ()) -> None:
        self._server = server
        self._generators = [os.getpid(), *helpers]
        self._start = self._read()
        self.wall = self.cpu = self.load = self.others = 0.0

    def stop(self) -> "Meter":
        """Read off the seconds since the start: on the wall, of the server's processor, and the load."""
        wall, server, generators, everybody = self._read()
        self.wall = wall - self._start[0]
        self.cpu = server - self._start[1]
        loads: defaultdict[frozenset[int], float] = defaultdict(float)
        for process, before, after in zip(self._generators, self._start[2], generators, strict=True):
            where = frozenset(os.sched_getaffinity(process))
            is_pinned = len(where) == 1
            loads[where if is_pinned else frozenset([-process])] += (after - before) / self.wall
        self.load = max(loads.values())
        rest = everybody - self._start[3] - self.cpu - (sum(generators) - sum(self._start[2]))
        self.others = max(0.0, rest) / self.wall / (os.cpu_count() or 1)
        return self

    def _read(self) -> tuple[float, float, list[float], float]:
        generators = [time.clock_gettime(~one << 3 | 2) for one in self._generators]
        return time.perf_counter(), cpu(self._server), generators, busy()
