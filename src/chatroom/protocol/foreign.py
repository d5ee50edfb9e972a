"""Replies of other people's servers, which know the base protocol and have ideas of their own.

Only what the base protocol names must be as it says. What is optional and of another type is as if it were not
there, and a refusal, for which the base protocol has no form, may look like anything.
"""

from typing import Any, get_args

import msgspec

from chatroom.protocol.messages import AnyReply, Error, ErrorCode, Fault

_KINDS: dict[Any, type[AnyReply]] = {kind.__struct_config__.tag: kind for kind in get_args(AnyReply)}
_WORDS = ("message", "error", "reason")


class UnknownReply(Fault, tag="error", gc=False):
    """A reply of a kind that we do not know: `error` is its code, `message` the words in it, or the code."""


def understood(raw: bytes, fault: Exception) -> AnyReply | Fault:
    """Return what a reply says that could not be decoded as ours, because of this fault."""
    try:
        fields = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return Fault(error=ErrorCode.BAD_JSON, message=str(fault))
    code = fields.get("code")
    if not isinstance(code, str):
        return Fault(error=ErrorCode.BAD_REQUEST, message=str(fault))
    kind = _KINDS.get(code, UnknownReply)
    if issubclass(kind, Error):
        known = fields.get("error") if kind is Error else None
        words = (fields.get(key) for key in _WORDS)
        fields["message"] = next((text for text in words if text and isinstance(text, str)), code)
        fields["error"] = known if known and isinstance(known, str) else code
        fields["code"] = "error"
    for field in msgspec.structs.fields(kind):
        if not (field.required or _is_of(field.type, fields.get(field.encode_name))):
            fields.pop(field.encode_name, None)
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as wrong:
        return Fault(error=ErrorCode.BAD_REQUEST, message=str(wrong))


def _is_of(kind: Any, value: object) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
