"""What waits in memory for all slow readers together, counted as it is kept: once, however many wait for it."""

from typing import Protocol


class Holder(Protocol):
    """An outbox that holds pieces."""

    def let_go(self) -> None:
        """Give the connection up, and release all that is held."""


class Backlog:
    """The pieces that outboxes hold, by identity."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes that all pieces together may have."""
        self._limit = limit
        self._holders: dict[int, int] = {}  # how many outboxes hold a piece
        self._outboxes: dict[Holder, int] = {}  # the bytes that each holds
        self.size = 0
        """Bytes in memory."""

    def hold(self, outbox: Holder, piece: bytes) -> None:
        """Count a piece; if there is too much now, the outbox that holds most lets go."""
        holders = self._holders.get(id(piece), 0)
        self._holders[id(piece)] = holders + 1
        if not holders:
            self.size += len(piece)
        self._outboxes[outbox] = self._outboxes.get(outbox, 0) + len(piece)
        while self.size > self._limit:
            max(self._outboxes, key=self._outboxes.__getitem__).let_go()

    def release(self, outbox: Holder, piece: bytes) -> None:
        """Count a piece no longer."""
        left = self._holders.pop(id(piece)) - 1
        if left:
            self._holders[id(piece)] = left
        else:
            self.size -= len(piece)
        self._outboxes[outbox] -= len(piece)
        if not self._outboxes[outbox]:
            del self._outboxes[outbox]
