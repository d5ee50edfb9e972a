"""What one peer asks for, from its bytes to the hub: as fast as it may be done, and no faster.

Nothing waits for long in memory. Where something cannot be done now, no more is read from that peer: its own
TCP window fills, and nobody else notices.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from chatroom.doors.outbox import Outbox
from chatroom.doors.throttle import Pace, Throttle
from chatroom.hub.commands import Refusal
from chatroom.hub.hub import ANSWERS, Hub
from chatroom.hub.ports import Timer, Timing
from chatroom.hub.session import Session
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import ErrorCode, Fault
from chatroom.protocol.stream import REQUESTS, Asked, StreamDecoder

INPUT = 64 * 1024
"""Bytes that are read from one connection in a turn of the event loop."""
A_TURN = 512
"""Requests of one connection that are done in a turn."""
CLOSELY = 20
"""Objects that are decoded one by one in a turn."""


class Owner(Protocol):
    """The connection whose input this is."""

    def hold(self) -> None:
        """Read nothing more for now."""

    def read_on(self) -> None:
        """All that was read has been done."""

    def leave(self, reason: str) -> None:
        """End the session in good order."""

    def fail(self, bug: Exception) -> None:
        """End the connection for a bug of ours."""


class Intake:
    """The requests of one connection.

    It keeps these promises:
    1. requests are done in the order of their bytes, and none is left out while the session lasts;
    2. a turn does at most `A_TURN` of them, decodes at most `CLOSELY` one by one, and stops when the answers to
       this peer have 64 KiB; the rest is done in later turns;
    3. while anything waits, the owner is asked not to read.
    """

    __slots__ = (
        "_hub",
        "_is_free",
        "_outbox",
        "_owner",
        "_session",
        "_throttle",
        "_timer",
        "_timing",
        "_waiting",
        "decoder",
    )

    def __init__(
        self,
        hub: Hub,
        session: Session,
        outbox: Outbox,
        owner: Owner,
        *,
        limits: Limits,
        timing: Timing,
        throttle: Throttle | None,
    ) -> None:
        """`throttle`: None for a peer that is exempt."""
        self.decoder = StreamDecoder(REQUESTS, limits.max_object, min(CLOSELY, limits.max_faults))
        """Where the bytes go first."""
        self.decoder.finds_bursts = throttle is None
        self._hub = hub
        self._session = session
        self._outbox = outbox
        self._owner = owner
        self._throttle = throttle
        self._timing = timing
        self._is_free = throttle is None  # and nothing waits
        self._waiting: deque[Asked | Fault] | tuple[()] = ()  # an empty deque has 600 bytes
        self._timer: Timer | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something was read that is not done yet."""
        return bool(self._waiting or self.decoder.rest)

    def take(self, data: bytes) -> Sequence[Asked | Fault]:
        """Do what these bytes ask for, now or later; return the requests that they completed at once."""
        messages = self.decoder.feed(data)
        if self._is_free and len(messages) <= A_TURN:
            rest = self._hub.handle(self._session, messages)
            if rest or self.decoder.rest:
                self._is_free = False
                self._waiting = deque(rest)
                self._wait()
        else:
            if self._throttle is not None:
                self._throttle.read()
            self._is_free = False
            self._waiting = deque([*self._waiting, *messages])
            if not self._session.is_held:
                self._go_on()
        return messages

    def go_on(self) -> None:
        """Do what waits, if it may be done now. May be called at any time."""
        if self.is_waiting and not self._session.is_held:
            try:
                self._go_on()
            except Exception as bug:  # noqa: BLE001 - it is logged there
                self._owner.fail(bug)

    def drop(self) -> None:
        """Forget what waits."""
        self._is_free = self._throttle is None
        self._waiting = ()
        self.decoder.rest = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        """Do what may be done in this turn; see to it that the rest will be."""
        session = self._session
        owes = self._outbox.owes_answers()
        if owes and session.answered >= ANSWERS:
            self._owner.hold()
            return  # the outbox will say when
        self._hub.go_on(session, answers_have_left=not owes)
        left, has_decoded = A_TURN, False
        while left > 0 and not session.is_leaving:
            if not self._waiting:
                if not self.decoder.rest:
                    self.drop()
                    if self._throttle is not None:
                        self._throttle.look()
                    self._owner.read_on()
                    return
                if has_decoded:
                    break
                has_decoded = True
                self._waiting = deque(self.decoder.feed(b""))
                continue
            waiting = self._waiting
            if self._throttle is None:
                done = self._do_some(waiting, left)
            else:
                done = self._do_one(waiting, self._throttle)
            if not done:
                return
            left -= done
        if session.is_leaving:
            self.drop()
            self._owner.read_on()
        else:
            self._wait()

    def _do_some(self, waiting: deque[Asked | Fault], most: int) -> int:
        """Do so many; return how many that was, 0 if the rest is waited for."""
        requests = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        return len(requests) if self._is_done(waiting, requests) else 0

    def _do_one(self, waiting: deque[Asked | Fault], throttle: Throttle) -> int:
        """Do the next, if it may be done now; the same."""
        message = waiting[0]
        cost = self._hub.cost(message)
        pace, wait = throttle.next(cost)
        if pace is Pace.WAIT:
            self._wait(max(wait, 0.01))
            return 0
        if pace is Pace.END:
            self._owner.leave("flood")
            return 1
        waiting.popleft()
        if pace is Pace.REFUSE:
            text = "too many requests: this one was not done"
            self._hub.refuse(self._session, Refusal(ErrorCode.SLOW_DOWN, text, retry_after=1.0), message)
        elif not self._is_done(waiting, [message]):
            return 0
        throttle.take(cost)
        return 1

    def _is_done(self, waiting: deque[Asked | Fault], requests: list[Asked | Fault]) -> bool:
        """Hand requests to the hub; return whether it did all of them, and the next may follow."""
        rest = self._hub.handle(self._session, requests)
        if rest:
            waiting.extendleft(reversed(rest))
            self._wait()
        return not rest

    def _wait(self, seconds: float | None = None) -> None:
        """Read nothing more, and go on after these seconds, or in the next turn, or when told to."""
        self._owner.hold()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._session.is_held:
            return  # the hub will say when
        if seconds is not None:
            self._timer = self._timing.call_later(seconds, self.go_on)
        else:
            self._timing.call_soon(self.go_on)
