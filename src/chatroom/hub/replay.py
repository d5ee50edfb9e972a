"""What somebody missed, from the newest messages in memory."""

from collections.abc import Iterable
from heapq import merge

from chatroom.hub.entries import Said, Told
from chatroom.hub.past import Line, Past
from chatroom.hub.session import Session
from chatroom.protocol.messages import Message, complete, opening, stamped, with_to

MOST = 1000
"""Messages that are replayed."""
MOST_DIRECT = 100
"""Of them, those to one."""
BYTES = 512 * 1024
"""Bytes that are replayed."""
MOST_WAITING = 200
"""Messages that follow a `welcome`, of those that waited for an account."""


def missed_in_lobby(past: Past, session: Session, after: str, *, last: int) -> bytes | None:
    """Return what was said to the session, in the lobby or to it alone, behind this id, with stamps.

    None: that would be too much, or some of it is not in memory. `last`: the last number given out.
    """
    number = parsed(after)
    if number is None or not max(past.rooms[""].floor, past.direct.floor) <= number <= last:
        return None
    direct = [post for post in past.direct.behind(number) if _hears(session, post)]
    if sum(post.count for post in direct) > MOST_DIRECT:
        return None
    others = _of_others(past.rooms[""], session, number)
    if others is None:
        return None
    both: list[Iterable[Said | Told]] = [reversed(others), reversed(direct)]
    posts = merge(*both, key=lambda post: post.number)
    return _lines(posts, number, session.owner)


def missed_in_room(past: Past, session: Session, room: str, after: str, *, last: int) -> bytes | None:
    """Return what others said in a room behind this id, with stamps; None as above."""
    number = parsed(after)
    line = past.rooms.get(room)
    floor = past.floor if line is None else line.floor
    if number is None or not floor <= number <= last:
        return None
    others = [] if line is None else _of_others(line, session, number)
    return None if others is None else _lines(reversed(others), number, session.owner)


def waiting(past: Past, account: int, since: int, stored: Iterable[Message]) -> list[tuple[int, float, bytes]]:
    """Return the newest of what was said to an account alone behind this number: number, time and line of each.

    `stored`: what was read from the store lately, as memory does not have all of it.
    """
    found = [
        (number, post.time, line)
        for post in past.direct.behind(since)
        if post.receiver == account
        for number, line in post.lines()
    ]
    for one in stored:
        number = int(one.id, 16)
        if since < number <= past.direct.floor:
            beginning = opening(one.from_, is_direct=True)
            found.append((number, one.time, complete(beginning, one.content)))
    found.sort(reverse=True)
    size, newest = 0, []
    for one_waiting in found[:MOST_WAITING]:
        size += len(one_waiting[2])
        if size > BYTES:
            break
        newest.append(one_waiting)
    return newest[::-1]


def parsed(ident: str) -> int | None:
    """Return the number of a message with this id; None if we gave none such."""
    if len(ident) != 16 or not ident.isascii() or not ident.isalnum() or ident != ident.lower():
        return None
    try:
        number = int(ident, 16)
    except ValueError:
        return None
    return number if number < 2**63 else None  # SQLite has no larger integers


def _of_others(line: Line[Said], session: Session, number: int) -> list[Said] | None:
    """Return what others said behind this number, newest first; None if it is too much."""
    found: list[Said] = []
    owner, count, size = session.owner, 0, 0
    for post in line.behind(number):
        if post.session != owner or post.device not in {0, session.number}:
            found.append(post)
            count += post.count
            size += len(post.frames)
            if count > MOST or size > BYTES:
                return None
    return found


def _hears(session: Session, post: Told) -> bool:
    """Whether it was said to the session; or by another one of its account, which has it shown."""
    if session.account is not None and post.session == session.owner:
        return post.device not in {0, session.number}
    return post.receiver == session.owner


def _lines(posts: Iterable[Said | Told], number: int, owner: int) -> bytes | None:
    """Return all of these that is behind the number; None if it is too much."""
    lines: list[bytes] = []
    size = 0
    for post in posts:
        to = post.to if isinstance(post, Told) and post.session == owner and post.device else None
        for one, line in post.lines():
            if one > number:
                shown = line if to is None else with_to(line, to)
                lines.append(stamped(shown, one, post.time))
                size += len(lines[-1])
        if size > BYTES or len(lines) > MOST:
            return None
    return b"".join(lines)
