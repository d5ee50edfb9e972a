"""What waits in memory for all slow readers together, counted as it is kept: once, however many wait for it."""

from typing import Protocol


class Holder(Protocol):
    """An outbox that holds pieces."""

    def let_go(self) -> None:
        """Give the connection up, and release all that is held."""


class Backlog:
    """The pieces that outboxes hold, by identity, and the bytes that their transports keep."""

    def __init__(self, limit: int, of_one: int) -> None:
        """`limit`: bytes that all together may have; `of_one`: that one outbox may have."""
        self._limit = limit
        self.of_one = of_one
        self._holders: dict[int, int] = {}  # how many outboxes hold a piece
        self._outboxes: dict[Holder, int] = {}  # the bytes that each holds
        self._kept: dict[Holder, int] = {}  # by its transport
        self.size = 0
        """Bytes in memory."""

    def hold(self, outbox: Holder, piece: bytes) -> None:
        """Count a piece; if there is too much now, the outbox that holds most lets go."""
        holders = self._holders.get(id(piece), 0)
        self._holders[id(piece)] = holders + 1
        self._count(outbox, len(piece), 0 if holders else len(piece))

    def release(self, outbox: Holder, piece: bytes) -> None:
        """Count a piece no longer."""
        left = self._holders.pop(id(piece)) - 1
        if left:
            self._holders[id(piece)] = left
        self._count(outbox, -len(piece), 0 if left else -len(piece))

    def keep(self, outbox: Holder, size: int) -> None:
        """Count so many bytes that its transport keeps, and no others: as a rule they are a copy of its own."""
        more = size - self._kept.pop(outbox, 0)
        if size:
            self._kept[outbox] = size
        self._count(outbox, more, more)

    def _count(self, outbox: Holder, own: int, more: int) -> None:
        """Count more bytes, or fewer: so many as its own, so many in memory."""
        self.size += more
        bytes_held = self._outboxes.pop(outbox, 0) + own
        if bytes_held:
            self._outboxes[outbox] = bytes_held
        while self.size > self._limit and self._outboxes:
            max(self._outboxes, key=self._outboxes.__getitem__).let_go()
