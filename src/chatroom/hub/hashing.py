"""Passwords that wait to be hashed.

Each takes some 50 ms, and they are hashed one at a time. So addresses are served in turn: who asks for a
hundred waits for a hundred, and one who comes from elsewhere for one of them.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from chatroom.hub.networks import host_of, network
from chatroom.hub.ports import Hasher, Timing
from chatroom.hub.refusal import Refusal

MOST = 100
"""Passwords that may wait: five seconds. Of more, the last of the address with the most waits no longer."""


class Hash(NamedTuple):
    """A hash to be made, or to be compared with."""

    is_wanted: Callable[[], bool]
    """Asked when its turn has come."""
    begin: Callable[[Callable[[object], None]], None]
    """Ask the hasher for it, and have the given function told of the outcome; or raise a `Refusal`."""
    then: Callable[[object], None]
    """Is told of the outcome; or of the refusal; or of None, if there is no outcome."""


class Hashing:
    """What is to be hashed, by address: an IPv4 address, or an IPv6 network of 64 bits, exempt or not."""

    def __init__(self, hasher: Hasher, timing: Timing) -> None:
        self.hasher = hasher
        self._timing = timing
        # In the order of their turns; none is empty.
        self._queues: dict[str, deque[Hash]] = {}
        self._is_busy = False

    def ask(self, peer: str, wanted: Hash) -> None:
        """Begin it when its turn has come; `peer` is an address with a port, as `Sink.peer` is."""
        self._queues.setdefault(network(host_of(peer)), deque()).append(wanted)
        if sum(map(len, self._queues.values())) > MOST:
            # Of those with as many, the one whose turn is furthest.
            origin = max(reversed(self._queues), key=lambda one: len(self._queues[one]))
            self._tell(self._take(origin, last=True), None)
        self._go_on()

    def _take(self, origin: str, *, last: bool = False) -> Hash:
        queue = self._queues[origin]
        taken = queue.pop() if last else queue.popleft()
        if not queue:
            del self._queues[origin]
        return taken

    def _go_on(self) -> None:
        """Begin the next that is wanted, if none is under way."""
        while self._queues and not self._is_busy:
            origin = next(iter(self._queues))
            hash_ = self._take(origin)
            if origin in self._queues:  # behind the others
                self._queues[origin] = self._queues.pop(origin)
            if not hash_.is_wanted():
                self._tell(hash_, None)
                continue
            try:
                hash_.begin(partial(self._done, hash_))
            except Refusal as refusal:
                self._tell(hash_, refusal)
            else:
                self._is_busy = True

    def _done(self, hash_: Hash, outcome: object) -> None:
        self._is_busy = False
        try:
            hash_.then(outcome)
        finally:
            self._go_on()

    def _tell(self, hash_: Hash, outcome: Refusal | None) -> None:
        """Tell of it later: who asks goes on first."""
        self._timing.call_soon(lambda: hash_.then(outcome))
