"""More generator processes, for when one cannot take what the server delivers.

Each has a share of the readers, and counts what they get where the first generator, who sends, can see it.
"""

import multiprocessing
import os
import signal
from collections.abc import Sequence as Items
from multiprocessing.connection import Connection

from msgspec import Struct

from chatroom.bench.place import pin
from chatroom.bench.sequence import Sequence
from chatroom.bench.swarm import Swarm
from chatroom.bench.target import Target
from chatroom.bench.wire import BenchError

_FORK = multiprocessing.get_context("fork")
SETTLE = -1
"""What it is told instead of a count, for it to wait until nothing more comes in, and to count from there."""
_ANSWER = 60.0
"""Seconds that a helper may take to answer."""


class Share(Struct, frozen=True):
    """What a helper has to do."""

    target: Target
    readers: Items[int]
    frame: int
    """Bytes of one delivery."""
    processor: int | None
    bell: int
    """An eventfd: rung when something was delivered."""


class Helper:
    """One generator process beside this one; it joins its readers at once."""

    def __init__(self, share: Share) -> None:
        self.readers = len(share.readers)
        self._pipe, theirs = _FORK.Pipe()
        self._count = _FORK.RawValue("q", 0)
        self._process = _FORK.Process(target=_work, args=(share, theirs, self._count), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid or 0

    @property
    def delivered(self) -> int:
        """Messages that came in, to all of its readers."""
        count: int = self._count.value
        return count

    def wait(self) -> None:
        """Wait until it has done what it was told last. Raises `BenchError` if it could not."""
        try:
            trouble = self._pipe.recv() if self._pipe.poll(_ANSWER) else "a generator process hangs"
        except EOFError:
            trouble = "a generator process has died"
        if trouble:
            raise BenchError(trouble)

    def tell(self, expected: int) -> None:
        """Tell it to see that each reader got exactly so many messages, or to settle; then `wait`."""
        self._pipe.send(expected)

    def has_trouble(self) -> bool:
        """Whether it has something to say that it was not asked; `wait` raises it."""
        return self._pipe.poll()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _work(share: Share, pipe: Connection, count: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    """Be a helper."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first generator ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pin(share.processor)
    try:
        with Swarm(share.target.address, share.frame) as swarm:
            readers, _ = swarm.join(share.target.wire, share.readers)
            pipe.send("")
            swarm.listen(pipe.fileno())
            while True:
                if swarm.poll(1):
                    count.value = swarm.delivered
                    os.eventfd_write(share.bell, 1)
                if not swarm.rang:
                    continue
                swarm.rang = False
                expected = pipe.recv()
                if expected == SETTLE:
                    swarm.settle()
                    count.value = 0
                    readers[0].watch = Sequence()
                else:
                    for reader in readers:
                        swarm.must_have(reader, expected)
                pipe.send("")
    except (BenchError, OSError) as error:
        pipe.send(str(error))
    except EOFError:
        pass  # the first generator has ended
