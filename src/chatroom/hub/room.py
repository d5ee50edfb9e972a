"""Fan-out: a broadcast costs one entry in a list; a turn costs one write per reader.

All that is posted within one turn of the event loop stands in the room's log, once. At the flush its
bytes are joined once, and every member's connection is handed the same object. Only those who must not
have the same as all others have a cursor: how much of the log they have had, or must not get.
"""

from collections.abc import Iterable

from chatroom.hub.ports import Sink
from chatroom.hub.session import Session


class Room:
    """The members of a room, and what was posted in this turn.

    It keeps three promises:
    1. each member gets every frame posted while it was a member, in order, but not its own;
    2. a frame pushed to a member after `settle()` reaches it behind all that was posted before;
    3. posting costs nothing per member, and a flush one write per member.
    """

    __slots__ = ("ahead", "log", "members")

    def __init__(self) -> None:
        self.members: dict[Session, Sink] = {}
        self.log: list[bytes] = []
        self.ahead: dict[Session, int] = {}  # the log's entries that a member has had, if not none

    def join(self, member: Session) -> None:
        """Let it hear what is posted from now on."""
        self.members[member] = member.sink
        if self.log:
            self.ahead[member] = len(self.log)

    def leave(self, member: Session) -> None:
        """Let it hear what was posted up to now, and no more."""
        self.settle(member)
        self.members.pop(member, None)
        self.ahead.pop(member, None)

    def post(self, frames: bytes, sender: Session) -> None:
        """Say something, one or more whole frames, to all members but the sender."""
        log, ahead = self.log, self.ahead
        if log and ahead.get(sender) != len(log):
            self.settle(sender)
        log.append(frames)
        ahead[sender] = len(log)

    def settle(self, member: Session) -> None:
        """Make what was posted up to now the member's own, so that something else can come behind it.

        What is posted later in this turn comes behind that, in turn: the member has a cursor from now on.
        """
        end = len(self.log)
        cursor = self.ahead.get(member)
        if cursor != end and member in self.members:
            if end:
                member.take(self.log[cursor:])
            self.ahead[member] = end

    def flush(self, owners: Iterable[Session]) -> None:
        """Hand this turn's log to every member: to `owners`, who have frames of their own, behind those."""
        log, ahead = self.log, self.ahead
        for member in [*ahead, *owners]:
            self.settle(member)
        everything = b"".join(log)
        others = self.members.copy()
        for member in ahead:
            others.pop(member, None)
        for sink in others.values():
            push = sink.push  # called as `sink.push()` it would be looked for in the class each time
            try:
                push(everything)
            except Exception as exception:  # noqa: BLE001 - it is logged there
                sink.fail(exception)
        log.clear()
        ahead.clear()
