"""What a turn of the event loop has produced, and how it goes out at its end: one write per connection."""

from msgspec import UNSET

from chatroom.hub.client import Client, Handlers
from chatroom.hub.entries import Said
from chatroom.hub.flow import TURN, Flow
from chatroom.hub.past import Past, newest
from chatroom.hub.ports import Timing
from chatroom.hub.room import Room
from chatroom.protocol.messages import Closing, Reply, Request, encode

ANSWERS = 64 * 1024
"""Bytes of answers that a client is given before it waits for them to leave."""
_COME_BACK = frozenset({"draining", "idle"})
"""Reasons to end a client for which it may reconnect at once."""


class Delivery:
    """The frames of this turn, until it ends.

    What a session says is heard by another in that order, whichever rooms it goes through: a client's own
    frames leave first, then those of rooms; a room is flushed before who spoke in it speaks in another.
    """

    def __init__(self, timing: Timing, past: Past, *, later: Handlers, nothing: Handlers) -> None:
        """`later`, `nothing`: what requests do that must wait for another turn, or come behind the end."""
        self.past = past
        self.lobby = Room("", "")
        self.flow = Flow(timing)
        self.turn = 0
        """How many turns have had something to hand out."""
        self.own: list[Client] = []
        """Those with frames of their own."""
        self.is_due = False
        """There will be a flush at the end of this turn."""
        self.is_patient = True
        """Who is leaving waits for what is being stored."""
        self._call_soon = timing.call_soon
        self._later = later
        self._nothing = nothing
        self._posted: list[Room] = []  # those in which something was said in this turn
        self._leaving: list[Client] = []

    def push(self, client: Client, frames: bytes) -> None:
        """Send one or more whole frames to a client, behind all that was said in the lobby before."""
        log = self.lobby.log
        if log and self.lobby.ahead.get(client) != len(log):
            self.lobby.settle(client)
        own = client.own
        if own:
            own.append(frames)
        else:
            client.own = [frames]
            self.own.append(client)
        if not self.is_due:
            self.expect_flush()

    def push_behind(self, client: Client, frames: bytes, room: Room) -> None:
        """The same, behind all that was said in this room."""
        if room.log:
            room.settle(client)
        self.push(client, frames)

    def begin(self, room: Room) -> None:
        """Something is about to be posted in a room, for the first time in this turn."""
        self._posted.append(room)
        if not self.is_due:
            self.expect_flush()

    def reply(self, client: Client, reply: Reply, request: Request) -> None:
        """Answer a request; its `ref` goes back."""
        if request.ref is not UNSET:
            reply.ref = request.ref
        self.give(client, encode(reply))

    def give(self, client: Client, answer: bytes, effort: int = 0) -> None:
        """Send an answer; what others say to the client does not count."""
        self.push(client, answer)
        self.charge(client, len(answer) + effort)

    def charge(self, client: Client, size: int) -> None:
        """Count bytes of answers, or as much other work: beyond `ANSWERS`, what is asked for waits."""
        client.answered += size
        if client.answered >= ANSWERS and not client.is_leaving:
            client.handlers = self._later

    def stop(self, client: Client) -> None:
        """Do nothing more that the client asks for until it goes on."""
        client.handlers = self._later

    def say_why(self, client: Client, reason: str, message: str = "") -> None:
        """Have a client told, behind all else, that its connection ends, if it asked for that."""
        if "notices" in client.features:
            closing = Closing(reason=reason, reconnect=reason in _COME_BACK, message=message or None)
            client.closing = encode(closing)

    def hear_no_more(self, client: Client) -> None:
        """Do nothing more that the client asks for."""
        client.is_leaving = True
        client.stand(self._nothing)
        self.flow.caught_up(client)

    def end(self, client: Client) -> None:
        """Close the client's connection when all that it was sent has gone out."""
        self._leaving.append(client)
        if not self.is_due:
            self.expect_flush()

    def flush_room(self, room: Room) -> None:
        """Hand out what was said in a room before this turn ends: behind what its members have of their own."""
        self._posted.remove(room)
        room.settle_all(self.own)
        room.flush(self.past)

    def flush(self) -> None:
        """Hand out what this turn has produced."""
        self.is_due = False
        self.turn += 1
        own, posted = self.own, self._posted
        for room in posted:
            room.settle_all(own)
        for client in own:
            client.flush()
        own.clear()
        if posted:
            for room in posted:
                room.flush(self.past)
            posted.clear()
        if self._leaving:
            self._close()
        flow = self.flow
        if flow.is_calm:
            flow.left = TURN
        else:
            flow.next_turn()

    def remember(self, room: Room) -> None:
        """See to it that the past has all that was said in a room: what is still to be handed out goes now."""
        if room.log:
            self.flush_room(room)

    def remember_all(self) -> None:
        """The same, of all rooms."""
        posted, self._posted = self._posted, []
        for room in posted:
            room.settle_all(self.own)
            room.flush(self.past)

    def all_said(self) -> dict[str, tuple[int, list[Said]]]:
        """Return each room's past, with what is still to be handed out: posts, and the number before them."""
        lines = {key: (line.floor, line.total, list(line)) for key, line in self.past.rooms.items()}
        for room in self._posted:
            floor, total, posts = lines.get(room.key) or (self.past.floor, 0, [])
            lines[room.key] = floor, total + room.count, posts + room.log
        return {key: newest(*line) for key, line in sorted(lines.items())}

    def expect_flush(self) -> None:
        """See to it that this turn ends with a flush."""
        self.is_due = True
        self._call_soon(self.flush)

    def _close(self) -> None:
        leaving, self._leaving = self._leaving, []
        for client in leaving:
            if client.under_way and self.is_patient:
                continue  # it is closed when its last message is stored
            closing, client.closing = client.closing, b""
            try:
                if closing:
                    client.sink.push(closing)
                client.sink.close()
            except Exception as exception:  # noqa: BLE001 - it is logged there
                client.sink.fail(exception)
