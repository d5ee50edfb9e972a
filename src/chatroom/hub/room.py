"""Fan-out: a broadcast costs one entry in a list; a turn costs one write per reader.

All that is posted within one turn of the event loop stands in the room's log, once. At the flush its
bytes are joined once, and every member's connection is handed the same object. Only those who must not
have the same as all others have a cursor: how much of the log they have had, or must not get.
"""

from chatroom.hub.session import Session


class Room:
    """The members of a room, and what was posted in this turn.

    It keeps three promises:
    1. each member gets every frame posted while it was a member, in order, but not its own;
    2. a frame pushed to a member after `settle()` reaches it behind all that was posted before;
    3. posting costs nothing per member, and a flush one write per member.
    """

    __slots__ = ("_ahead", "_log", "members")

    def __init__(self) -> None:
        self.members: dict[Session, None] = {}
        self._log: list[bytes] = []
        self._ahead: dict[Session, int] = {}  # the log's frames that a member has had, if not none

    def join(self, member: Session) -> None:
        """Let it hear what is posted from now on."""
        self.members[member] = None
        self._ahead[member] = len(self._log)

    def leave(self, member: Session) -> None:
        """Let it hear what was posted up to now, and no more."""
        self.settle(member)
        self.members.pop(member, None)
        self._ahead.pop(member, None)

    def post(self, frame: bytes, sender: Session) -> None:
        """Say something to all members but the sender."""
        self.settle(sender)
        self._log.append(frame)
        self._ahead[sender] = len(self._log)

    def settle(self, member: Session) -> None:
        """Make what was posted up to now the member's own, so that something else can come behind it.

        What is posted later in this turn comes behind that, in turn: the member has a cursor from now on.
        """
        if member in self.members:
            cursor = self._ahead.get(member, 0)
            if cursor < len(self._log):
                member.take(self._log[cursor:])
            self._ahead[member] = len(self._log)

    def flush(self) -> None:
        """Hand this turn's log to every member."""
        log, ahead = self._log, self._ahead
        if log:
            for member in ahead:
                self.settle(member)
            everything = b"".join(log)
            for member in self.members:
                if member not in ahead:
                    member.sink.push(everything)
            log.clear()
        ahead.clear()
