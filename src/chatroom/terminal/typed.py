"""What a typed line means."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from chatroom.protocol.messages import MAX_FIND
from chatroom.protocol.names import BARS, STARS
from chatroom.terminal.text import visible

HINT = "type NAME|text (to one) or *|text (to all); /help lists the commands"
EMPTY = "the message is empty"
NO_ROOMS = "this server has no rooms and no history"
NO_ACCOUNTS = "this server has no accounts and no operators"
ROOMS_NEED_TERMINAL = "rooms and history need a terminal"
ACCOUNTS_NEED_TERMINAL = "accounts and operators need a terminal"
HELP = """\
NAME|text or /msg NAME text   to one; /msg "NAME WITH BLANKS" text
*|text                        to all others
who or /who                   who is here
/name NEW                     come back as NEW, if yours was taken in an outage
help, ? or /help              this list
quit or /quit                 leave
Tab completes names and commands; Up and Down bring back earlier lines;
Ctrl-C drops the line, and on an empty one it leaves, as Ctrl-D does"""
HELP_IN_ROOMS = """\
#ROOM|text                    to a room you are in
/join ROOM                    enter a room, which is made if there is none
/leave or /leave ROOM         leave it
/rooms, /who ROOM             which rooms there are; who is in one
/history                      the last 20 messages to all and to you
/history #chess 50            the last 50 in a room; /history bob with bob
/find tea, /find #chess tea   the last 20 with "tea"; /find bob|tea with bob
/me waves, /me #chess waves   shown as "* ann waves"
/forget or /forget TEXT       take back your last message, or that with TEXT
/register                     protect your name with a password, or change it"""
HELP_FOR_OPERATORS = """\
for operators:
/kick NAME, /kick bob spam    disconnect somebody, with a reason if you like
/mute NAME, /mute bob 10      stop somebody writing for 60 minutes, or for 10
/ban NAME, /ban bob 0 spam    keep somebody out for 60 minutes; 0: for good
/unmute NAME, /unban NAME     lift a mute or a ban
/forget bob|tea               take back bob's last message with "tea"
/bans                         list bans and mutes"""
KEYS_IN_ROOMS = "Enter on an empty line marks all as read"
COMMANDS = ["/help", "/msg", "/name", "/quit", "/who"]
COMMANDS_IN_ROOMS = sorted(
    [*COMMANDS, "/find", "/forget", "/history", "/join", "/leave", "/me", "/register", "/rooms"]
)
COMMANDS_FOR_OPERATORS = ["/ban", "/bans", "/kick", "/mute", "/unban", "/unmute"]
LAST = 20
"""Messages of the past that are shown if nobody says how many."""

BAR = re.compile(f"[{re.escape(BARS)}]")
HASHES = "#\uff03\ufe5f"
"""What begins the name of a room: `#`, and what a keyboard for Chinese or Japanese puts in its place."""
_NAME = r'"[^"]+"|[^"\s]\S*'
_PLACE = rf'[{HASHES}]"[^"]+"|{_NAME}'
_MSG = re.compile(rf"/msg\s+({_NAME})\s+(\S.*)", re.DOTALL)
_PLACE_AND_TEXT = re.compile(rf"({_PLACE})\s+(\S.*)", re.DOTALL)
_NAME_AND_REASON = re.compile(rf"({_NAME})(?:\s+(\S.*))?", re.DOTALL)
_MINUTES_AND_REASON = re.compile(r"(\d{1,9})(?:\s+(.*))?", re.DOTALL)
_HISTORY = re.compile(rf"(.*?)(?:(?:^|[{re.escape(BARS)}\s]\s*)(-?\d{{1,9}})|[{re.escape(BARS)}]\s*)?")
_LAST_BAR = re.compile(rf"\s*[{re.escape(BARS)}]\s*$")
_MSG_HINT = 'type /msg NAME text; a NAME with blanks in it stands in "quotation marks"'


@dataclass(frozen=True)
class Say:
    """A message: to one, or to all (None), in the lobby or in a room."""

    to: str | None
    text: str
    room: str | None = None


@dataclass(frozen=True)
class Who:
    """Who is here, or in a room?"""

    room: str | None = None


@dataclass(frozen=True)
class Join:
    """Enter a room."""

    room: str


@dataclass(frozen=True)
class Leave:
    """Leave a room, or (None) the only one."""

    room: str | None


@dataclass(frozen=True)
class ListRooms:
    """Which rooms are there?"""


@dataclass(frozen=True)
class Past:
    """What was said in the lobby, in a room or between us and somebody; only what contains `find`, if given."""

    to: str | None = None
    room: str | None = None
    count: int = LAST
    find: str | None = None


@dataclass(frozen=True)
class Forget:
    """Take back the last message of ours that contains this text."""

    text: str


@dataclass(frozen=True)
class Register:
    """Own the name, or change its password."""


class Act(StrEnum):
    """What operators do, as it is typed."""

    KICK = "/kick"
    MUTE = "/mute"
    UNMUTE = "/unmute"
    BAN = "/ban"
    UNBAN = "/unban"


@dataclass(frozen=True)
class Order:
    """Do this to somebody, for so many minutes (None: as many as the server does by itself; 0: for good)."""

    act: Act
    name: str
    minutes: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ListBans:
    """Who is banned or muted?"""


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


Request = Say | Who | Join | Leave | ListRooms | Past | Forget | Register | Order | ListBans
"""What the server is needed for."""
Meaning = Request | Name | Quit | Help | Unclear


def understand(line: str, *, rooms: bool = False, terminal: bool = True) -> Meaning:
    """Return what the line asks for, of a server that has `rooms` and a history or not; or not on a `terminal`.

    The text may have `|` in it: the first one ends the name. What a keyboard for Chinese or Japanese puts in
    the place of `|` and `*`, and all else that looks like them and is illegal in a name (`BARS`, `STARS`),
    means the same. A slash begins a command only if it is one of ours: a name may begin with one too. In
    quotation marks, a name that begins with `#` is a user's.
    """
    line = as_unicode(line)
    if not line.strip():
        return Unclear("")
    if meaning := (rooms and _command_in_rooms(line.strip())) or _command(line.strip()):
        return meaning
    if bar := BAR.search(line):
        return _say(line[: bar.start()].strip(), line[bar.end() :], rooms=rooms)
    if line.strip().startswith("/"):
        word = line.split()[0]
        return Unclear(_about_command(word, rooms=rooms, terminal=terminal))
    return Unclear(HINT)


def can_be_typed(name: str, *, rooms: bool = False) -> bool:
    """Whether a message to this name can be typed as `NAME|text`."""
    return name == visible(name) and understand(f"{name}|text", rooms=rooms) == Say(name, "text")


def for_msg(name: str, *, rooms: bool = False) -> str | None:
    """Return the name as it stands behind `/msg`, in quotation marks if need be; None if it cannot."""
    offer = f'"{name}"' if re.search(rf"\s|^[{HASHES}]" if rooms else r"\s", name) else name
    means_it = understand(f"/msg {offer} x", rooms=rooms) == Say(name, "x")
    return offer if name == visible(name) and means_it else None


def room_of(place: str) -> str | None:
    """Return the name of the room, if it is one: `#chess` or `#"the den"`."""
    return _bare(place[1:].strip()) if place[:1] in HASHES and place else None


def is_command(line: str, *, rooms: bool = False) -> bool:
    """Whether this is something that can be done."""
    return not isinstance(understand(line, rooms=rooms), Unclear)


def is_no_command(line: str, *, rooms: bool = False) -> bool:
    """Whether this is neither a command nor blank."""
    return bool(line.strip()) and not is_command(line, rooms=rooms)


def about(lines: list[str], *, rooms: bool = False) -> str:
    """Say what several lines are, before they are sent."""
    count = sum(bool(line.strip()) for line in lines)
    wrong = sum(is_no_command(line, rooms=rooms) for line in lines)
    if wrong == count:
        return f"{count} lines, none is a command: Ctrl-C drops all"
    if not wrong:
        return f"{count} lines: Enter sends all, Ctrl-C drops all"
    are = "1 is not a command" if wrong == 1 else f"{wrong} are not commands"
    return f"{count} lines, {are}: Enter sends the others, Ctrl-C drops all"


def asks_back(lines: str, *, rooms: bool) -> bool:
    """Whether one of the lines is followed by a question, which has the keyboard first."""
    return any(isinstance(understand(line, rooms=rooms), Register) for line in lines.split("\n"))


def help_rows(*, rooms: bool, keys: bool, account: bool = False) -> list[str]:
    """Return what can be typed; what the keys do comes last, where there is an editor that they work in.

    Whoever has an `account` may be made an operator meanwhile, and is told what operators can type.
    """
    commands, others = HELP.split("\nTab")
    rows = [*commands.split("\n"), *(HELP_IN_ROOMS.split("\n") if rooms else [])]
    rows += HELP_FOR_OPERATORS.split("\n") if rooms and account else []
    if keys:
        rows += [*f"Tab{others}".split("\n"), *[KEYS_IN_ROOMS] * rooms]
    return rows


def as_unicode(text: str) -> str:
    """Return the text as it can be sent: halves of characters, and bytes that were none, become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def no_rooms(*, terminal: bool) -> str:
    """Say why there are no rooms: it is the server that has none, or a pipe that cannot show them."""
    return NO_ROOMS if terminal else ROOMS_NEED_TERMINAL


