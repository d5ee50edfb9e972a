"""Objects out of a stream of bytes, however it was cut.

The base protocol names no delimiter, so none is asked for: objects may stand on lines of their own, one right
behind the other, or spread over many lines, and TCP may cut anywhere. What has come in whole is decoded
in one call. Only what that call refuses meets the scanner, which finds where objects begin and end,
remembers where it stood, and so never looks at a byte twice.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast, get_args

import msgspec
from msgspec import UNSET, inspect

from chatroom.protocol import burst, foreign
from chatroom.protocol.burst import Burst
from chatroom.protocol.messages import (
    MAX_OBJECT,
    MAX_REF,
    AnyReply,
    AnyRequest,
    ErrorCode,
    Fault,
    OutgoingBroadcast,
    Who,
)
from chatroom.protocol.scanner import ObjectScan

Asked = AnyRequest | Burst
"""What a client's bytes can ask for."""
Message = TypeVar("Message", Asked, AnyReply)

REQUESTS: msgspec.json.Decoder[Asked] = msgspec.json.Decoder(AnyRequest)
REPLIES: msgspec.json.Decoder[AnyReply] = msgspec.json.Decoder(AnyReply)

_anything: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=bool)  # a float may take 12 µs to read

_CODES = frozenset(kind.__struct_config__.tag for kind in get_args(AnyRequest))

_FIELDS = {
    field.encode_name: field.type
    for kind in get_args(AnyRequest)
    for field in cast("inspect.StructType", inspect.type_info(kind)).fields
} | {"code": inspect.StrType()}
"""Of all requests together: fields of one name are of one type."""
_MISSING = re.compile("missing required field `(.+?)`")
_WRONG = re.compile(r"at `\$\.(\w+)")

# The quotation marks in a request with no field but the required ones: two for each key, `code` among them,
# and two for each value, which are all strings. More: an escape, or a field that is optional, unknown or twice.
_QUOTES = {
    kind: 4 * (1 + sum(field.required for field in msgspec.structs.fields(kind)))
    for kind in get_args(AnyRequest)
}
_TO_A_ROOM = {OutgoingBroadcast, Who}
"""Those with a room that need not be there; it is a string, as `ref` is."""

# Between objects: JSON's white space, commas, NUL, RS (RFC 7464), and the bytes of a byte order mark.
_BETWEEN = re.compile(rb"[ \t\r\n,\x00\x1e\xef\xbb\xbf]*+")
STEPS = 30
"""See `StreamDecoder`. A message of the base protocol takes ten to twenty."""
LITTLE = 100
"""Steps of a call that are not counted."""
_SURROGATE_ENDS = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}[^\\]{0,6}$")
_GARBAGE_ENDS = re.compile(rb"[\n{]")
_NEWLINE, _OBJECT = b"\n{"


