"""What a legal name is, and when two names are the same.

After the nickname profile of PRECIS (RFC 8266): a name is shown as it was given (in NFC) and compared
without regard to case, width or the kind of its spaces, so that `Ann` and `ann` are one person. Beyond
that, characters that look like others are compared as those (UTS 39), so that nobody takes Ann's place with
a Cyrillic letter.
"""

import re
import unicodedata

from chatroom.protocol.confusables import TAKEN_FOR

_LOOKS = str.maketrans(TAKEN_FOR)

MAX_NAME = 32
"""Characters (code points) of a name in NFC."""
BARS = "|｜ǀ∣│⏐❘￨"
"""What is or looks like the `|` that ends a name where one types messages: illegal in a name."""
STARS = "*＊∗﹡⁎٭"
"""What is or looks like the `*` that stands for everybody: illegal as a name."""

# Characters that are not seen, or that move others about: control, format (bidi and zero width among
# them), line and paragraph separators, surrogates, private use, unassigned.
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
_SPACES = re.compile(r"\s+")


class BadName(ValueError):
    """No legal name; the text says why."""


def checked(name: str) -> str:
    """Return the name in NFC.

    Raises `BadName` unless it has 1 to 32 characters, all assigned and visible, no white space at its
    ends, no `|`, and is not `*`: the last two have a meaning where one types messages.
    """
    name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= MAX_NAME:
        raise BadName(f"the name has {len(name)} characters, 1 to {MAX_NAME} are allowed")
    if name == "*":
        raise BadName("the name * stands for everybody")
    if "|" in name:
        raise BadName("a name may not contain |")
    for character in name:
        if unicodedata.category(character) in _INVISIBLE:
            raise BadName(f"a name may not contain the character U+{ord(character):04X}")
    if name != name.strip():
        raise BadName("a name may not begin or end with white space")
    if not _key(name):
        raise BadName("a name needs a character that can be seen")
    return name


def keys(name: str) -> tuple[str, ...]:
    """Return what the name is known by: two names are the same if they have a key in common.

    A name has a second key if it has a capital I, which many a typeface draws as it draws a small l.
    """
    return (_key(name), _key(name.replace("I", "l"))) if "I" in name else (_key(name),)


def _key(name: str) -> str:
    """Fold the name, then take each character for what it looks like.

    RFC 8266, section 2.3, and its advice (section 2.1) to apply the rules until nothing changes, three
    times at most; case is folded rather than lowered, so that `Straße` and `STRASSE` are the same. Then
    the skeleton of UTS 39, section 4.
    """
    for _ in range(3):
        folded = _SPACES.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()
        if folded == name:
            break
        name = folded
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).translate(_LOOKS))
