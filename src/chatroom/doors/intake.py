"""What one peer asks for, from its bytes to the hub: as fast as it may be done, and no faster.

Nothing waits for long in memory. Where something cannot be done now, no more is read from that peer: its own
TCP window fills, and nobody else notices.
"""

from collections import deque
from typing import Protocol

from chatroom.doors.outbox import Outbox
from chatroom.doors.throttle import Pace, Throttle
from chatroom.hub.client import Client
from chatroom.hub.delivery import ANSWERS
from chatroom.hub.effort import Effort
from chatroom.hub.hub import Hub
from chatroom.hub.ports import Timer, Timing
from chatroom.hub.refusal import Refusal
from chatroom.protocol.burst import Burst
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import ErrorCode, Fault, Forget, Join, Leave, Outgoing, OutgoingBroadcast, Quit
from chatroom.protocol.stream import REQUESTS, Asked, StreamDecoder

INPUT = 64 * 1024
"""Bytes that are read from one connection in a turn of the event loop."""
A_TURN = 512
"""Requests of one connection that are done in a turn."""
CLOSELY = 20
"""Objects that are decoded one by one in a turn."""
STEPS_A_REQUEST = 250
"""Steps of decoding that cost as much of the rate limit as a request."""
BYTES_A_REQUEST = 16 * 1024
READS_A_REQUEST = 8
"""Bytes, and reads, without a request in them that cost as much as one."""
_HEARD = (Outgoing, OutgoingBroadcast, Burst, Join, Leave, Forget, Quit)
"""Requests that others hear of, or that change what they hear."""


