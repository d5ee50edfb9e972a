"""Reads what one member gets, message by message, and knows which must come next."""

import re

from chatroom.bench.wire import BenchError

_NUMBERED = re.compile(rb"\^(\d{4}):(\d{9}):")
_LONGEST = 16
"""Bytes of a mark and its numbers: so much may have to wait for the rest of it."""


class Sequence:
    """The numbers due from each sender, from 0 on."""

    def __init__(self) -> None:
        self._due: dict[bytes, int] = {}
        self._tail = b""

    def see(self, data: bytes) -> None:
        """Take some bytes. Raises `BenchError` if a message was lost, came twice, or out of order."""
        data = self._tail + data
        due, end = self._due, 0
        for match in _NUMBERED.finditer(data):
            sender, number = match[1], int(match[2])
            if number != due.get(sender, 0):
                raise BenchError(f"of sender {int(sender)}, {due.get(sender, 0)} was due, and {number} came")
            due[sender] = number + 1
            end = match.end()
        self._tail = data[max(end, len(data) - _LONGEST) :]
