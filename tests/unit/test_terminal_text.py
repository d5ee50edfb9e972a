"""What is typed, and what is shown."""

import errno
import socket
import ssl

import pytest

from chatroom.client.errors import ConnectionLost, Refused
from chatroom.protocol.messages import ErrorReply, Incoming, IncomingBroadcast
from chatroom.terminal.full import filled, shortened
from chatroom.terminal.reasons import interrupted, lost, reason
from chatroom.terminal.text import line, users, visible
from chatroom.terminal.typed import (
    EMPTY,
    HELP,
    HINT,
    Help,
    Name,
    Quit,
    Say,
    Unclear,
    Who,
    about,
    can_be_typed,
    for_msg,
    understand,
)


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

    def text(message: Incoming | IncomingBroadcast | ErrorReply) -> str:
        return "".join(piece for _, piece in line(message))

    assert text(Incoming("ann\x07", "hi\n"))[5:] == " ann␇ to you: hi␊"
    assert text(IncomingBroadcast("ann", "hi"))[5:] == " ann to all: hi"
    assert text(ErrorReply("x", "no\x1b", suggestion="a\x07")) == "no␛ (try a␇)"


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
        ("hello", Unclear(HINT)),
        ("|x", Unclear(HINT)),
        ("bob|", Unclear(EMPTY)),
        ("*|", Unclear(EMPTY)),
        ("", Unclear("")),
        (" \t", Unclear("")),
        ("＊｜大家好", Say(None, "大家好")),
        ("bob｜hi|ho", Say("bob", "hi|ho")),
        ("bob|hi｜ho", Say("bob", "hi｜ho")),
        ("王小明│你好", Say("王小明", "你好")),
        ("who？", Unclear(HINT)),
        ("/who", Who()),
        ("/quit", Quit()),
        ("/name Zoë  Ann", Name("Zoë  Ann")),
        ('/name "Zoë Ann"', Name("Zoë Ann")),
        ("/help", Help()),
        ("help", Help()),
        (" ? ", Help()),
        ("?|x", Say("?", "x")),
        ("/msg bob a | b", Say("bob", "a | b")),
        ('/msg "Nguyễn Thị Hoa" xin chào', Say("Nguyễn Thị Hoa", "xin chào")),
        ("  /msg\tbob  hi", Say("bob", "hi")),
        ("/msg * hi", Say(None, "hi")),
        ('/msg "a｜b" hi', Say("a｜b", "hi")),
        ("/me|waves", Say("/me", "waves")),
        ("*|/shrug", Say(None, "/shrug")),
        ("b\udcffb|\ud800 \ud83d\ude00", Say("b\ufffdb", "\ufffd \N{GRINNING FACE}")),
    ],
)
def test_understand(typed: str, meaning: object) -> None:
    """`user|text`, `*|text`, `who` and `quit` are understood; anything else is not."""
    assert understand(typed) == meaning


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("/shrug at bob", "unknown command /shrug; /help lists the commands"),
        ("/msg", "type /msg NAME text"),
        ("/msg bob", "type /msg NAME text"),
        ('/msg "bob hi', "type /msg NAME text"),
        ("/who is there", "/who takes no argument; /help lists the commands"),
        ("/name", "type /name NEW"),
        ("/quit now", "/quit takes no argument; /help lists the commands"),
    ],
)
def test_hints(typed: str, hint: str) -> None:
    """What begins like a command and is none is not sent; the hint says what to type instead."""
    meaning = understand(typed)

    assert isinstance(meaning, Unclear)
    assert meaning.hint.startswith(hint)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["*|a", "bob|b", "c"], "3 lines, 1 is not a command: Enter sends the others, Ctrl-C drops all"),
        (["*|a", "", "b", "c"], "3 lines, 2 are not commands: Enter sends the others, Ctrl-C drops all"),
        (["*|a", "/quit"], "2 lines: Enter sends all, Ctrl-C drops all"),
        (["a", "b"], "2 lines, none is a command: Ctrl-C drops all"),
    ],
)
def test_several_lines(lines: list[str], said: str) -> None:
    """What several lines are is said before they are sent; blank ones do not count."""
    assert about(lines) == said