class Owner(Protocol):
    """The connection whose input this is."""

    def hold(self) -> None:
        """Read nothing more for now."""

    def decoded(self) -> None:
        """More has been decoded, of what was read before."""

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
        "_client",
        "_effort",
        "_holds",
        "_hub",
        "_is_free",
        "_outbox",
        "_owner",
        "_skips_answers",
        "_throttle",
        "_timer",
        "_timing",
        "_waiting",
        "decoder",
    )

    def __init__(
        self,
        hub: Hub,
        client: Client,
        outbox: Outbox,
        owner: Owner,
        *,
        limits: Limits,
        timing: Timing,
        throttle: Throttle | None,
        effort: Effort,
    ) -> None:
        """`throttle`: None for a peer that is exempt. `effort`: of all connections together."""
        self.decoder = StreamDecoder(REQUESTS, limits.max_object, min(CLOSELY, limits.max_faults))
        """Where the bytes go first."""
        self.decoder.finds_bursts = throttle is None
        self._effort = effort
        self._holds = False  # nothing is read
        self._hub = hub
        self._client = client
        self._outbox = outbox
        self._owner = owner
        self._throttle = throttle
        self._timing = timing
        self._is_free = throttle is None  # and nothing waits
        self._skips_answers = False  # nobody is left to read them
        self._waiting: deque[Asked | Fault] | tuple[()] = ()  # an empty deque has 600 bytes
        self._timer: Timer | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something was read that is not done yet, or no more may be read for now."""
        return self._holds or self.has_more

    @property
    def has_more(self) -> bool:
        """Whether something was read that is not even begun."""
        return bool(self._waiting or self.decoder.rest)

    def take(self, data: bytes) -> None:
        """Do what these bytes ask for, now or later."""
        decoder = self.decoder
        if self._is_free:
            messages = decoder.feed(data)
            if len(messages) <= A_TURN and not decoder.effort:
                rest = self._hub.handle(self._client, messages)
                if rest:
                    self._is_free = False
                    self._waiting = deque(rest)
                    self._wait()
                return
            self._is_free = False
            self._waiting = deque(messages)
            self._account()
            if not messages and decoder.rest:
                self._wait()
                return
        elif self._client.is_leaving:
            return
        else:
            decoder.rest += data
            if self._throttle is not None:
                self._throttle.read()
        if self._client.is_held:
            self._hold()
        else:
            self._go_on()

    def go_on(self) -> None:
        """Do what waits, if it may be done now. May be called at any time."""
        if self.is_waiting and not self._client.is_held:
            try:
                self._go_on()
            except Exception as bug:  # noqa: BLE001 - it is logged there
                self._owner.fail(bug)

    def hold(self) -> None:
        """Do nothing behind the request that is being done, until told to go on."""
        self._is_free = False
        self._hold()

    def skip_answers(self) -> None:
        """The peer is gone: of what waits, now and later, only what others hear of is done."""
        self._skips_answers = True
        self._waiting = deque(request for request in self._waiting if isinstance(request, _HEARD))

    def drop(self) -> None:
        """Forget what waits."""
        self._holds = False
        self._is_free = self._throttle is None and not self._client.is_leaving
        self._waiting = ()
        self.decoder.rest = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        """Do what may be done in this turn; see to it that the rest will be."""
        client = self._client
        owes = self._outbox.owes_answers()
        if owes and client.answered >= ANSWERS:
            self._hold()
            return  # the outbox will say when
        self._hub.go_on(client, answers_have_left=not owes)
        if not self._waiting and self.decoder.rest and not (self._may_read() and self._decode()):
            return
        left = A_TURN
        while left > 0 and self._waiting and not client.is_leaving:
            waiting = self._waiting
            if self._throttle is None:
                done = self._do_some(waiting, left)
            else:
                done = self._do_one(waiting, self._throttle)
            if not done:
                return
            left -= done
        if not client.is_leaving and (self.has_more or client.is_held):
            self._wait()
        elif client.is_leaving or self._may_read():
            self.drop()
            self._owner.read_on()

    def _decode(self) -> bool:
        """Decode a batch of what was read; bytes that bring nothing have their price, too.

        What is hard to decode waits if all have had enough of that in this turn; then return False.
        """
        closely = self._effort.left > 0
        size = len(self.decoder.rest)
        self._waiting = deque(self.decoder.feed(b"", closely=closely))
        if self.decoder.rest and not (closely or self._waiting):
            self._hold()
            self._effort.wait(self.go_on)
            return False
        self._account()
        if not self._waiting and self._throttle is not None:
            size -= len(self.decoder.rest)
            self._throttle.take(size / BYTES_A_REQUEST + 1 / READS_A_REQUEST)
        self._owner.decoded()
        if self._skips_answers:
            self.skip_answers()
        return True

    def _may_read(self) -> bool:
        """Whether the allowance has not been overdrawn by what was hard to decode; if it has, wait."""
        if self._throttle is None:
            return True
        self._throttle.look()
        debt = self._throttle.debt()
        if debt > 0:
            self._wait(max(debt, 0.01))
        return debt <= 0

    def _account(self) -> None:
        """Count what was hard to decode, against this peer and for all."""
        steps = self.decoder.effort
        if steps:
            self.decoder.effort = 0
            self._effort.spend(steps)
            if self._throttle is not None:
                self._throttle.take(steps / STEPS_A_REQUEST)

    def _do_some(self, waiting: deque[Asked | Fault], most: int) -> int:
        """Do so many; return how many that was, 0 if the rest is waited for."""
        requests = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        return len(requests) if self._is_done(waiting, requests) else 0

    def _do_one(self, waiting: deque[Asked | Fault], throttle: Throttle) -> int:
        """Do the next, if it may be done now; the same."""
        message = waiting[0]
        cost = self._hub.cost(self._client, message)
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
            self._hub.refuse(self._client, Refusal(ErrorCode.SLOW_DOWN, text, retry_after=1.0), message)
        elif not self._is_done(waiting, [message]):
            return 0
        throttle.take(cost)
        return 1

    def _is_done(self, waiting: deque[Asked | Fault], requests: list[Asked | Fault]) -> bool:
        """Hand requests to the hub; return whether it did all of them, and the next may follow."""
        rest = self._hub.handle(self._client, requests)
        if rest:
            waiting.extendleft(reversed(rest))
            self._wait()
        return not rest

    def _hold(self) -> None:
        """Read nothing more for now."""
        self._holds = True
        self._owner.hold()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float | None = None) -> None:
        """Read nothing more, and go on after these seconds, or in the next turn, or when told to."""
        self._hold()
        if self._client.is_held:
            return  # the hub will say when
        if seconds is not None:
            self._timer = self._timing.call_later(seconds, self.go_on)
        else:
            self._timing.call_soon(self.go_on)
