"""Replies of other people's servers, which know the base protocol and have ideas of their own.

Only what the base protocol names must be there. A text that is a number, or no UTF-8, is made one; what is
optional and of another type is as if it were not there; a refusal, for which the base protocol has no form, may
look like anything.
"""

import json
from typing import Any, get_args

import msgspec

from chatroom.protocol.messages import (
    AnyReply,
    AnyRequest,
    ErrorCode,
    ErrorReply,
    Fault,
    Incoming,
    IncomingBroadcast,
    Users,
)

_KINDS: dict[Any, type[AnyReply]] = {kind.__struct_config__.tag: kind for kind in get_args(AnyReply)}
REQUESTS = {kind.__struct_config__.tag for kind in get_args(AnyRequest)}
"""Codes of what only a client says."""
_WORDS = ("message", "error", "reason")
_WIDTH = 60
SHOWN = 4 * _WIDTH
"""Bytes of an answer that are looked at to show how it begins."""


class UnknownReply(Fault, tag="error", gc=False):
    """A reply of a kind that we do not know: `error` is its code, `message` the words in it, or the code."""


def is_refusal(fault: Fault) -> bool:
    """Whether this can be a refusal: a reply that says why, or whose code does."""
    says_why = fault.message != fault.error or fault.error in list(ErrorCode)
    return isinstance(fault, UnknownReply) and says_why and fault.error not in REQUESTS


def shown(raw: bytes) -> str:
    """Return how this begins, on one line and printable."""
    text = " ".join(raw[:SHOWN].decode("utf-8", "replace").split())
    text = text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def understood(raw: bytes) -> AnyReply | Fault:
    """Return what a reply says that could not be decoded."""
    try:
        fields = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Fault(error=ErrorCode.BAD_JSON, message=shown(raw))
    words = [fields[key] for key in _WORDS if fields.get(key) and isinstance(fields[key], str)]
    code = fields.get("code")
    if not isinstance(code, str):
        if not words:
            return Fault(error=ErrorCode.BAD_REQUEST, message=shown(raw))
        code = "error"
    kind = _KINDS.get(code, UnknownReply)
    if issubclass(kind, ErrorReply):
        known = fields.get("error") if kind is ErrorReply else None
        fields["message"] = _text([*words, code][0])
        fields["error"] = _text(known if known and isinstance(known, str) else code)
        fields["code"] = "error"
    _mend_texts(fields, kind)
    for field in msgspec.structs.fields(kind):
        if not (field.required or _is_of(field.type, fields.get(field.encode_name))):
            fields.pop(field.encode_name, None)
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError:
        if kind is Users:  # so it refuses the question
            message = f"its answer is not understood: {shown(raw)}"
            return ErrorReply(error=ErrorCode.BAD_REQUEST, message=message)
        return Fault(error=ErrorCode.BAD_REQUEST, message=shown(raw))


def _mend_texts(fields: dict[str, Any], kind: type[AnyReply]) -> None:
    """Make texts of what the base protocol has as such; what is no name at all is none of the users."""
    if kind in (Incoming, IncomingBroadcast):
        fields.update((key, _text(fields[key])) for key in ("from", "content") if key in fields)
    elif kind is Users and isinstance(names := fields.get("users"), list):
        fields["users"] = [_text(name) for name in names if isinstance(name, str | int | float)]


def _text(value: object) -> str:
    """Return a value as a text that can be sent on: a lone half of a character becomes U+FFFD."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_of(kind: Any, value: object) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
