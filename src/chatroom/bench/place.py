"""Which processor runs what: the server has one to itself, the generators have the others.

On one processor server and generator would take turns, and every turn would find a full window waiting:
the server would look better than it is when broadcasting, and worse when answering.
"""

import os

from msgspec import Struct


class Places(Struct, frozen=True):
    """The processors that we may use, divided; `None` leaves a process where the system puts it."""

    server: int | None
    generators: list[int]

    def of_generator(self, number: int) -> int | None:
        """Return the processor of this generator process; they share when there are more of them."""
        return self.generators[number % len(self.generators)] if self.generators else None


def divide(processors: set[int]) -> Places:
    """Give the first to the server; where there is only one, nothing is pinned."""
    first, *others = sorted(processors)
    return Places(server=first, generators=others) if others else Places(server=None, generators=[])


def pin(processor: int | None) -> None:
    """Run the caller, and whatever it starts from now on, on that processor only.

    The mask that the caller has inherited does not matter: a generator that is pinned already starts a server
    elsewhere.
    """
    if processor is not None:
        os.sched_setaffinity(0, {processor})


def may_share(process: int) -> bool:
    """Whether that process may run on a processor of ours."""
    return bool(os.sched_getaffinity(process) & os.sched_getaffinity(0))
