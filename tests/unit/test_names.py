"""What a legal name is, what it is addressed by, and when two are the same."""

import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from precis_i18n import get_profile
from precis_i18n.context import context_rule_error
from precis_i18n.unicode import UnicodeData

from chatroom.protocol import free_form, names
from chatroom.protocol.confusables import TAKEN_FOR
from chatroom.protocol.names import (
    BARS,
    MAX_GIVEN,
    MAX_NAME,
    STARS,
    BadName,
    address,
    checked,
    keys,
    numbered,
    quoted,
)

PEOPLE = """
Latin: O'Neil, O’Brien, Anne-Marie, D'Angelo, François, Zoë, Jürgen Groß, Łukasz Wałęsa, Çağlar Işık, İbrahim
Latin: Þórður, Søren Åkesson, Siobhán Ní Dhomhnaill, José María, João, Škvorecký, Győző, Ștefan, Kaʻiulani
Latin: Nguyễn Thị Hoa, Đặng Thùy Trâm, Gal·la, Ọlá Adéṣọlá, Nǃxau, Martin Luther King Jr., R2-D2, xX_Dark_Xx
Cyrillic: Владимир, Наталья, Олексій, Мар’яна, Ђорђе, Љиљана, Ғалымжан, Өлзий, Цэрэндорж, Йосип
Greek: Γιώργος, Ελένη, Ἀριστοτέλης, Ωmega
Armenian: Հայկ, Անահիտ, Տիգրան
Georgian: გიორგი, თამარ, შოთა
Hebrew: צה״ל, משה כהן, ג׳ורג׳, שָׂרָה
Arabic: محمد, فاطمة الزهراء, عبد الرحمن, مُحَمَّد, علی‌رضا, پروانه, چوہدری, نور ٢
Syriac: ܐܦܪܝܡ
Thaana: އަޙްމަދު
Nko: ߛߏߟߏߡߊߣߊ
Devanagari: क्‍ष, प्रिया, राजेश, लक्ष्मी, अनिरुद्ध
Bengali: শ্রেয়া, রবীন্দ্রনাথ
Gurmukhi: ਗੁਰਪ੍ਰੀਤ ਸਿੰਘ
Gujarati: નરેન્દ્ર
Oriya: ଜଗନ୍ନାଥ
Tamil: லட்சுமி, ஸ்ரீதேவி, கார்த்திக்
Telugu: శ్రీనివాస్
Kannada: ಕೃಷ್ಣಮೂರ್ತಿ
Malayalam: ശ്രീജിത്ത്, അനിൽകുമാർ
Sinhala: ශ්‍රී, චන්ද්‍රිකා
Thai: ศิริพร, สมชาย, น้ำฝน
Lao: ສົມສັກ
Khmer: សុខា, ស្រីមុំ, សុវណ្ណ
Myanmar: အောင်ဆန်းစုကြည်, ကျော်စွာ, လျှော့, သန္တာ, သင်္ဂဟ
Tai Tham: ᨾᩉᩣᨧᩮᨲᩥ᩠ᨿ
Chakma: 𑄟𑄳𑄦
Tibetan: བསྟན་འཛིན་རྒྱ་མཚོ, སྒྲོལ་མ
Ethiopic: ኃይለ ሥላሴ, አበበ
Han: 李小龍, 王芳, 迪丽热巴·迪力木拉提, 佐々木, 山田 太郎, 渡邉
Kana: さくら, ジョン・スミス, ﾀﾛｳ
Hangul: 김민준, 이순신, ㅋㅋ
Mongolian: ᠲᠡᠮᠦᠵᠢᠨ
Cherokee: ᏍᏏᏉᏯ
Inuktitut: ᓴᐃᒪᓂ
Tifinagh: ⵉⴷⵉⵔ, ⵜⵏ⵿ⵔⵜ
Adlam: 𞤀𞤣𞤢𞤥
Javanese: ꦱꦸꦏꦂꦤ
Symbols: ❤️, 👩‍💻, 1️⃣, 👍🏽, 🙂‍↔️, 🏳️‍🌈, ♥ ann ♥, ¯\\_(ツ)_/¯
"""
LINES = [line.partition(": ") for line in PEOPLE.strip().splitlines()]
NAMES = [name for _, _, people in LINES for name in people.split(", ")]

