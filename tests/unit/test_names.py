"""What a legal name is, and when two are the same."""

import pytest

from chatroom.protocol.names import MAX_NAME, BadName, checked, keys


@pytest.mark.parametrize(
    "name", ["ann", "Ann Lee", "René", "Ωmega", "李小龍", "a", "x" * MAX_NAME, "**", "O'Neil", "😀"]
)
def test_legal(name: str) -> None:
    """Names of any script, with spaces inside, are taken as they are."""
    assert checked(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "*",
        "a|b",
        " ann",
        "ann ",
        "ann\u00a0",
        "x" * (MAX_NAME + 1),
        "a\nb",
        "a\tb",
        "a\x00",
        "a\x1b[31m",
        "a\x7f",
        "a\x85b",
        "a\u200db",
        "a\u202eb",
        "a\u2028b",
        "a\ufeffb",
        "a\ue000",
        "a\U000e0041",
        "a\u0378",
    ],
)
def test_illegal(name: str) -> None:
    """Empty, long, reserved and deceptive names are refused."""
    with pytest.raises(BadName):
        checked(name)


def test_nfc() -> None:
    """A name is kept in NFC, and its length is counted there."""
    assert checked("Rene\u0301") == "Ren\u00e9"
    assert checked("e\u0301" * MAX_NAME) == "\u00e9" * MAX_NAME


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
    ],
)
def test_same(one: str, other: str) -> None:
    """Case, width, ligatures and the kind of spaces do not make another name (RFC 8266)."""
    assert set(keys(one)) & set(keys(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("admin", "аdmin"),
        ("admin", "ａdmin"),
        ("Paypal", "Рaураl"),
        ("bill", "BiIl"),
        ("Ilya", "llya"),
        ("bob", "b0b"),
        ("ann1", "annl"),
        ("modern", "rnodern"),
        ("Omega", "Οmega"),
        ("scope", "ѕсоре"),
    ],
)
def test_deceptive(one: str, other: str) -> None:
    """Names that look alike are the same, whatever scripts they are put together from (UTS 39)."""
    assert set(keys(one)) & set(keys(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("ann", "anne"), ("Rene", "René"), ("bob", "bo"), ("Al", "Ai"), ("user1", "user2"), ("x", "у")],
)
def test_other(one: str, other: str) -> None:
    """Other letters do make another name."""
    assert not set(keys(one)) & set(keys(other))


def test_keys_are_stable() -> None:
    """A name that is made of a key has that key: nothing is taken for something else twice."""
    for text in ["Straße", "ѕсоре", "MODERN", "b0b", "Ω1|", "ﬁ"]:
        assert keys(keys(text)[0])[0] == keys(text)[0]
