"""What others wrote, made fit to be printed.

All that comes from the network passes `visible()` before it reaches the screen: names, messages, errors. So
nobody can move another's cursor, set a title, write to a clipboard, hide text or forge a line.
"""

import math
import re
import time
from collections.abc import Iterable

from chatroom.client.inbox import OwnMessage
from chatroom.protocol.messages import ErrorCode, ErrorReply, Incoming, IncomingBroadcast

Pieces = list[tuple[str, str]]
"""A line of text in pieces, each with the kind of thing it is; an empty kind for plain text."""

# Control characters (C0, DEL, C1), soft hyphen, bidi marks and overrides, zero width (but for the joiners,
# which scripts and emoji need), separators of lines and paragraphs, byte order mark, interlinear
# annotation, surrogates, tags.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
LIKE_A_LINE = re.compile("[:\u02d0\u02f8\u0589\u05c3\u2236\uff1a\ufe13\ufe55\ua789]")
"""What is or looks like the colon between a sender and what was said."""
LONG = 1e6
"""Seconds to wait that are not worth saying."""
_PICTURES = 0x2400  # U+2400 … U+241F are pictures of U+0000 … U+001F
_DELETE = "\x7f"


def visible(text: str) -> str:
    """Return the text on one line, with a sign in the place of each character that is not seen."""
    return _UNSEEN.sub(_sign, text)


def users(names: Iterable[str], heading: str = "current users:") -> list[Pieces]:
    """Return the list of users as lines that no message looks like, whatever they are called."""
    return [[("", heading)], *([("sender", f"  {visible(name)}")] for name in names)]


def line(message: Incoming | IncomingBroadcast | OwnMessage | ErrorReply) -> Pieces:
    """Return a message as pieces of text, each with the kind of thing it is.

    The kinds: `time`, `sender`, `direct`, `broadcast`, `text`, `error`. A sender called `bob to you: pay me`
    stands in quotation marks.
    """
    if isinstance(message, ErrorReply):
        return [("error", explained(message)), *_suggested(message)]
    kind, to = ("direct", "you") if isinstance(message, Incoming) else ("broadcast", "all")
    if isinstance(message, OwnMessage) and message.to is not None:
        to = called(message.to)
    return [
        ("time", time.strftime("%H:%M ")),
        ("sender", called(message.from_)),
        (kind, f" to {to}: "),
        ("text", visible(message.content)),
    ]


def explained(error: ErrorReply) -> str:
    """Return why something was refused, and when to try again, if the server limits how often one may."""
    seconds = error.retry_after or 0.0
    if error.error != ErrorCode.SLOW_DOWN or not 0 < seconds < LONG:
        return visible(error.message)
    whole = math.ceil(seconds)
    return f"{visible(error.message)}; try again in {whole} second{'s' * (whole != 1)}"


def called(name: str) -> str:
    """Return a name as it stands in front of a message."""
    name = visible(name)
    if LIKE_A_LINE.search(name):
        return '"' + name.replace('"', "'") + '"'
    return name


def _suggested(error: ErrorReply) -> Pieces:
    return [("error", f" (try {visible(error.suggestion)})")] if isinstance(error.suggestion, str) else []


def _sign(match: re.Match[str]) -> str:
    character = match[0]
    if character < " ":
        return chr(_PICTURES + ord(character))
    if character == _DELETE:
        return "␡"
    return f"<U+{ord(character):04X}>"
