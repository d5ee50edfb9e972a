"""Where one JSON object ends, in bytes that may be anything.

The scanner does not judge whether the object is valid; the decoder will. It counts braces outside of
strings, and gives an object up where a line breaks inside a string, or where another object begins
though no value may stand: so a lost `"` or `}` costs one message, not all that follow.
"""

import re
import sys

from chatroom.protocol.messages import MAX_DEPTH, ErrorCode, Fault

# Outside of strings: all that neither nests nor quotes. In a string: all that neither ends nor breaks it.
_PLAIN = re.compile(rb'[^"{}\[\]]*+')
_STRING = re.compile(rb'(?:[^"\\\n]++|\\[^\n])*+')
_WHITE = b" \t\r\n"

_NEWLINE, _QUOTE, _BACKSLASH, _OBJECT, _OBJECT_ENDS, _ARRAY = b'\n"\\{}['


class ObjectScan:
    """The scan of one object, from its `{` to its end.

    It goes on in each chunk where it stood at the end of the last one, and keeps the bytes of the object
    as long as there is no fault in it.
    """

    __slots__ = (
        "_arrays",
        "_escaped",
        "_in_string",
        "_max_object",
        "_objects",
        "_seen",
        "_value_next",
        "fault",
        "is_broken",
        "is_whole",
        "kept",
        "steps",
    )

    def __init__(self, max_object: int) -> None:
        self._max_object = max_object
        self._seen = 0  # bytes in the chunks before
        self._objects = 0  # open ones, the outermost included
        self._arrays = 0
        self._in_string = False
        self._escaped = False  # the chunk before ended behind a backslash
        self._value_next = True  # what came last was : , or [
        self.kept = bytearray()
        """The object's bytes so far; empty when there is a fault."""
        self.fault: Fault | None = None
        """The first thing wrong with the object, as soon as it is seen."""
        self.is_whole = False
        """The closing brace was found."""
        self.is_broken = False
        """The object was given up: it ends where the scan stopped."""
        self.steps = 0
        """Steps that the last call took: some for each quotation mark, brace and bracket."""

    def scan(self, data: bytes, start: int, most: int = sys.maxsize) -> int:
        """Scan on in this chunk; return where the object ended, or the end of the chunk.

        `most`: steps after which the scan stops for now, wherever it is.
        """
        position, self.steps = start, 0
        origin = start - self._seen  # where in this chunk the object began, or would have
        while position < len(data) and not self.is_whole and not self.is_broken and self.steps < most:
            self.steps += 1
            step = self._scan_string if self._in_string else self._scan_structure
            position = step(data, position, origin)
        self._check_size(position - origin)
        self._seen += position - start
        if self.fault is None:
            self.kept += data[start:position]
        else:
            self.kept.clear()
        return position

    def _scan_string(self, data: bytes, position: int, origin: int) -> int:
        """Scan to the end of the string, or of the data."""
        if self._escaped:
            self._escaped = False
            if data[position] != _NEWLINE:
                position += 1
        match = _STRING.match(data, position)
        position = match.end() if match else position
        if position == len(data):
            return position
        self._check_size(position + 1 - origin)
        if data[position] == _QUOTE:
            self._in_string = False
            self._value_next = False
            return position + 1
        if data[position] == _BACKSLASH and position + 1 == len(data):
            self._escaped = True
            return position + 1
        self._give_up("a string may not contain a raw line break")
        return data.index(b"\n", position) + 1

    def _scan_structure(self, data: bytes, position: int, origin: int) -> int:
        """Scan past the next quotation mark, brace or bracket, or to the end of the data."""
        match = _PLAIN.match(data, position)
        end = match.end() if match else position
        passed = data[position:end].rstrip(_WHITE)
        if passed:
            self._value_next = passed[-1] in b":,"
        if end == len(data):
            return end
        self._check_size(end + 1 - origin)
        byte = data[end]
        if byte == _QUOTE:
            self._in_string = True
        elif byte == _OBJECT:
            if not self._value_next:
                self._give_up("an object began inside another, which was given up")
                return end
            self._objects += 1
        elif byte == _OBJECT_ENDS:
            self._objects -= 1
            self.is_whole = self._objects == 0
        elif byte == _ARRAY:
            self._arrays += 1
        else:
            # Braces alone decide where the object ends; brackets count for its depth only.
            self._arrays = max(0, self._arrays - 1)
        self._value_next = byte == _ARRAY
        if self._objects + self._arrays > MAX_DEPTH:
            self._refuse(ErrorCode.TOO_DEEP, f"objects and arrays may be nested {MAX_DEPTH} deep at most")
        return end + 1

    def _check_size(self, size: int) -> None:
        if size > self._max_object:
            self._refuse(ErrorCode.TOO_BIG, f"an object may have {self._max_object} bytes at most")

    def _give_up(self, text: str) -> None:
        self._refuse(ErrorCode.BAD_JSON, text)
        self.is_broken = True

    def _refuse(self, code: ErrorCode, text: str) -> None:
        if self.fault is None:
            self.fault = Fault(error=code, message=text)