def _about_command(word: str, *, rooms: bool, terminal: bool) -> str:
    if word in ([*COMMANDS_IN_ROOMS, *COMMANDS_FOR_OPERATORS] if rooms else COMMANDS):
        return f"{word} takes no argument; /help lists the commands"
    if word in COMMANDS_FOR_OPERATORS or word == "/register":
        return f"unknown command {word}: {NO_ACCOUNTS if terminal else ACCOUNTS_NEED_TERMINAL}"
    hint = f": {no_rooms(terminal=terminal)}" if word in COMMANDS_IN_ROOMS else "; /help lists the commands"
    return f"unknown command {word}{hint}"


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


def _command_in_rooms(line: str) -> Meaning | None:
    word, _, rest = re.sub(r"\s+", " ", line, count=1).partition(" ")
    command = _COMMANDS_IN_ROOMS.get(word)
    return command(rest) if command else None


def _who(rest: str) -> Meaning | None:
    return Who(room) if (room := room_of(_LAST_BAR.sub("", rest))) else None


def _slash_who(rest: str) -> Meaning:
    return Who(_room(rest) or None)


def _msg(rest: str) -> Meaning | None:
    found = _PLACE_AND_TEXT.fullmatch(rest)
    if not found:
        return None
    is_room = room_of(found[1]) is not None
    return _say(found[1] if is_room else _bare(found[1]), found[2], rooms=is_room)