FORGED = [
    *[("Вob", "Bob"), ("Вob", "bob"), ("Мike", "Mike"), ("Мike", "mike"), ("Εve", "Eve"), ("Εve", "eve")],
    *[("Νina", "Nina"), ("Νina", "nina"), ("Тom", "tom"), ("Κim", "kim"), ("Ηanna", "hanna"), ("Ζoe", "ZOE")],
    *[("аnn", "ann"), ("Аnn", "ann"), ("аdmin", "Admin"), ("ΑDMIN", "admin"), ("Рaураl", "paypal")],
    *[("ѕсоре", "scope"), ("Оlga", "olga"), ("Хavier", "xavier"), ("jоhn", "John"), ("Jоѕе", "jose")],
    *[("ɑnn", "ann"), ("Ꭺnn", "Ann"), ("ꓐob", "Bob"), ("ѵera", "Vera"), ("Ԁan", "dan"), ("Omega", "Οmega")],
    *[("Іan", "Ian"), ("Іan", "ian"), ("BiIl", "Bill"), ("BilI", "bill"), ("BiII", "bill"), ("BilІ", "bill")],
    *[("AI", "Al"), ("Ilya", "llya"), ("aIice", "alice"), ("PauI", "paul"), ("ann1", "annl"), ("A1", "Al")],
    *[("b0b", "bob"), ("B0B", "Bob"), ("rnodern", "modern"), ("ｂｏｂ", "Bob"), ("𝐛𝐨𝐛", "bob"), ("Ⓑob", "bob")],
    *[("a nn", "a\u00a0nn"), ("علیرضا", "علی‌رضا")],
]
NOT_SEEN = [("вob", "Bob"), ("VV. Smith", "W. Smith")]
"""Forgeries that are not caught."""

REAL = st.sampled_from(NAMES) | st.text(st.sampled_from("".join(NAMES)), min_size=1, max_size=MAX_NAME)
ANY = st.text(max_size=40) | REAL


def is_legal(name: str) -> bool:
    try:
        checked(name)
    except BadName:
        return False
    return True


def are_one(one: str, other: str) -> bool:
    return any(key == of_other for key, of_other in zip(keys(checked(one)), keys(checked(other)), strict=True))


@pytest.mark.parametrize("name", [*NAMES, "a", "x" * MAX_NAME, "**", "a  b", "Ⅷ", "ㅋ", "٠٠", "a٭", "l·l"])
def test_legal(name: str) -> None:
    """People are called what they are called, in any script, and as their keyboards write it."""
    assert checked(name) == unicodedata.normalize("NFC", name)


def test_people() -> None:
    """They are more than a hundred, from more than twenty scripts, and each may stand beside any other."""
    assert len(NAMES) >= 100
    assert len(LINES) >= 20
    for of_one_kind in zip(*[keys(checked(name)) for name in NAMES], strict=True):
        assert len(of_one_kind) == len(set(of_one_kind))


@pytest.mark.parametrize(
    "name",
    [
        *["", " ", " ann", "ann ", "ann\u00a0", "\u3000ann", "x" * (MAX_NAME + 1), "\u1680"],
        *STARS,
        *[f"a{bar}b" for bar in BARS],
        *["a\nb", "a\tb", "a\x00", "a\x1b[31m", "a\x7f", "a\x85b", "a\u2028b", "a\ue000", "a\u0378", "\ud800"],
        # Characters that are not seen, or move others about.
        *["a\u200bb", "a\u202eb", "a\ufeffb", "a\u00adb", "a\u034fb", "a\u115fb", "a\u1160b", "a\u17b4b"],
        *["a\u180bb", "a\u2060b", "a\ufe0f", "a\ufe00", "a\uffa0b", "\u3164", "ㅋ\u3164", "a\U000e0041"],
        *["\u2800", "a\u2800b", "\U0001d159", "\ufffc", "a\ufffd", "\u303f", "\U00016fe4"],
        # Marks that join letters of their script, where there are none; and that change signs of theirs.
        *[f"bob{mark}" for mark in "\u1039\u17d2\u1a60\u1bab\u2d7f\U0001107f\U00011a99\U0001da9b\U0001bc9d"],
        *["Ann\u094d", "Ann\u0e3a", "\u17d2ក", "ក\u17d2", "ក\u17d2b", "b\u17d2ក", "ក\u17d2 ក", "क\u17d2ខ"],
        # Joiners and dots where nobody writes them.
        *[
            "a\u200db",
            "a\u200cb",
            "علی\u200c",
            "\u200d👩",
            "👩\u200d",
            "❤\ufe0f\ufe0f",
            "*\ufe0f",
            "∗\ufe0f",
            "1\ufe0f",
        ],
        *["·", "a·", "·a", "1·2", "a··b", "a・b"],
        *["\u05f4a", "\u1100", "\u1100\u1161\u11a8\u11a8", "م\u0640", "٠۰"],
        *["a\u0301\u0302\u0303\u0304\u0305", "\u1ea5\u0300\u0301\u0302", "a" + "\u20dd" * 5],
        *["ﷺ" * 4, "㍿" * 17],
    ],
)
def test_illegal(name: str) -> None:
    """Empty, long, reserved and deceptive names are refused."""
    with pytest.raises(BadName):
        checked(name)


