"""What others wrote, made fit to be printed.

All that comes from the network passes `visible()` before it reaches the screen: names, messages, errors. So
nobody can move another's cursor, set a title, write to a clipboard, hide text or forge a line.
"""

import re
import time

from chatroom.protocol.messages import Error, Incoming, IncomingBroadcast

# Control characters (C0, DEL, C1), soft hyphen, bidi marks and overrides, zero width (but for the joiners,
# which scripts and emoji need), separators of lines and paragraphs, byte order mark, interlinear
# annotation, surrogates, tags.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_PICTURES = 0x2400  # U+2400 … U+241F are pictures of U+0000 … U+001F
_DELETE = "\x7f"


def visible(text: str) -> str:
    """Return the text on one line, with a sign in the place of each character that is not seen."""
    return _UNSEEN.sub(_sign, text)


def line(message: Incoming | IncomingBroadcast | Error) -> list[tuple[str, str]]:
    """Return a message as pieces of text, each with the kind of thing it is.

    The kinds: `time`, `sender`, `direct`, `broadcast`, `text`, `error`.
    """
    if isinstance(message, Error):
        return [("error", visible(message.message)), *_suggested(message)]
    kind, to = ("direct", "you") if isinstance(message, Incoming) else ("broadcast", "all")
    return [
        ("time", time.strftime("%H:%M ")),
        ("sender", visible(message.from_)),
        (kind, f" to {to}: "),
        ("text", visible(message.content)),
    ]


def _suggested(error: Error) -> list[tuple[str, str]]:
    return [("error", f" (try {visible(error.suggestion)})")] if isinstance(error.suggestion, str) else []


def _sign(match: re.Match[str]) -> str:
    character = match[0]
    if character < " ":
        return chr(_PICTURES + ord(character))
    if character == _DELETE:
        return "␡"
    return f"<U+{ord(character):04X}>"
