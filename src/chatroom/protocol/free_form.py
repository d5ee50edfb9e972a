"""The free-form class of PRECIS (RFC 8264, section 4.3): which characters a name or a password may have.

The library looks at each character for 4 µs, and at some so long as the text is; here, only at odd ones.
"""

import re
import unicodedata

from precis_i18n.context import context_rule_error
from precis_i18n.derived import CONTEXTJ, CONTEXTO, FREE_PVAL, PVALID, derived_property
from precis_i18n.unicode import UnicodeData

# Of the categories of all characters in a row: those that are not seen, or move others about.
_UNSEEN = re.compile("C.|Z[lp]")
ODD = re.compile(
    "[\u00b7\u0375\u05f3\u05f4\u30fb\u0660-\u0669\u06f0-\u06f9\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b"
    "\u200c\u200d\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb"
    "\u034f\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""A character that is judged by more than its category (RFC 8264, section 9): exceptions, what depends on what
stands around it, old Hangul, and the default-ignorable characters that are letters or marks."""
_BY_NEIGHBOURS = "\u00b7\u0375\u05f3\u05f4\u200c\u200d"
"""Of those, which the characters beside them decide on; of the others the whole text does, so once will do."""
_UNICODE = UnicodeData()


def refused(text: str) -> int | None:
    """Return the place of a character that the class does not allow there; None if it allows all."""
    for bad in _UNSEEN.finditer(categories(text)):
        if not ODD.match(text, bad.start() // 2):
            return bad.start() // 2
    seen = set()
    for odd in ODD.finditer(text):
        if odd[0] not in seen and not _is_allowed(text, odd.start()):
            return odd.start()
        if odd[0] not in _BY_NEIGHBOURS:
            seen.add(odd[0])
    return None


def categories(text: str) -> str:
    """Return the General_Category of each character, two letters long."""
    return "".join(map(unicodedata.category, text))


def _is_allowed(text: str, place: int) -> bool:
    kind, _ = derived_property(ord(text[place]), _UNICODE)
    if kind in {CONTEXTJ, CONTEXTO}:
        return not context_rule_error(text, place, _UNICODE)
    return kind in {PVALID, FREE_PVAL}
