"""What a typed line means."""

import re
from dataclasses import dataclass

from chatroom.protocol.names import BARS, STARS
from chatroom.terminal.text import visible

HINT = "type NAME|text (to one) or *|text (to all); /help lists the commands"
EMPTY = "the message is empty"
HELP = """\
NAME|text or /msg NAME text   to one; /msg "NAME WITH BLANKS" text
*|text                        to all others
who or /who                   who is here
/name NEW                     another name, if yours is taken after an outage
help, ? or /help              this list
quit or /quit                 leave
Tab completes names and commands; Up and Down bring back earlier lines;
Ctrl-C drops the line, and on an empty one it leaves, as Ctrl-D does"""
COMMANDS = ["/help", "/msg", "/name", "/quit", "/who"]

BAR = re.compile(f"[{re.escape(BARS)}]")
_MSG = re.compile(r'/msg\s+("[^"]+"|[^"\s]\S*)\s+(\S.*)', re.DOTALL)
_MSG_HINT = 'type /msg NAME text; a NAME with blanks in it stands in "quotation marks"'


@dataclass(frozen=True)
class Say:
    """A message: to one, or to all (None)."""

    to: str | None
    text: str


@dataclass(frozen=True)
class Who:
    """Who is here?"""


@dataclass(frozen=True)
class Name:
    """Take another name, while there is no connection under the old one."""

    name: str


@dataclass(frozen=True)
class Quit:
    """Leave."""


@dataclass(frozen=True)
class Help:
    """What can be typed?"""


@dataclass(frozen=True)
class Unclear:
    """None of these; the hint says what would be one, and is empty for a blank line."""

    hint: str


Meaning = Say | Who | Name | Quit | Help | Unclear


def understand(line: str) -> Meaning:
    """Return what the line asks for.

    The text may have `|` in it: the first one ends the name. What a keyboard for Chinese or Japanese puts in
    the place of `|` and `*`, and all else that looks like them and is illegal in a name (`BARS`, `STARS`),
    means the same. A slash begins a command only if it is one of ours: a name may begin with one too.
    """
    line = as_unicode(line)
    if not line.strip():
        return Unclear("")
    if meaning := _command(line.strip()):
        return meaning
    if bar := BAR.search(line):
        return _say(line[: bar.start()].strip(), line[bar.end() :])
    if line.strip().startswith("/"):
        word = line.split()[0]
        if word in COMMANDS:
            return Unclear(f"{word} takes no argument; /help lists the commands")
        return Unclear(f"unknown command {word}; /help lists the commands")
    return Unclear(HINT)


def can_be_typed(name: str) -> bool:
    """Whether a message to this name can be typed as `NAME|text`."""
    return name == visible(name) and understand(f"{name}|text") == Say(name, "text")


def for_msg(name: str) -> str | None:
    """Return the name as it stands behind `/msg`, in quotation marks if need be; None if it cannot."""
    offer = f'"{name}"' if re.search(r"\s", name) else name
    return offer if name == visible(name) and understand(f"/msg {offer} x") == Say(name, "x") else None


def is_command(line: str) -> bool:
    """Whether this is something that can be done."""
    return not isinstance(understand(line), Unclear)


def is_no_command(line: str) -> bool:
    """Whether this is neither a command nor blank."""
    return bool(line.strip()) and not is_command(line)


def about(lines: list[str]) -> str:
    """Say what several lines are, before they are sent."""
    count = sum(bool(line.strip()) for line in lines)
    wrong = sum(map(is_no_command, lines))
    if wrong == count:
        return f"{count} lines, none is a command: Ctrl-C drops all"
    if not wrong:
        return f"{count} lines: Enter sends all, Ctrl-C drops all"
    are = "1 is not a command" if wrong == 1 else f"{wrong} are not commands"
    return f"{count} lines, {are}: Enter sends the others, Ctrl-C drops all"


def as_unicode(text: str) -> str:
    """Return the text as it can be sent: halves of characters, and bytes that were none, become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _command(line: str) -> Meaning | None:
    match re.split(r"\s+", line, maxsplit=1):
        case ["who" | "/who"]:
            return Who()
        case ["quit" | "/quit"]:
            return Quit()
        case ["help" | "?"] | ["/help", *_]:
            return Help()
        case ["/name", *names]:
            return Name(names[0].strip('"')) if names else Unclear("type /name NEW")
        case ["/msg", *_]:
            found = _MSG.fullmatch(line)
            return _say(found[1].strip('"'), found[2]) if found else Unclear(_MSG_HINT)
    return None


def _say(to: str, text: str) -> Say | Unclear:
    if not to:
        return Unclear(HINT)
    if not text:
        return Unclear(EMPTY)
    return Say(None if to in STARS else to, text)