class StreamDecoder(Generic[Message]):
    """The messages in a stream of bytes, and the errors to answer what is none.

    `feed()` keeps these promises:
    1. whatever the chunks, the same bytes give the same messages and errors, in the order of the bytes;
    2. it takes time linear in the bytes, and keeps at most `max_object` of them plus one chunk; of what it must
       look at object by object it does a batch, and leaves the rest to the next call;
    3. it never raises: what is wrong with the bytes is an `Fault` in the list, one for each wrong object
       or run of garbage;
    4. a message that it returns was valid JSON (RFC 8259) without duplicate keys, and valid UTF-8.
    """

    __slots__ = (
        "_batch",
        "_decoder",
        "_garbage",
        "_is_between",
        "_is_doubted",
        "_max_object",
        "_steps",
        "begun",
        "effort",
        "finds_bursts",
        "newline_seen",
        "rest",
    )

    def __init__(
        self, decoder: msgspec.json.Decoder[Message], max_object: int = MAX_OBJECT, batch: int = sys.maxsize
    ) -> None:
        """`decoder`: `REQUESTS` or `REPLIES`. `max_object`: bytes that one object may have.

        `batch`: the most objects that one call decodes one by one, which takes ten times as long as together.
        For each of them it scans so many `STEPS` at most, of one object or of many.
        """
        self._decoder: msgspec.json.Decoder[Message] = decoder
        self._max_object = max_object
        self._batch = batch
        self._garbage = False
        self._steps = 0  # that this call may still scan
        self._is_between = True  # the last call ended between objects, and left no rest
        self._is_doubted = False  # the rest could not be decoded in one call
        self.rest = b""
        """Bytes that were too much for the last call: `feed(b"")` goes on with them."""
        self.begun: ObjectScan | None = None
        """The object that is not finished yet, by identity: another object is another value."""
        self.effort = 0
        """Steps of a microsecond or two that calls took, if they were more than a few; to be reset."""
        self.newline_seen = False
        """Whether a line break has stood between or behind objects: the peer speaks in lines."""
        self.finds_bursts = False
        """Whether to return a `Burst` for the messages that are one. With `REQUESTS` only."""

    def feed(self, data: bytes, *, closely: bool = True) -> Sequence[Message | Fault]:
        """Take the next bytes; return the messages and errors that they complete.

        `closely`: whether to decode object by object what cannot be decoded together; if not, it is left.
        """
        if self._is_between and data[-2:] == b"}\n" and len(data) <= self._max_object:
            # As a rule: whole lines, and nothing wrong with them.
            messages = self._decode_many(data)
            if messages is not None:
                self.newline_seen = True
                return messages
            in_one_call = False
        else:
            in_one_call = not self._is_doubted
            data, self.rest = self.rest + data, b""
            if not closely and (self._is_doubted or self._garbage or self.begun is not None):
                self.rest, self._is_between = data, False
                return []
        found: list[Message | Fault] = []
        position, size, last = 0, len(data), self._batch
        steps = self._batch * STEPS if closely else 0
        self._is_doubted, self._steps, whole = False, steps, 0
        while position < size:
            if len(found) >= last or (self._steps <= 0 and (closely or not in_one_call)):
                self.rest, self._is_doubted = data[position:], not in_one_call
                break
            if self.begun is not None:
                position = self._go_on(self.begun, data, position, found)
            elif self._garbage:
                position = self._skip(data, position)
            elif in_one_call:
                in_one_call = False
                position = self._decode_whole(data, position, found)
                whole = len(found)
                last = whole + self._batch
            else:
                position = self._begin(data, position, found)
        self._is_between = self.begun is None and not (self._garbage or self.rest)
        effort = steps - self._steps + 10 * (len(found) - whole)
        if effort > LITTLE:
            self.effort += effort + size // STEPS
        return found

    def _decode_many(self, data: bytes) -> Sequence[Message] | None:
        """Return the messages, if all of it is messages and nothing is wrong with them."""
        if self.finds_bursts and len(data) >= burst.SHORTEST and (many := burst.found(data)):
            return [cast("Message", many)]
        try:
            messages = self._decoder.decode_lines(data)
        except (ValueError, RecursionError):
            return None
        return messages if self._decoder is not REQUESTS or _all_plain(messages, data) else None

    def _decode_whole(self, data: bytes, start: int, found: list[Message | Fault]) -> int:
        """Decode all that is whole, where nothing is wrong with it; return how far that went."""
        end = len(data) if data.endswith(b"}") else data.rfind(b"\n", start) + 1
        if end <= start:
            return start
        whole = data[start:end]
        lines = whole.endswith(b"\n")
        if not (lines or self.newline_seen) and b"\n" in whole:
            return start  # between objects, or inside of one? the scanner will see
        if len(whole) > self._max_object and max(map(len, whole.split(b"\n"))) > self._max_object:
            return start
        messages = self._decode_many(whole)
        if messages is None:
            return start
        found.extend(messages)
        self.newline_seen = self.newline_seen or lines
        return end

    def _skip(self, data: bytes, start: int) -> int:
        """Skip garbage; return where it ends."""
        ends = _GARBAGE_ENDS.search(data, start)
        if ends is None:
            return len(data)
        self._garbage = False
        return ends.end() if data[ends.start()] == _NEWLINE else ends.start()

    def _begin(self, data: bytes, start: int, found: list[Message | Fault]) -> int:
        """Skip what may stand between objects; begin with what follows."""
        match = _BETWEEN.match(data, start)
        end = match.end() if match else start
        if not self.newline_seen:
            self.newline_seen = data.find(b"\n", start, end) >= 0
        if end < len(data):
            if data[end] == _OBJECT:
                self.begun = ObjectScan(self._max_object)
            else:
                self._garbage = True
                byte = data[end]
                shown = repr(chr(byte)) if byte < 0x80 else f"byte 0x{byte:02x}"
                found.append(_fault(ErrorCode.BAD_JSON, f"expected an object, {{…}}, but found {shown}"))
        return end

    def _go_on(self, scan: ObjectScan, data: bytes, start: int, found: list[Message | Fault]) -> int:
        """Scan on in the object; if that ends it, decode it. Return how far the scan went."""
        reported = scan.fault is not None
        position = scan.scan(data, start, self._steps)
        self._steps -= scan.steps
        if scan.fault is not None and not reported:
            found.append(scan.fault)
        if scan.is_whole or scan.is_broken:
            self.begun = None
            if scan.fault is None:
                found.append(self._decode(bytes(scan.kept)))
        return position

    def _decode(self, raw: bytes) -> Message | Fault:
        """Decode one object, or say what is wrong with it."""
        try:
            message: Message = self._decoder.decode(raw)
        except (ValueError, RecursionError) as fault:
            if self._decoder is REPLIES:
                reply: object = foreign.understood(raw)
                return cast("Message | Fault", reply)
            fields = self._examined(raw)
            return fields if isinstance(fields, Fault) else _explained(fields, fault)
        if self._decoder is REQUESTS and not _all_plain([message], raw):
            fields = self._examined(raw)
            return fields if isinstance(fields, Fault) else message
        return message

    def _examined(self, raw: bytes) -> dict[str, Any] | Fault:
        """Look at every field of an object, also the unknown ones; return them, or what is wrong with one."""
        self._steps -= len(raw) // STEPS
        try:
            fields: dict[str, Any] = _anything.decode(raw)
        except msgspec.ValidationError as fault:
            return _fault(ErrorCode.BAD_REQUEST, str(fault))
        except UnicodeDecodeError as fault:
            return _fault(ErrorCode.BAD_JSON, _not_utf_8(raw) or str(fault))
        except (ValueError, RecursionError) as fault:
            return _fault(ErrorCode.BAD_JSON, _in_json(raw, str(fault)))
        if _marks(raw) != _marks(msgspec.json.encode(fields)):  # the last of two is left
            return _fault(ErrorCode.BAD_JSON, "duplicate key")
        return fields