def test_length_is_looked_at_first() -> None:
    """A name is kept in NFC, and its length is counted there; what is far too long is not even normalised."""
    assert checked("Rene\u0301") == "Ren\u00e9"
    assert checked("e\u0301" * MAX_NAME) == "\u00e9" * MAX_NAME
    marks = "\u0301\u0323" * 32_000

    for look in (checked, address):
        with pytest.raises(BadName, match="64000 characters"):
            look(marks)


@pytest.mark.slow
def test_the_short_way_is_precis() -> None:
    """What is judged by its category alone is judged as PRECIS's nickname profile does."""
    profile = get_profile("NicknameCaseMapped:CaseFold")
    besides = {*BARS, *"\u00b7\u0387\u2800\u303f\ufffc\ufffd\U0001d159\U00016fe4\U00013441\U00013442"}
    besides |= {chr(point) for point in range(0x3131, 0x318F)} | set(names._MODIFIERS)
    besides |= {one for one in map(chr, range(0x110000)) if unicodedata.combining(one) == names._VIRAMA}
    for character in map(chr, range(0x110000)):
        if unicodedata.category(character) in {"Cn", "Co"} or character in besides:
            continue
        try:
            profile.enforce(f"a{character}a")
        except UnicodeEncodeError:
            allowed = False
        else:
            allowed = True

        assert is_legal(f"a{character}a") == allowed, hex(ord(character))


