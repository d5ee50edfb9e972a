"""What a server with rooms and a history tells, as lines for people.

A line begins with its time, with the date if that is not today's; then comes the room, if it is not the lobby:

    14:02 bob to all: good morning
    14:02 bob to you: coffee?
    14:03 #chess bob: e4
    14:03 #"the den" * bob yawns
    14:04 #chess ann, eve and 12 more came; bob left
    2026-11-24 09:00 bob to all: yesterday

A name that could be taken for another part of its line stands in quotation marks.
"""

import re
import time
from collections.abc import Sequence

from chatroom.client.inbox import OwnMessage
from chatroom.protocol.messages import Incoming, IncomingBroadcast, Message, Presence
from chatroom.protocol.names import STARS
from chatroom.terminal.text import LIKE_A_LINE, Pieces, visible
from chatroom.terminal.typed import HASHES

YOU = "you"
NAMED = 3
"""Names in a list at most; of a longer one, one less, and how many more there are."""
_ME = "/me "
"""What a message about its sender begins with, as in XMPP (XEP-0245)."""
_BEGINS_A_LINE = re.compile(f"[{re.escape(HASHES + STARS)}]")
_ENDS_A_NAME = re.compile(rf"[\s,;\"]|{LIKE_A_LINE.pattern}|^{_BEGINS_A_LINE.pattern}")


def said(message: Incoming | IncomingBroadcast) -> Pieces:
    """Return what somebody says now."""
    if isinstance(message, Incoming):
        return _line(clock(message.time), message.from_, message.content, to=YOU, kind="direct")
    return _line(clock(message.time), message.from_, message.content, room=message.room, kind="broadcast")


def was_said(message: Message, room: str | None, names: set[str]) -> Pieces:
    """Return what was said, in the lobby (None) or in a room; `names` are one's own, now and before."""
    receiver = YOU if message.to in names else message.to
    return _line(clock(message.time), message.from_, message.content, room=room, to=receiver, kind="past")


def said_elsewhere(message: OwnMessage) -> Pieces:
    """Return what one has said over another connection, as it will stand in the past."""
    return _line(
        clock(message.time), message.from_, message.content, room=message.room, to=message.to, kind="past"
    )


def came_and_went(presence: Presence) -> Pieces:
    """Return who came and who went."""
    came, went = (presence.joined or [], presence.left or [])
    parts = [f"{folded(names)} {did}" for names, did in ((came, "came"), (went, "left")) if names]
    return [("time", f"{clock()} {in_room(presence.room)}{'; '.join(parts)}")]


def in_room(room: str | None) -> str:
    """Return what stands before a line that belongs to a room: nothing for the lobby's."""
    return f"{label(room)} " if room is not None else ""


def label(room: str) -> str:
    """Return a room's name as it is shown, and can be typed: `#chess`, `#"the den"`."""
    return f"#{quoted(room)}"


def quoted(name: str) -> str:
    """Return a name as it stands where anything may follow it, a room's or somebody's."""
    name = visible(name)
    return '"' + name.replace('"', "'") + '"' if _ENDS_A_NAME.search(name) else name


def folded(names: Sequence[str]) -> str:
    """Return a list of names in words, of a long one only the beginning."""
    most = len(names) if len(names) <= NAMED else NAMED - 1
    words = [quoted(name) for name in names[:most]]
    if len(names) > most:
        words.append(f"{len(names) - most} more")
    return " and ".join([*[", ".join(words[:-1])] * (len(words) > 1), words[-1]])


def clock(at: float | None = None) -> str:
    """Return the local time, of now (None) or in seconds since 1970; with the date, if it is not today."""
    now = time.localtime()
    try:
        then = time.localtime(at)
    except (OverflowError, ValueError, OSError):  # no time that there is: a server may send any number
        then = now
    is_today = then[:3] == now[:3]
    return time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", then)


def _line(
    when: str, sender: str, content: str, *, room: str | None = None, to: str | None = None, kind: str
) -> Pieces:
    place: Pieces = [("time", f"{when} "), *([(kind, in_room(room))] if room is not None else [])]
    text = visible(content)
    if content.startswith(_ME):
        aim: Pieces = [(kind, f"to {_called(to)}: ")] if to is not None else []
        return [*place, *aim, ("sender", f"* {quoted(sender)}"), ("text", text.removeprefix("/me"))]
    aim = [] if room is not None else [(kind, f" to {'all' if to is None else _called(to)}")]
    return [*place, ("sender", _called(sender)), *aim, (kind, ": "), ("text", text)]


def _called(name: str) -> str:
    """Return a name as it stands before a colon; one that begins as a room or a `*` does is quoted too."""
    name = visible(name)
    if _BEGINS_A_LINE.match(name) or LIKE_A_LINE.search(name):
        return '"' + name.replace('"', "'") + '"'
    return name
