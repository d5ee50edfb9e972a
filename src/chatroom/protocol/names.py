"""What a legal name is, what it is addressed by, and when two names are one.

Names are legal and folded as the nickname profile of PRECIS has it (RFC 8264 and 8266), with what people are
called besides. `Ann` and `ann` are one person; and characters that look like others are compared as those
(UTS 39), so that nobody takes Ann's place with a Cyrillic letter. Only who claims a name is compared by looks:
what is addressed to `b0b` never reaches `bob`.

Names come from strangers: a text's length is looked at before anything else, and all here takes some 0.1 ms
for the worst of them.
"""

import re
import unicodedata

from precis_i18n import get_profile

from chatroom.protocol import free_form
from chatroom.protocol.confusables import TAKEN_FOR

MAX_NAME = 32
"""Characters (code points) of a name in NFC."""
MAX_GIVEN = 128
"""Characters of what is looked at at all."""
MAX_FOLDED = 64
"""Characters of a name when folded: there is one that becomes eighteen."""
_TOO_LONG_FOLDED = f"the name has more than {MAX_FOLDED} characters when it is folded"
BARS = "|｜ǀ∣│⏐❘￨"
"""What is or looks like the `|` that ends a name where one types messages: illegal in a name."""
ADDRESS = 0
"""Which of a name's `keys` is its address."""
STARS = "*＊∗﹡⁎٭"
"""What is or looks like the `*` that stands for everybody: illegal as a name."""

_ASCII = re.compile(r"[!-{}~](?:[ -{}~]*[!-{}~])?")  # all that is legal, but for its length and `*`
_BAR = re.compile(f"[{BARS}]")
# Blank, or in place of something: braille's blank, a notehead, objects and characters that are missing, half a
# space, and fillers of Khitan and Egyptian. Those that Unicode calls default-ignorable PRECIS refuses itself.
_BLANK = re.compile("[\u2800\U0001d159\ufffc\ufffd\u303f\U00016fe4\U00013441\U00013442]")
# Of the categories of all characters in a row: five marks.
_PILE = re.compile("(?:M[ne]){5}")

# Marks that join the letters around them and are not seen elsewhere: Invisible_Stacker and Number_Joiner of
# Indic_Syllabic_Category (Unicode 16), and Tifinagh's consonant joiner.
_STACKERS = (
    "\u1039\u17d2\u1a60\u1bab\u2d7f\uaaf6\U00010a3f\U0001107f\U00011133\U000113d0\U0001193e\U00011a47"
    "\U00011a99\U00011d45\U00011d97\U00011f42"
)
# Marks that only change how the sign before them is drawn: of Egyptian, Duployan and SignWriting.
_MODIFIERS = "\U00013440\U0001bc9d" + "".join(map(chr, (*range(0x1DA9B, 0x1DAA0), *range(0x1DAA1, 0x1DAB0))))
_VIRAMA = 9
"""The Canonical_Combining_Class of marks that kill a vowel or join letters."""

# Within an emoji (`❤️`, `1️⃣`, `👩‍💻`) U+FE0F and U+200D may stand; they are not compared. (So much of Unicode is
# where emoji are, UTS 51; the standard library does not know which they are.)
_EMOJI = "[©®‼⁉™ℹ\u2190-\u2bff〰〽㊗㊙\U0001f000-\U0001faff]"
_EMOJI_JOINERS = re.compile(
    f"(?<={_EMOJI})(?:\ufe0f|\u200d(?={_EMOJI}))|(?<={_EMOJI}\ufe0f)\u200d(?={_EMOJI})|(?<=[0-9#*])\ufe0f(?=\u20e3)"
)
# Besides what PRECIS allows: single letters of Hangul (`ㅋㅋ`), and a dot between letters (`阿凡提·买买提`).
_HANGUL_LETTER = re.compile("[\u3131-\u3163\u3165-\u318e]")
_MIDDLE_DOT = re.compile(r"(?<=[^\W\d_])·(?=[^\W\d_])")

_NICKNAME = get_profile("NicknameCaseMapped:CaseFold")
# The skeleton of UTS 39 is without default-ignorable characters: a legal name may have these.
_LOOKS = {**TAKEN_FOR, 0x200C: None, 0x200D: None}
_LOOKS_IN_ASCII = {one: model for one, model in _LOOKS.items() if one >= 128}


class BadName(ValueError):
    """No legal name; the text says why."""


def checked(name: str) -> str:
    """Return the name in NFC.

    Raises `BadName` unless it has 1 to 32 characters, of which PRECIS's nickname profile allows each (or which
    are allowed besides: see above), no white space at its ends, nothing like a `|`, at most four marks on a
    letter, no mark that joins letters where there are none of its script, and is nothing like `*`: these two
    have a meaning where one types messages.
    """
    if len(name) <= MAX_NAME and _ASCII.fullmatch(name) and name != "*":
        return name
    name = _normalised(name)
    plain = _EMOJI_JOINERS.sub("", name)
    if len(plain) == 1 and plain in STARS:
        raise BadName(f"the name {plain} stands for everybody")
    if bad := _BAR.search(plain) or _BLANK.search(plain):
        raise BadName(f"a name may not contain {_shown(bad[0])}")
    if name != name.strip():
        raise BadName("a name may not begin or end with white space")
    _check_marks(unicodedata.normalize("NFD", plain))
    _check_joins(plain)
    _check_as_nickname(_MIDDLE_DOT.sub("-", _HANGUL_LETTER.sub("가", plain)))
    return name