def test_what_depends_on_the_whole_name_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A character that is legal beside others is not looked for again each time that it comes up."""
    looked = []

    def look(name: str, place: int, ucd: UnicodeData) -> str:
        looked.append(place)
        return context_rule_error(name, place, ucd)

    monkeypatch.setattr(free_form, "context_rule_error", look)

    checked("・" * 31 + "カ")
    checked("٠١٠١٠١")

    assert looked == [0, 0, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann", "ann"),
        ("Straße", "STRASSE"),
        ("ａｎｎ", "ann"),
        ("a  b", "a b"),
        ("a\u00a0b", "a b"),
        ("ﬁne", "fine"),
        ("René", "RENE\u0301"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("❤️", "❤"),
        ("👩‍💻", "👩💻"),
        ("ㅋㅋ", "\uffbb\uffbb"),
    ],
)
def test_same(one: str, other: str) -> None:
    """Case, width, ligatures and the kind of spaces do not make another name (RFC 8266)."""
    assert address(one) == address(other)
    assert address(one) == keys(checked(one))[0]


@pytest.mark.parametrize(("forged", "real"), FORGED)
def test_deceptive(forged: str, real: str) -> None:
    """Names that look alike are one, whatever scripts they are put together from (UTS 39)."""
    assert are_one(forged, real)


@pytest.mark.parametrize(("forged", "real"), [*FORGED[:-2], *NOT_SEEN])
def test_looks_do_not_address(forged: str, real: str) -> None:
    """What is addressed to a name that looks like another does not reach that one, unless both fold alike."""
    folded = get_profile("NicknameCaseMapped:CaseFold").enforce
    assert (address(forged) == address(real)) == (folded(forged) == folded(real))


def test_forgeries() -> None:
    """Of 50 forgeries two are not caught: no table has them."""
    assert len(FORGED) + len(NOT_SEEN) == 50
    for forged, real in NOT_SEEN:
        assert not are_one(forged, real)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("Ian", "Lan"), ("ALI", "All"), ("Al", "Ai"), ("AI", "al"), ("Ilya", "Lya"), ("ian", "lan")],
        *[("ann", "anne"), ("Rene", "René"), ("bob", "bo"), ("user1", "user2"), ("x", "у"), ("Ivan", "Iván")],
    ],
)
def test_side_by_side(one: str, other: str) -> None:
    """Names that differ to who reads them are two."""
    assert not are_one(one, other)


def test_the_table_is_closed() -> None:
    """Nothing is taken for something that is itself taken for another (UTS 39, section 4)."""
    assert not [model for model in TAKEN_FOR.values() if any(ord(part) in TAKEN_FOR for part in model)]


@given(ANY)
def test_any_text(text: str) -> None:
    """Any text is a legal name or none; a legal one stays legal, and has the same keys each time."""
    if is_legal(text):
        name = checked(text)
        assert checked(name) == name
        assert 1 <= len(name) <= MAX_NAME
        assert keys(name) == keys(name)
        assert len(keys(name)) == 4
    for look in (address, keys):
        with suppress(BadName):
            look(text[:MAX_NAME])


@given(REAL.filter(is_legal))
def test_variants(text: str) -> None:
    """A name is one with how it is written otherwise: decomposed, in capitals, wide, folded."""
    name = checked(text)
    wide = "".join(chr(ord(one) + 0xFEE0) if one.isascii() and one.isalpha() else one for one in name)
    decomposed = unicodedata.normalize("NFD", name)
    cased = [one for one in (name.upper(), name.lower(), name.title()) if one.casefold() == name.casefold()]
    for variant in (wide, decomposed, name.casefold(), *cased):
        if len(variant) <= MAX_NAME:
            assert address(variant) == address(name)
        assert keys(variant)[0] == keys(name)[0]
    folded = address(name)
    assert keys(folded)[0] == keys(name)[0]


@given(REAL.filter(is_legal), st.integers(2, 10**6))
def test_numbered(text: str, number: int) -> None:
    """A name with a number behind it fits, and is legal, unless what is cut off made the name legal."""
    name = checked(text)

    free = numbered(name, str(number))

    assert free.endswith(str(number))
    assert len(free) <= MAX_NAME
    assert is_legal(free) or "・" in free or len(address(name)) > 60


def test_numbered_is_cut_before_what_joins() -> None:
    """A mark that joins letters is not left at the end."""
    assert numbered("ក្" * 15 + "កា", "2") == "ក្" * 15 + "ក2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bobb", '"bobb"'),
        ("x" * 33, f'"{"x" * 32}…"'),
        ("no\x1b[31m\n\u202e", '"no\ufffd[31m\ufffd\ufffd"'),
        ("👩‍💻", '"👩‍💻"'),
        ("علی‌رضا", '"علی‌رضا"'),
    ],
)
def test_quoted(text: str, shown: str) -> None:
    """An error quotes at most 32 characters of what it is about, none of which does anything to a terminal."""
    assert quoted(text) == shown


PILE = "".join(
    sorted(
        filter(unicodedata.combining, map(chr, range(0x300, 0x2000))), key=unicodedata.combining, reverse=True
    )
)


def seconds(work: Callable[[], object]) -> float:
    """Return how long this keeps the processor, at best."""
    took = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(10):
            work()
        took.append(time.process_time() - began)
    return min(took) / 10


@pytest.mark.parametrize(
    "text",
    [
        *["\u0301\u0323" * 32_000, PILE[: MAX_GIVEN + 1], PILE[:MAX_GIVEN], "\u0344" * 64 + PILE[-64:]],
        *[
            "é" * 32,
            "李" * 32,
            "ᾂ" * 32,
            "ᾂ\u0302" * 16,
            "ΐ" * 20,
            "٠١٢٣٤٥٦٧٨٩" * 3,
            "・" * 31 + "カ",
            "ب\u200c" * 16,
        ],
        *[
            "ﷺ" * 3,
            "ﷺ" * 32,
            "ﷺ" * 128,
            "㍿" * 16,
            "e\u0301\u0327\u0328\u0323" * 8,
            "👩‍💻" * 10,
            "aI" * 16,
            "क्" * 16,
            "x" * 64_000,
        ],
    ],
)
def test_no_name_takes_long(text: str) -> None:
    """Whatever is given as a name, to look at it takes as long as the category of 50,000 characters at most."""
    reference = "é" * 5_000

    def look() -> None:
        for one in (checked, address, lambda text: keys(text[:MAX_NAME])):
            with suppress(BadName):
                one(text)

    assert seconds(look) < 10 * seconds(lambda: [unicodedata.category(one) for one in reference])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a|b", 'a name may not contain "|"'),
        ("a｜b", 'a name may not contain "｜" (U+FF5C)'),
        ("a\x1bb", "a name may not contain U+001B"),
        ("a\u034fb", "a name may not contain U+034F there"),
        ("x" * 33, "the name is 33 characters long; it must have 1 to 32"),
    ],
)
def test_sentences(name: str, sentence: str) -> None:
    """What a name may not contain is shown, with its code unless it is ASCII; of the unseen, the code is."""
    with pytest.raises(BadName) as caught:
        checked(name)

    assert str(caught.value) == sentence
