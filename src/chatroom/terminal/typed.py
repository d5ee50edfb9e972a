"""What a typed line means."""

from dataclasses import dataclass

HINT = "type NAME|text to write to one, *|text to write to all, who, or quit"


@dataclass(frozen=True)
class Say:
    """A message: to one, or to all (None)."""

    to: str | None
    text: str


@dataclass(frozen=True)
class Who:
    """Who is here?"""


@dataclass(frozen=True)
class Quit:
    """Leave."""


@dataclass(frozen=True)
class Unclear:
    """None of these."""


def understand(line: str) -> Say | Who | Quit | Unclear:
    """Return what the line asks for.

    The text may have `|` in it: the first one ends the name.
    """
    to, bar, text = as_unicode(line).partition("|")
    to = to.strip()
    if bar:
        if not to or not text:
            return Unclear()
        return Say(None if to == "*" else to, text)
    match to:
        case "who":
            return Who()
        case "quit":
            return Quit()
        case _:
            return Unclear()


def as_unicode(text: str) -> str:
    """Return the text as it can be sent: halves of characters, and bytes that were none, become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
