"""The hub: sessions, their names, and the lobby they are all in.

One thread, no await. Doors tell it who came, what was said and who has gone; it answers through each
session's sink. What a turn of the event loop produced goes out at its end, in one flush.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from msgspec import UNSET, UnsetType

from chatroom.hub.commands import ANYTHING, FIRST, LATER, NOTHING, TURNED_AWAY, Refusal
from chatroom.hub.effort import Effort
from chatroom.hub.flow import TURN, Flow, Later
from chatroom.hub.ports import Clock, Observer, Sink, Timing
from chatroom.hub.room import Room
from chatroom.hub.session import Session
from chatroom.protocol import names
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import (
    Closing,
    ErrorCode,
    ErrorReply,
    Fault,
    Hello,
    OutgoingBroadcast,
    PingEvent,
    Pong,
    Quit,
    Reply,
    Request,
    Sent,
    Who,
    encode,
)
from chatroom.protocol.stream import Asked

_COME_BACK = frozenset({"draining", "idle"})
"""Reasons to end a session for which its client may reconnect at once."""

ANSWERS = 64 * 1024
"""Bytes of answers that a session is given before it waits for them to leave."""
FOLDING = 2048
REFUSING = 256
EFFORT: dict[str, int] = {
    ErrorCode.UNKNOWN_USER: 8192,
    ErrorCode.BAD_NAME: 8192,
    ErrorCode.NAME_TAKEN: 32 * 1024,
}
"""What counts as so many bytes: to fold a name takes up to 0.1 ms, to refuse one and suggest another 0.5, to
refuse anything else some 5 µs."""
FIND, CLAIM = 100, 400
"""Steps (see `Effort`) that a name which is not ASCII counts: to look for it, to claim it."""


class Hub:
    """All who are connected, and what they say to one another.

    It keeps these promises:
    1. a name, and what looks like it, belongs to one session at a time (compared by `names.keys`);
    2. what one session sends, another gets in that order, direct and broadcast alike;
    3. nobody is sent anything but answers, and the base protocol's messages of others.
    """

    def __init__(self, *, limits: Limits, clock: Clock, timing: Timing, observer: Observer) -> None:
        self.lobby = Room()
        self.limits = limits
        self.surely_fits = limits.max_content // 4
        """Characters of a content that need not be looked at: none has more than four bytes."""
        self._clock = clock
        self._call_soon = timing.call_soon
        self._observer = observer
        self.flow = Flow(timing)
        self.folding = Effort(timing)
        """Names that are not ASCII, in this turn."""
        self.spelled: dict[str, Session] = {}
        """Who is welcome, by name as given, in the order in which they came."""
        self._claimed: tuple[dict[str, Session], ...] = ({}, {}, {}, {})  # the same by each of `names.keys`
        self._turn: list[Session] = []  # those with frames of their own
        self._leaving: list[Session] = []
        self._flush_is_due = False
        self._last_id = 0

    # What doors call

    def connect(self, sink: Sink, *, turned_away: Refusal | None = None) -> Session:
        """Begin a session for a new connection; one that is turned away will be told why, and no more."""
        session = Session(sink, self._turn, TURNED_AWAY if turned_away else FIRST)
        session.turned_away = turned_away
        return session

    def cost(self, session: Session, message: Asked | Fault) -> float:
        """Return what a request costs, as a flood pays for it: 1, and more if many hear of it.

        To leave, or to answer a `ping` of ours, costs nothing.
        """
        match message:
            case Quit():
                return 0
            case Pong() if session.pings:
                return 0
            case OutgoingBroadcast() | Who():
                return 1 + len(self.spelled) / 1000
            case _:
                return 1

    def handle(self, session: Session, messages: Sequence[Asked | Fault]) -> Sequence[Asked | Fault]:
        """Do what is asked, one after the other, or say why not.

        Return what cannot be done in this turn: the first such request, and all behind it.
        """
        requests = iter(messages)
        for message in requests:
            if session.faults and not isinstance(message, Fault):
                session.faults = 0
            try:
                session.handlers[type(message)](self, session, message)
            except Refusal as refusal:
                self.refuse(session, refusal, message)
            except Later as later:
                session.handlers = LATER
                return [*(later.rest or [message]), *requests]
        return ()

    def go_on(self, session: Session, *, answers_have_left: bool) -> None:
        """Let a session ask again: its answers have left, or another turn has come."""
        session.handlers = session.standing
        if answers_have_left:
            session.answered = 0

    def fault(self, session: Session, fault: Fault) -> None:
        """Answer bytes that were no request; too many in a row are the end."""
        self.answer(session, fault, fault.ref)
        session.faults += 1
        if session.faults >= self.limits.max_faults:
            self.leave(session, "too_many_errors")

    def leave(self, session: Session, reason: str) -> None:
        """End a session in good order: it still gets what was said up to now."""
        if not session.is_leaving:
            if "notices" in session.features:
                self.push(session, encode(Closing(reason=reason, reconnect=reason in _COME_BACK)))
            self.disconnect(session, reason)
            self._leaving.append(session)
            if not self._flush_is_due:
                self._expect_flush()

    def disconnect(self, session: Session, reason: str) -> None:
        """Forget a session; its name is free. May be called again."""
        session.is_leaving = True
        session.stand(NOTHING)
        self.flow.caught_up(session)
        if session.name is not None:
            self.lobby.leave(session)
            del self.spelled[session.name]
            for claimed, key in zip(self._claimed, session.keys, strict=True):
                del claimed[key]
            self._observer.left(session.name, session.sink.peer, reason)
            session.name = None

    def flush(self) -> None:
        """Hand out what this turn has produced: one write per connection."""
        self._flush_is_due = False
        turn = self._turn
        if self.lobby.log:
            self.lobby.flush(turn)
        for session in turn:
            session.flush()
        turn.clear()
        if self._leaving:
            for session in self._leaving:
                try:
                    session.sink.close()
                except Exception as exception:  # noqa: BLE001 - it is logged there
                    session.sink.fail(exception)
            self._leaving.clear()
        flow = self.flow
        if flow.is_calm:
            flow.left = TURN
        else:
            flow.next_turn()

    # What commands call

    def name(self, session: Session, name: str) -> None:
        """Give the session its name, and let it into the lobby.

        Raises `names.BadName`, or a `Refusal` if the name is taken; may raise `Later`.
        """
        self._may_fold(session, name, CLAIM)
        name = names.checked(name)
        keys = names.keys(name)
        for claimed, key in zip(self._claimed, keys, strict=True):
            holder = claimed.get(key)
            if holder is not None and holder.sink.is_dead():
                self.disconnect(holder, "dead")
                holder.sink.give_up("dead")
        if why := self._likeness(name, keys):
            raise Refusal(ErrorCode.NAME_TAKEN, why, suggestion=self._free_name(name))
        session.name, session.keys = name, keys
        session.stand(ANYTHING)
        self.spelled[name] = session
        for claimed, key in zip(self._claimed, keys, strict=True):
            claimed[key] = session
        self.lobby.join(session)
        self._observer.joined(name, session.sink.peer)

    def find(self, session: Session, name: str) -> Session | None:
        """Return whom this session means: the name as spelled, or else as folded; but looks do not count.

        May raise `Later`.
        """
        self._may_fold(session, name, FIND)
        self._charge(session, FOLDING)
        try:
            return self.spelled.get(name) or self._claimed[names.ADDRESS].get(names.address(name))
        except names.BadName:
            return None

    def why_unknown(self, name: str) -> str:
        """Return why nobody is found by this name."""
        nobody = f"nobody is called {names.quoted(name)}"
        if len(name) > names.MAX_NAME:
            return f"{nobody}; a name has at most {names.MAX_NAME} characters"
        why = ""
        with suppress(names.BadName):
            why = self._likeness(name, names.keys(name))
        return why or nobody

    def users(self) -> list[str]:
        """Return everybody's name, in the order in which they came."""
        return list(self.spelled)

    def ping(self, session: Session) -> None:
        """Ask a session for a sign of life."""
        session.pings += 1
        self.push(session, encode(PingEvent()))

    def push(self, session: Session, frames: bytes) -> None:
        """Send one or more whole frames to a session, behind all that was said before."""
        log = self.lobby.log
        if log and self.lobby.ahead.get(session) != len(log):
            self.lobby.settle(session)
        own = session.own
        if own:
            own.append(frames)
        else:
            session.own = [frames]
            self._turn.append(session)
        if not self._flush_is_due:
            self._expect_flush()

    def reply(self, session: Session, reply: Reply, request: Request) -> None:
        """Answer a request; its `ref` goes back."""
        reply.ref = request.ref
        self._give(session, encode(reply))

    def broadcast(self, session: Session, frames: bytes) -> None:
        """Send one or more whole frames to everybody in the lobby but this session; may raise `Later`."""
        flow = self.flow
        flow.left -= len(frames)
        if flow.left < 0:
            flow.ask(session, None, len(frames))
        self.lobby.post(frames, session)
        if not self._flush_is_due:
            self._expect_flush()

    def next_sent(self) -> Sent:
        """Return the `id` and `time` of a new message.

        The id is the time in microseconds, or one more than the last: it grows across restarts too.
        """
        now = self._clock()
        self._last_id = max(self._last_id + 1, int(now * 1_000_000))
        return Sent(id=self._last_id, time=round(now, 3))

    def refuse(self, session: Session, refusal: Refusal, message: Asked | Fault) -> None:
        """Say why a request is not done."""
        self.answer(session, refusal.error, message.ref, is_hello=isinstance(message, Hello))
        if refusal.is_final:
            self.leave(session, str(refusal.error.error))

    def _give(self, session: Session, answer: bytes, effort: int = 0) -> None:
        """Send an answer; what others say to the session does not count."""
        self.push(session, answer)
        self._charge(session, len(answer) + effort)

    def _charge(self, session: Session, size: int) -> None:
        """Count bytes of answers, or as much other work: beyond `ANSWERS`, what is asked for waits."""
        session.answered += size
        if session.answered >= ANSWERS and not session.is_leaving:
            session.handlers = LATER

    def answer(
        self, session: Session, error: ErrorReply, ref: str | UnsetType = UNSET, *, is_hello: bool = False
    ) -> None:
        """Answer with an error; strangers are told so much and no more."""
        self._observer.refused(session.name, session.sink.peer, error)
        error.ref = ref
        frame = encode(error)
        self._give(session, frame, EFFORT.get(error.error, REFUSING))
        if session.name is not None:
            return
        if is_hello:
            session.hellos += 1
        else:
            session.error_bytes += len(frame)
        if session.hellos >= self.limits.max_hellos or session.error_bytes > self.limits.stranger_out:
            self.leave(session, "too_many_errors")

    def _may_fold(self, session: Session, name: str, steps: int) -> None:
        """Count the work on a name that is not ASCII; raise `Later` if all had enough of it in this turn."""
        if name.isascii():
            return
        if self.folding.left <= 0:
            session.is_held = True
            self.folding.wait(partial(self._release, session))
            raise Later
        self.folding.spend(steps)

    def _release(self, session: Session) -> None:
        session.is_held = False
        session.sink.go_on()

    def _likeness(self, name: str, keys: tuple[str, ...]) -> str:
        """Return whom this name would be taken for, in a sentence; nothing if for nobody."""
        for kind, key in enumerate(keys):
            if (holder := self._claimed[kind].get(key)) is not None:
                other = names.quoted(holder.name or "")
                if kind == names.ADDRESS:
                    return f"{other} is here already"
                return f"{names.quoted(name)} looks like {other}, who is here"
        return ""

    def _free_name(self, name: str) -> str | UnsetType:
        """Return a name like this one that nobody has, with a number behind it, if one is soon found.

        To find that somebody has a name exactly so costs nothing; of the others three are tried.
        """
        here = len(self.spelled)  # among a crowd of the same name, small numbers are gone
        numbers = (str(number) for number in (*range(2, 10), *range(here + 1, here + 9)))
        candidates = (names.numbered(name, number) for number in numbers)
        with suppress(names.BadName):  # cut in a place that makes it none
            for free in islice((one for one in candidates if one not in self.spelled), 3):
                if not self._likeness(free, names.keys(free)):
                    return names.checked(free)
        return UNSET

    def _expect_flush(self) -> None:
        self._flush_is_due = True
        self._call_soon(self.flush)
