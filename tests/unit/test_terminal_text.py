"""What is typed, and what is shown."""

import pytest

from chatroom.protocol.messages import Error, Incoming, IncomingBroadcast
from chatroom.terminal.text import line, visible
from chatroom.terminal.typed import Quit, Say, Unclear, Who, understand


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcödé, 漢字, 👩‍🚀", "plain, ünïcödé, 漢字, 👩‍🚀"),
        ("\x1b[2J", "␛[2J"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x9b31m", "<U+009B>31m"),
        ("two\nlines\r\n", "two␊lines␍␊"),
        ("a\tb\x7f\x00", "a␉b␡␀"),
        ("\u202egnp.exe\u2066", "<U+202E>gnp.exe<U+2066>"),
        ("a\u2028b\u2029c\u0085d", "a<U+2028>b<U+2029>c<U+0085>d"),
        ("\U000e0041\ufeff\u200b", "<U+E0041><U+FEFF><U+200B>"),
        ("\ud800", "<U+D800>"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    """Nothing that is not seen, and nothing that a terminal obeys, is left in what is printed."""
    assert visible(text) == shown


def test_every_control_character_is_shown() -> None:
    """No C0 or C1 character comes through, whatever it is."""
    shown = visible("".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)])))

    assert shown.isprintable()


def test_lines() -> None:
    """A line says when, who and to whom; nothing of it is passed on raw."""

    def text(message: Incoming | IncomingBroadcast | Error) -> str:
        return "".join(piece for _, piece in line(message))

    assert text(Incoming("ann\x07", "hi\n"))[5:] == " ann␇ to you: hi␊"
    assert text(IncomingBroadcast("ann", "hi"))[5:] == " ann to all: hi"
    assert text(Error("x", "no\x1b", suggestion="a\x07")) == "no␛ (try a␇)"


@pytest.mark.parametrize(
    ("typed", "meaning"),
    [
        ("bob|hi", Say("bob", "hi")),
        ("bob | hi | there", Say("bob", " hi | there")),
        ("*|spam", Say(None, "spam")),
        ("*||", Say(None, "|")),
        ("who", Who()),
        (" quit ", Quit()),
        ("who|x", Say("who", "x")),
        ("hello", Unclear()),
        ("|x", Unclear()),
        ("bob|", Unclear()),
        ("", Unclear()),
        ("b\udcffb|\ud800 \ud83d\ude00", Say("b\ufffdb", "\ufffd \N{GRINNING FACE}")),
    ],
)
def test_understand(typed: str, meaning: object) -> None:
    """`user|text`, `*|text`, `who` and `quit` are understood; anything else is not."""
    assert understand(typed) == meaning
