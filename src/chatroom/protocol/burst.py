"""Messages in a row that differ in nothing but their contents, as programs send them.

A program that sends fast fills a segment with lines that are all alike: one code, one receiver. To decode
each, find its receiver and encode it again would cost far more than to deliver it. So such lines are
recognised as a whole: their contents are proven to be valid JSON in one call, and passed on as they came.
"""

import re
from typing import ClassVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from chatroom.protocol.messages import Outgoing, OutgoingBroadcast

_FEW = 4
"""Lines that are decoded one by one in the time that it takes to find out whether they are a burst."""

SHORTEST = _FEW * len(b'{"code":"outgoing","to":"","content":""}\n')
"""Bytes that a burst has at least."""

_CONTENT = re.compile(rb'"content": ?"')
_END = b'"}\n'
# The quotation marks in front of the content, if there is no field but the required ones, and no escape.
_QUOTES = {Outgoing: 11, OutgoingBroadcast: 7}

_message: msgspec.json.Decoder[Outgoing | OutgoingBroadcast] = msgspec.json.Decoder(
    Outgoing | OutgoingBroadcast
)
_string: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)


class Burst(Struct, gc=False):
    """Messages that differ in nothing but their contents, none with a `ref`."""

    ref: ClassVar[UnsetType] = UNSET
    first: Outgoing | OutgoingBroadcast
    contents: list[bytes]
    """JSON between quotation marks, as it came: ASCII, and each proven to be valid."""
    lines: bytes
    """All of it, as it came."""

    def fits(self, size: int) -> bool:
        """Whether surely no content has more than so many bytes of UTF-8."""
        return len(self.lines) <= size or max(map(len, self.contents)) <= size

    def completed(self, opening: bytes) -> bytes:
        """Return the lines with this opening instead of their own; see `messages.opening`."""
        return opening + b'"' + (_END + opening + b'"').join(self.contents) + _END

    def one_by_one(self) -> list[Outgoing | OutgoingBroadcast]:
        """Return the messages."""
        return _message.decode_lines(self.lines)


def found(lines: bytes) -> Burst | None:
    """Return what these whole lines are, if it is a burst.

    The proof: the first line is a message with nothing but the required fields, the content last; all the
    others begin and end as it does; and what stands between, put together with spaces, is one valid JSON
    string. So there is no quotation mark or line break in a content, and no escape or surrogate pair that
    spans two of them.
    """
    end = lines.find(b"\n") + 1
    if len(lines) < _FEW * end:
        return None
    content = _CONTENT.search(lines, 0, end)
    if content is None or not lines.endswith(_END) or not lines.isascii():
        return None
    start = content.end()
    contents = lines[start : -len(_END)].split(_END + lines[:start])
    try:
        _string.decode(b'"%b"' % b" ".join(contents))
        first = _message.decode(lines[:end])
    except (ValueError, RecursionError):
        return None
    return Burst(first, contents, lines) if lines.count(b'"', 0, start) == _QUOTES[type(first)] else None