def _join(rest: str) -> Meaning:
    room = _room(rest)
    return Join(room) if room else Unclear("type /join ROOM")


def _leave(rest: str) -> Meaning:
    return Leave(_room(rest) or None)


def _history(rest: str) -> Meaning:
    found = _HISTORY.fullmatch(rest)
    if not found or not int(found[2] or LAST) > 0:
        return Unclear("type /history, then #ROOM or NAME, then how many: at least 1")
    return _past(found[1].strip() or None, found[2])


def _find(rest: str) -> Meaning:
    place, text = _placed(rest)
    if not text:
        return Unclear("type /find TEXT, /find #ROOM TEXT or /find NAME|TEXT")
    if len(text) > MAX_FIND:
        return Unclear(f"the text to find has {len(text)} characters, at most {MAX_FIND} allowed")
    return _past(place, None, find=text)


def _me(rest: str) -> Meaning:
    place, text = _placed(rest)
    return (
        _say(place, f"/me {text}", rooms=True)
        if text
        else Unclear("type /me TEXT, /me #ROOM TEXT or /me NAME|TEXT")
    )


def _order(act: Act, rest: str) -> Meaning:
    found = _NAME_AND_REASON.fullmatch(rest)
    if not found:
        return Unclear(f"type {act} NAME")
    name, reason = found.groups()
    if act in {Act.UNMUTE, Act.UNBAN} and reason:
        return Unclear(f'type {act} NAME; a NAME with blanks in it stands in "quotation marks"')
    minutes = None
    if act in {Act.MUTE, Act.BAN} and (timed := _MINUTES_AND_REASON.fullmatch(reason or "")):
        minutes, reason = int(timed[1]), timed[2]
    return Order(act, name, minutes, reason or None)


_COMMANDS_IN_ROOMS: dict[str, Callable[[str], Meaning | None]] = {
    "who": _who,
    "/who": _slash_who,
    "/msg": _msg,
    "/join": _join,
    "/leave": _leave,
    "/rooms": lambda rest: None if rest else ListRooms(),
    "/history": _history,
    "/find": _find,
    "/me": _me,
    "/forget": Forget,
    "/register": lambda rest: None if rest else Register(),
    "/bans": lambda rest: None if rest else ListBans(),
    **{act: partial(_order, act) for act in Act},
}


def _placed(text: str) -> tuple[str, str]:
    """Return the place that stands before the text, else the lobby's, and the text.

    A bar ends the place, which may have blanks in it; without one, only a room is told from the text.
    """
    if bar := BAR.search(text):
        return text[: bar.start()].strip(), text[bar.end() :].strip()
    if room_of(text) is None:
        return "*", text.strip()
    found = _PLACE_AND_TEXT.fullmatch(text)
    return (found[1], found[2]) if found else (text, "")


def _past(place: str | None, count: str | None, find: str | None = None) -> Past | Unclear:
    to = None if place is None or place in STARS else place
    room = None if to is None else room_of(to)
    if room == "":
        return Unclear("the name of the room is missing")
    return Past(None if room else to, room, int(count or LAST), find)


def _say(to: str, text: str, *, rooms: bool = False) -> Say | Unclear:
    if not to:
        return Unclear(HINT)
    if not text:
        return Unclear(EMPTY)
    if rooms and (room := room_of(to)) is not None:
        return Say(None, text, room) if room else Unclear("type #ROOM|text")
    return Say(None if to in STARS else to, text)


def _room(name: str) -> str:
    """Return the name of a room, which may stand here without its `#`, and with the bar behind it."""
    name = _LAST_BAR.sub("", name)
    room = room_of(name)
    return _bare(name) if room is None else room


def _bare(name: str) -> str:
    """Return the name without the quotation marks around it."""
    return name[1:-1] if re.fullmatch('".+"', name) else name.strip('"')