def address(name: str) -> str:
    """Return what somebody of this name is found by, however it is spelled: by how it folds, not by its looks.

    Any text will do; raises `BadName` if it is too long for a name.
    """
    if not name.isascii():
        name = _normalised(name)
    elif len(name) > MAX_NAME:
        raise BadName(_length(len(name)))
    return _folded(_EMOJI_JOINERS.sub("", name))


def keys(name: str) -> tuple[str, str, str, str]:
    """Return what a name is claimed by: four keys, each of a kind. Two names are one if one key is the same.

    The first is the address; the second, how the name looks, case kept; the third, how it looks when folded;
    the fourth, how it looks when folded after all that is not ASCII, and an `I` behind a small letter, was
    replaced by what it looks like. Keys that are equal are one object, as a rule the name itself.

    Any text of at most 32 characters will do; raises `BadName` if it is too long when folded.
    """
    plain = _EMOJI_JOINERS.sub("", name)
    folded = _folded(plain)
    if len(folded) > MAX_FOLDED:
        raise BadName(_TOO_LONG_FOLDED)
    looks = _skeleton(plain)
    folded_looks = _skeleton(folded).casefold()
    as_ascii = _as_ascii(plain)
    ascii_looks = folded_looks if as_ascii == plain else _skeleton(_folded(as_ascii)).casefold()
    one = {name: name}.setdefault
    return (
        one(folded, folded),
        one(looks, looks),
        one(folded_looks, folded_looks),
        one(ascii_looks, ascii_looks),
    )


def numbered(name: str, number: str) -> str:
    """Return the name with a number behind it, cut so that it fits."""
    room = MAX_NAME - len(number)
    if len(name) > room:
        name = name[:room].rstrip(" \u00b7\u0375\u200c\u200d\ufe0f" + _STACKERS)  # need something behind them
    return name + number


def quoted(text: str) -> str:
    """Return a text from outside as an error may have it: 32 characters of it at most, and none unseen."""
    shown = text[:MAX_NAME]
    if not shown.isprintable():
        shown = "".join(one if one.isprintable() or one in "\u200c\u200d" else "\ufffd" for one in shown)
    return f'"{shown}…"' if len(text) > MAX_NAME else f'"{shown}"'


def _normalised(name: str) -> str:
    """Return the text in NFC; raise `BadName` if it is too long for a name, or empty, or a pile of marks."""
    if len(name) <= MAX_GIVEN:
        if len(name) > MAX_NAME:
            _check_marks(name)  # normalisation sorts them, in a time that grows with their square
        name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= MAX_NAME:
        raise BadName(_length(len(name)))
    return name


def _length(length: int) -> str:
    return f"the name is {length} characters long; it must have 1 to {MAX_NAME}"


def _folded(name: str) -> str:
    """Apply the rules of RFC 8266, section 2.1, until nothing changes, four times at most (section 2.3).

    Case is folded rather than lowered, so that `Straße` and `STRASSE` are the same.
    """
    if name.isascii() and "  " not in name:
        return name.strip(" ").lower()
    for _ in range(4):
        before, name = name, _NICKNAME.apply_five_rules(name)
        if name == before or len(name) > MAX_FOLDED:
            break
    return name


def _check_marks(name: str) -> None:
    """Raise `BadName` if there are too many marks on a letter."""
    if _PILE.search(free_form.categories(name)):
        raise BadName("a name may not have more than four marks on a letter")


def _check_joins(name: str) -> None:
    """Raise `BadName` for a mark that joins letters, or changes a sign, where its script has none to.

    It belongs behind its own script; if it is not seen by itself, also before it.
    """
    for place, one in enumerate(name):
        if unicodedata.combining(one) == _VIRAMA or one in _MODIFIERS:
            behind = name[place + 1 : place + 2] if one in _STACKERS else one
            if not _script(name[place - 1 : place]) == _script(one) == _script(behind):
                raise BadName(f"a name may not contain {_shown(one)} there")


def _script(character: str) -> str:
    """Return the script of a letter or mark: the first word of its name, which Unicode never changes."""
    return unicodedata.name(character, "").partition(" ")[0] if character else ""


def _check_as_nickname(name: str) -> None:
    """Raise `BadName` unless PRECIS's nickname profile allows the name."""
    name = _folded(name)
    if len(name) > MAX_FOLDED:
        raise BadName(_TOO_LONG_FOLDED)
    if not name:
        raise BadName("a name needs a character that can be seen")
    bad = free_form.refused(name)
    if bad is not None:
        there = " there" if free_form.ODD.match(name, bad) else ""
        raise BadName(f"a name may not contain {_shown(name[bad])}{there}")


def _skeleton(name: str) -> str:
    """Take each character for what it looks like (UTS 39, section 4)."""
    if name.isascii():
        return name.translate(_LOOKS)
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).translate(_LOOKS))


def _as_ascii(name: str) -> str:
    """Replace what is not ASCII, and each `I` behind a small letter, by what it looks like."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).translate(_LOOKS_IN_ASCII))
    if "I" not in name:
        return name
    replaced = ""
    for one in name:
        replaced += "l" if one == "I" and replaced[-1:].islower() else one
    return replaced


def _shown(character: str) -> str:
    """Return a character as an error has it: itself if all can see it, and its code unless it is ASCII."""
    code = f"U+{ord(character):04X}"
    if not character.isprintable() or unicodedata.category(character)[0] in "MZ":
        return code
    return f'"{character}"' if character.isascii() else f'"{character}" ({code})'