def _all_plain(messages: list[Any], data: bytes) -> bool:
    """Whether these messages account for every quotation mark of the data.

    If they do, then no field was unknown, none came twice, and none of their bytes went unread.
    """
    marks = data.count(b'"')
    if len(messages) == 1:
        quotes = _QUOTES[type(messages[0])]
    else:
        quotes = sum(map(_QUOTES.__getitem__, map(type, messages)))
    if marks == quotes:
        return True
    quotes += 4 * sum(message.ref is not UNSET for message in messages)
    if marks != quotes:
        quotes += 4 * sum(message.room is not UNSET for message in messages if type(message) in _TO_A_ROOM)
    if marks != quotes and b"\\\\" not in data:
        marks -= data.count(b'\\"')
    return marks == quotes


def _in_json(raw: bytes, fault: str) -> str:
    """Name an escape that is not whole: msgspec takes the end of the object for the end of the data."""
    if "surrogate" in fault or ("truncated" in fault and _SURROGATE_ENDS.search(raw)):
        return "a lone surrogate is not allowed"
    return "an escape is incomplete" if "truncated" in fault else fault


def _marks(valid: bytes) -> int:
    """Return how many quotation marks begin or end a string: no code of ours runs for each."""
    return valid.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"')


def _explained(fields: dict[str, Any], fault: Exception) -> Fault:
    """Say why an object is no message: is the code known, which field is wrong?"""
    ref = fields.get("ref")
    if not isinstance(ref, str) or len(ref) > MAX_REF:
        ref = None
    code = fields.get("code")
    if isinstance(code, str) and code not in _CODES:
        return _fault(ErrorCode.UNKNOWN_CODE, f"unknown code {code[:MAX_REF]!r}", ref)
    return _fault(ErrorCode.BAD_REQUEST, _in_words(fault), ref)


def _in_words(fault: Exception) -> str:
    """Say what a field must be, by its name in JSON; msgspec says it in Python's words."""
    missing = _MISSING.search(str(fault))
    if missing:
        return f'"{missing[1]}" is missing'
    wrong = _WRONG.search(str(fault))
    return f'"{wrong[1]}" must be {_wanted(_FIELDS[wrong[1]])}' if wrong else str(fault)


def _wanted(kind: inspect.Type, several: str = "") -> str:
    """Return what values of a type are called, one or several of them."""
    if isinstance(kind, inspect.ListType):
        return f"an array of {_wanted(kind.item_type, 'strings')}"
    if isinstance(kind, inspect.IntType):
        return f"a whole number from {kind.ge} to {kind.le}"
    word = several or "a string"
    if isinstance(kind, inspect.StrType) and kind.max_length is not None:
        least = f"{kind.min_length} to " if kind.min_length else "at most "
        return f"{word} of {least}{kind.max_length} characters"
    return word


def _fault(code: ErrorCode, text: str, ref: str | None = None) -> Fault:
    return Fault(error=code, message=text, ref=ref)


def _not_utf_8(raw: bytes) -> str:
    """Say where an object is not UTF-8; nothing if it is."""
    try:
        raw.decode()
    except UnicodeDecodeError as fault:
        return f"not UTF-8: byte 0x{raw[fault.start]:02x} at offset {fault.start} of the object"
    return ""
