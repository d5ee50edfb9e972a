"""Fan-out: a broadcast costs one entry in a list; a turn costs one write per reader.

All that is posted within one turn of the event loop stands in the room's log, once. At the flush its
bytes are joined once for each dialect, and every member's connection is handed the same object. Only those who
must not have the same as all others have a cursor: how much of the log they have had, or must not get.
"""

from collections.abc import Sequence

from chatroom.hub.client import Client
from chatroom.hub.entries import Said
from chatroom.hub.past import POST, Past
from chatroom.hub.ports import Sink
from chatroom.hub.session import Session
from chatroom.protocol.messages import stamped


class Room:
    """The lobby or a room: who is in it, and what was posted in this turn.

    It keeps three promises:
    1. each member gets every frame posted while it was a member, in order, but not its own;
    2. a frame pushed to a member after `settle()` reaches it behind all that was posted before;
    3. posting costs nothing per member, and a flush one write per member.
    """

    __slots__ = (
        "_stamped",
        "ahead",
        "count",
        "frames",
        "key",
        "log",
        "members",
        "name",
        "plain",
        "stamped",
        "watchers",
    )

    def __init__(self, key: str, name: str) -> None:
        """`key`: the folded name; the lobby has neither."""
        self.key = key
        self.name = name
        self.members: dict[int, Session] = {}
        """All who are in it, by `Session.owner`, in the order in which they came; of the lobby, nobody.

        An account is in it by one of its devices. Who is in the lobby, `House.spelled` has.
        """
        self.plain: dict[Client, Sink] = {}
        """Those who are connected here."""
        self.stamped: dict[Client, Sink] = {}
        """Those of them who want `id` and `time`, instead."""
        self.watchers: dict[Client, bool] = {}
        """Those of them who want to know who comes and goes; whether they came before what is not told yet."""
        self.log: list[Said] = []
        self.frames: list[bytes] = []
        """The frames of each."""
        self.count = 0
        """Messages in the log."""
        self._stamped: list[bytes] = []  # the log with stamps, as far as anybody needed it
        self.ahead: dict[Client, int] = {}  # the log's entries that a member has had, if not none

    def __len__(self) -> int:
        """Return how many hear it here."""
        return len(self.plain) + len(self.stamped)

    def hears(self, client: Client) -> bool:
        """Whether it is somebody who hears this room here."""
        return client in self.plain or client in self.stamped

    def join(self, client: Client) -> None:
        """Let it hear what is posted from now on."""
        (self.stamped if client.has_stamps else self.plain)[client] = client.sink
        if "presence" in client.features:
            self.watchers[client] = False
        if self.log:
            self.ahead[client] = len(self.log)

    def leave(self, client: Client) -> None:
        """Let it hear what was posted up to now, and no more."""
        self.settle(client)
        self.plain.pop(client, None)
        self.stamped.pop(client, None)
        self.ahead.pop(client, None)
        self.watchers.pop(client, None)

    def post(self, post: Said, sender: Client | None) -> None:
        """Say something to all members but the sender."""
        log = self.log
        if sender is not None:
            ahead, end = self.ahead, len(log)
            if end and ahead.get(sender) != end:
                self.settle(sender)
            ahead[sender] = end + 1
        log.append(post)
        self.frames.append(post.frames)
        self.count += post.count

    def pass_over(self, client: Client) -> None:
        """Have it not get what is posted next, either; its sender must be another."""
        self.settle(client)
        self.ahead[client] = len(self.log) + 1

    def settle(self, client: Client) -> None:
        """Make what was posted up to now the member's own, so that something else can come behind it.

        What is posted later in this turn comes behind that, in turn: the member has a cursor from now on.
        """
        end = len(self.log)
        cursor = self.ahead.get(client)
        if cursor != end and end:
            if client in self.plain:
                client.take(self.frames[cursor:])
            elif client in self.stamped:
                client.take(self._with_stamps()[cursor:])
            else:
                return
            self.ahead[client] = end

    def settle_all(self, owners: Sequence[Client]) -> None:
        """Settle all who do not get the same as others: with a cursor, or (`owners`) frames of their own."""
        end = len(self.log)
        for client, cursor in self.ahead.items():
            if cursor != end:
                self.settle(client)
        if owners:
            if len(owners) > len(self):
                owners = [client for client in (*self.plain, *self.stamped) if client.own]
            for client in list(owners):
                self.settle(client)

    def flush(self, past: Past) -> None:
        """Hand this turn's log to every member that was not settled, and to the past.

        To be called behind `settle_all`.
        """
        log = self.log
        everything = b"".join(self.frames)
        past.keep(self.key, log, self.count, POST * len(log) + len(everything))
        if self.plain:
            self._hand(everything, self.plain)
        if self.stamped:
            self._hand(b"".join(self._with_stamps()), self.stamped)
        log.clear()
        self.frames.clear()
        self._stamped.clear()
        self.count = 0
        self.ahead.clear()

    def _hand(self, everything: bytes, members: dict[Client, Sink]) -> None:
        """Hand the same bytes to all of these who have no cursor."""
        others = members.copy()
        for client in self.ahead:
            others.pop(client, None)
        for sink in others.values():
            push = sink.push  # called as `sink.push()` it would be looked for in the class each time
            try:
                push(everything)
            except Exception as exception:  # noqa: BLE001 - it is logged there
                sink.fail(exception)

    def _with_stamps(self) -> list[bytes]:
        """Return the log with `id` and `time` in each message."""
        made = self._stamped
        made += [stamped(post.frames, post.number, post.time) for post in self.log[len(made) :]]
        return made