def test_hints_fit() -> None:
    """What the program says about itself fits into a line of 80 columns."""
    assert all(len(line) < 80 for line in [HINT, *HELP.split("\n")])


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a line that fits", ["a line that fits"]),
        ("a line that does not fit", ["a line that does", "not fit"]),
        ("  a name with blanks", ["  a name with", "blanks"]),
        ("averyveryverylongword indeed", ["averyveryverylongword", "indeed"]),
        ("全角文字は二倍 wide", ["全角文字は二倍", "wide"]),
        ("", [""]),
        ("/join ROOM   enter a room", ["/join ROOM", "  enter a room"]),
        ("/join ROOM   enter one that is", ["/join ROOM", "  enter one that", "  is"]),
        ("/join ROOM  x", ["/join ROOM  x"]),
    ],
)
def test_filled(text: str, rows: list[str]) -> None:
    """Text is broken between words, by the columns that they take."""
    assert filled(text, 16).split("\n") == rows


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("a line that fits", "a line that fits"),
        ("a line that does not", "a line that doe…"),
        ("全角文字は二倍です", "全角文字は二倍…"),
    ],
)
def test_shortened(text: str, row: str) -> None:
    """What is to be one row is cut, by the columns that it takes."""
    assert shortened(text, 16) == row


def mismatch(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_code, error.verify_message = code, "no good."
    return error


@pytest.mark.parametrize(
    ("code", "names", "said"),
    [
        (62, ["localhost"], "its certificate is for localhost: use that name as SERVER_IP"),
        (64, ["a.example", "\x1b"], "its certificate is for a.example or ␛: use that name as SERVER_IP"),
        (62, [], "its certificate is for another name: use that one as SERVER_IP"),
        (
            18,
            [],
            "its certificate cannot be trusted: no good; --ca FILE names the certificate authorities to trust",
        ),
    ],
)
def test_certificates(code: int, names: list[str], said: str) -> None:
    """A certificate for another name is told from one that is not trusted."""
    assert reason(mismatch(code), tls=True, names=names) == said


def test_names_that_look_like_lines() -> None:
    """Neither in the list of users nor in front of a message can a name pass for somebody's words."""

    def text(pieces: list[tuple[str, str]]) -> str:
        return "".join(text for _, text in pieces)

    forged = "12:00 bob to you: pay me"

    assert [text(row) for row in users(["ann", forged])] == ["current users:", "  ann", f"  {forged}"]
    assert text(line(Incoming(forged, "hi")))[5:] == f' "{forged}" to you: hi'
    assert text(line(Incoming('bob" to you： x', "hi")))[5:] == ' "bob\' to you： x" to you: hi'
    assert text(line(Incoming("Nguyễn Thị Hoa", "hi")))[5:] == " Nguyễn Thị Hoa to you: hi"


@pytest.mark.parametrize(
    ("name", "can"),
    [("ann", True), ("Thị Hoa", True), ("a｜b", False), ("＊", False), ("/msg a b", False), ("a\x1b", False)],
)
def test_names_that_can_be_typed(name: str, *, can: bool) -> None:
    """Completion offers only what is understood as the name that it offers."""
    assert can_be_typed(name) is can


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (Refused(ErrorReply(error="x", message="not\x1b you")), "not␛ you"),
        (ConnectionLost("closed (\x1b[2J)"), "closed (␛[2J)"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (TimeoutError(), "it did not answer in time"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out"),
        (UnicodeError("label too long"), "that is no name of a host"),
        (ConnectionLost("the server ended the connection: flood"), "the server ended the connection: flood"),
    ],
)
def test_reasons(error: Exception, said: str) -> None:
    """Why there is no connection is said in the system's words, without addresses and brackets."""
    assert reason(error) == said


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("the server ended the connection: draining", "the server is going down"),
        (
            "the server ended the connection: idle",
            "the server ended the connection: nothing was said for too long",
        ),
        (
            "the server ended the connection: flood",
            "the server ended the connection: too much was sent too fast",
        ),
        (
            "the server ended the connection: \x1b",
            "the connection was lost: the server ended the connection: ␛",
        ),
        (
            "the server does not answer any longer",
            "the connection was lost: the server does not answer any longer",
        ),
    ],
)
def test_lost(why: str, said: str) -> None:
    """The server's codes for why it ends a connection are said in plain words, once."""
    assert lost(why) == said


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("the server ended the connection: draining", "the server is going down"),
        ("the server does not answer any longer", "the server no longer answers"),
        ("the server closed the connection", "the server closed the connection"),
        ("Broken pipe", "the connection was lost"),
        ("Connection reset by peer", "the connection was lost"),
        ("No route to host", "the connection was lost: No route to host"),
    ],
)
def test_interrupted(why: str, said: str) -> None:
    """To whoever waits for the next connection, nothing is said twice, nor in words of the system."""
    assert interrupted(why) == said


@pytest.mark.parametrize(
    ("name", "offer"),
    [("ann", "ann"), ("Zoë Ann", '"Zoë Ann"'), ("a|b", "a|b"), ('"a" b', None), ("a\x1b", None)],
)
def test_names_for_msg(name: str, offer: str | None) -> None:
    """A name with blanks stands in quotation marks behind /msg; one that cannot is not offered."""
    assert for_msg(name) == offer
