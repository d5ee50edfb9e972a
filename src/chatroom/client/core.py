"""What every client does on one connection, without I/O: requests to bytes, bytes to answers and messages.

A server may be ours, or anybody's who has read the base protocol. `hello` asks for more than the base protocol
has. A server that grants it confirms messages, and is sent a `ref` with every request, by which its answer is
found. Any other is sent exactly the base protocol's requests, and confirms nothing.
"""

import math
from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from msgspec import UNSET

from chatroom.client.calls import Call
from chatroom.client.errors import ConnectionLost, NotAChatroom, refused
from chatroom.client.inbox import Message, Reconnected
from chatroom.client.resume import Resume
from chatroom.client.session import Session, unconfirmed
from chatroom.protocol.foreign import REQUESTS, SHOWN, UnknownReply, is_refusal
from chatroom.protocol.messages import (
    AnyReply,
    Ban,
    Bans,
    BansReply,
    Closing,
    Done,
    ErrorCode,
    ErrorReply,
    Fault,
    Forget,
    Forgotten,
    Hello,
    History,
    HistoryReply,
    Incoming,
    IncomingBroadcast,
    Join,
    Joined,
    Kick,
    Leave,
    Left,
    Mute,
    Outgoing,
    OutgoingBroadcast,
    Ping,
    PingEvent,
    Pong,
    Presence,
    Quit,
    Register,
    Registered,
    Request,
    Rooms,
    RoomSize,
    RoomsReply,
    Sent,
    Unban,
    Unmute,
    Users,
    Welcome,
    Who,
    encode,
)
from chatroom.protocol.stream import REPLIES, StreamDecoder

MAX_REPLY = 16 * 1024 * 1024
"""Bytes of one object from the server: the list of users of a large room is long."""
WINDOW, WINDOW_BYTES = 8, 16 * 1024
"""Messages, and bytes of them as sent, that may be unconfirmed at a time: a server that limits rates reads more
slowly from a client that waits for confirmations, and refuses nothing."""
PACE = 0.02
"""Seconds between two messages to a server that may take what one `recv()` returns for one message. One that
works for 10 ms on each lost half of what came 5 ms apart, and nothing of what came 20 ms apart."""
UNDER_WAY = 1.0
"""Seconds before a loss within which an unconfirmed message to such a server may have got lost too."""
DOUBT = 1.0
"""Seconds after which a reply of an unknown kind, rather than a welcome, is the answer to `hello`. A server may
greet before it answers."""
PATIENCE = 60.0
"""Seconds for which a message that is refused with `slow_down` is sent again."""
REST = 1.0
"""Seconds to wait after a `slow_down` that does not say how many."""
ANSWERED_WITHIN = 30.0
"""Seconds after which an answer that nobody waits for any longer is not expected any more either."""
PING_AFTER, PONG_WITHIN = 15.0, 10.0
"""Seconds of silence until the server is pinged, and then until the connection is given up."""

# Errors that only a message can be answered with: one without a `ref` is no answer to `who`.
_OF_MESSAGES = {ErrorCode.UNKNOWN_USER, ErrorCode.TOO_BIG, ErrorCode.MUTED}
_OURS = frozenset(ErrorCode)
_NOT_REPEATED = Hello | Register  # after a slow_down: other requests need not wait until it may be sent again
_OURS_ALONE = Register | Kick | Mute | Unmute | Ban | Unban | Bans
_PING, _PONG, _QUIT = encode(Ping()), encode(Pong()), encode(Quit())


class Core:
    """One connection's client side.

    Requests wait until `next()` returns them, one at a time, as soon as they may be sent. What `receive()`
    returns came unasked; it never swallows a message that comes between a request and its answer. `tick()` is
    to be called at `wake_at()`.

    A request raises `ConnectionLost` once the connection has been lost, and `UnicodeEncodeError` if its text is
    not Unicode (a lone surrogate); then it is as if it had never been made.
    """

    def __init__(
        self, clock: Callable[[], float], session: Session | None = None, *, wants_features: bool = True
    ) -> None:
        """`clock`: seconds, of any origin, that never go back. `session`: what other connections left behind.

        A server that has not shown that it knows more than the base protocol is sent one message at a time,
        with `PACE` in between.
        """
        self.wants_features = wants_features
        """Whether `hello` asks for more than the base protocol has."""
        self.lost: str | None = None
        """Why the connection has ended, if it has."""
        self.closing: Closing | None = None
        """The server's last word, if it said one."""
        self.is_deaf = False
        """Whether nothing is read at present, so that silence says nothing about the server."""
        self.odd = ""
        """What came last that was not understood, since something was asked or answered; in words."""
        self.knows_refs = False
        """Whether the server has shown that it knows more than the base protocol: it confirms messages."""
        self.has_quit = False
        """Whether nothing is sent any longer: `quit` has been, or the client leaves without."""
        self.stays = False
        """Whether the client leaves without `quit`, so that its session lives on."""
        self.moved_at = clock()
        """When a request left, or was answered, for the last time."""
        self.knows_rooms = False
        """Whether the server has rooms and a history."""
        self._session = Session() if session is None else session
        self._clock = clock
        self._decoder = StreamDecoder(REPLIES, MAX_REPLY)
        self._asking: list[Call[Any]] = []  # hello and who that wait to be sent
        self._saying: list[Call[Sent]] = []  # messages that wait to be sent, in the order of their numbers
        self._asked: dict[str | None, Call[Any]] = {}  # hello and who to be answered; None: without a ref
        self._said: dict[str, Call[Sent]] = {}  # messages to be confirmed
        self._said_bytes = 0
        self._at_welcome: list[Message] = []
        self._complaint = ""  # an error that came instead of a welcome
        self._instead = b""  # how what came since hello begins
        self._doubt: Fault | None = None  # what came while hello waited, and may be its refusal
        self._has_complained = False
        self._doubt_ends = 0.0
        self._is_welcome = False
        self._knows_ping = False
        self._owes_ping = self._owes_pong = self._owes_quit = False
        self._resume = Resume(self._session, self._ask_by_itself, self.forget)
        self._under_way: deque[Call[Sent]] = deque()  # messages without a ref, sent a short while ago
        self._not_before = 0.0  # when the next message may be sent
        self._resting_until = 0.0  # when the next request may be sent, after a slow_down
        self._heard_at = clock()
        self._pinged_at: float | None = None

    # Requests

    def hello(
        self, name: str, password: str | None = None, session: str | None = None, *, is_return: bool = False
    ) -> Call[None]:
        """Ask for a name; if it `is_return`, the welcome is reported.

        `session`: what another client has left. It and the password are beyond the base protocol.
        """
        hello = Hello(name=name)
        if self.wants_features:
            hello = self._session.hello(name, password, session)
        call: Call[None] = self._new(hello, has_ref=self.wants_features)
        self._at_welcome = [Reconnected(name)] if is_return else []
        self._asking.append(call)
        self._doubt, self._instead = None, b""
        return call

    def who(self, room: str | None = None) -> Call[list[str]]:
        """Ask who is here, or in a room."""
        if room is not None:
            return self.ask(Who(room=room))
        call: Call[list[str]] = self._new(Who(), has_ref=self.knows_refs)
        self._asking.append(call)
        return call

    def join(self, room: str) -> Call[str]:
        """Ask to hear a room; the answer is its name, as its maker spelled it."""
        return self.ask(Join(room=room))

    def leave(self, room: str) -> Call[None]:
        """Ask to hear a room no more."""
        return self.ask(Leave(room=room))

    def rooms(self) -> Call[list[RoomSize]]:
        """Ask which rooms there are."""
        return self.ask(Rooms())

    def take_back(self, ident: str) -> Call[None]:
        """Take back a message of one's own."""
        return self.ask(Forget(id=ident))

    def register(self, password: str, old: str | None = None) -> Call[None]:
        """Ask for an account of this name, or for another password of it in the place of the `old` one."""
        return self.ask(Register(password=password, old=UNSET if old is None else old))

    def ask(
        self,
        request: Who | Join | Leave | Rooms | History | Forget | _OURS_ALONE,
    ) -> Call[Any]:
        """Ask something of which the base protocol knows nothing."""
        call = self._new(request, has_ref=True)
        if self._can(call):
            self._asking.append(call)
        return call

    def _ask_by_itself(self, request: Join | History) -> Call[Any]:
        """Ask what the program did not ask: its own latest request stays that."""
        last = self._session.last_ref
        call = self.ask(request)
        self._session.last_ref = last
        return call

    def send(
        self, to: str | None, content: str, *, room: str | None = None, confirm: bool = True
    ) -> Call[Sent]:
        """Send a message to one, or to all (None), in the lobby or in a room.

        The call is confirmed only if the server does that.
        """
        message = OutgoingBroadcast(content=content) if to is None else Outgoing(to=to, content=content)
        if isinstance(message, OutgoingBroadcast) and room is not None:
            message.room = room
        refs = self.knows_refs
        call: Call[Sent] = self._new(message, has_ref=refs, is_confirmed=confirm and refs)
        if room is None or self._can(call):
            self._saying.append(call)
        return call

    def _can(self, call: Call[Any]) -> bool:
        """Whether the server knows rooms and a history; if not, the call is refused, and nothing is sent."""
        if not self.knows_rooms:
            code = ErrorCode.UNKNOWN_CODE if self._is_welcome else ErrorCode.HELLO_FIRST
            is_ours = isinstance(call.request, _OURS_ALONE)
            what = "accounts and no operators" if is_ours else "rooms and no history"
            text = f"this server has no {what}" if self._is_welcome else "say hello first"
            call.fail(refused(ErrorReply(error=code, message=text)))
        return self.knows_rooms

    def quit(self, *, stay: bool = False) -> list[Message]:
        """Say that we are leaving, behind all else; return what is held, as it is.

        With `stay`, end the connection without a word, if the server knows a session that lives on.
        """
        self.stays = stay and self._session.secret is not None
        self._owes_quit = self._resume.is_over = True
        return self._resume.give_up()

    def forget(self, call: Call[Any]) -> None:
        """Nobody waits for this any longer: it is not sent, or its answer is not taken for another's."""
        self._resume.forget(call)
        if call in self._asking:
            self._asking.remove(call)
        elif call in self._saying:
            self._saying.remove(call)
        elif call.ref is not None:
            self._asked.pop(call.ref, None)
            self._unsay(call.ref)

    def since(self, call: Call[Any]) -> float:
        """Return the time from which the patience with a call counts: no progress has been made since then."""
        return max(call.made_at, self.moved_at) if call.left_at is None else call.left_at

    def _new(self, request: Request, *, has_ref: bool, is_confirmed: bool = True) -> Call[Any]:
        if self.lost is not None:
            raise ConnectionLost(self.lost)
        number = next(self._session.numbers)
        self._session.last_ref = str(number)
        if has_ref:
            request.ref = self._session.last_ref
        call: Call[Any] = Call(number, request, is_confirmed=is_confirmed)
        call.made_at = self._clock()
        return call

    # Bytes to the server

    def next(self) -> bytes | None:
        """Return the next message, if one may be sent now."""
        now = self._clock()
        if self.lost is not None or self.has_quit or (not self.knows_refs and now < self._not_before):
            return None
        data = self._sign_of_life() or self._question(now) or self._message(now) or self._farewell(now)
        if data is not None and not self.knows_refs:
            self._not_before = now + PACE
        return data

    def _sign_of_life(self) -> bytes | None:
        if self._owes_pong:
            self._owes_pong = False
            return _PONG
        if self._owes_ping:
            self._owes_ping = False
            return _PING
        return None

    def _question(self, now: float) -> bytes | None:
        if not self._asking or now < self._resting_until:
            return None
        # Answers without a ref are told apart by there being one such question at a time.
        before = self._asked.get(self._asking[0].ref)
        if before is not None and now < (before.left_at or now) + ANSWERED_WITHIN:
            return None
        call = self._asking.pop(0)
        self._asked[call.ref] = call
        self.odd = ""
        return self._leave(call, now)

    def _message(self, now: float) -> bytes | None:
        call = next((call for call in self._saying if call.not_before <= now), None)
        if call is None or now < self._resting_until or self._resume.rejoining:
            return None
        size = len(call.data)
        if call.ref is not None:
            if self._said and (len(self._said) >= WINDOW or self._said_bytes + size > WINDOW_BYTES):
                return None
            self._said[call.ref] = call
            self._said_bytes += size
        else:
            self._under_way.append(call)
            while now > (self._under_way[0].left_at or now) + UNDER_WAY:
                self._under_way.popleft()
        self._saying.remove(call)
        return self._leave(call, now)

    def _farewell(self, now: float) -> bytes | None:
        if not self._owes_quit or self._asking or self._saying or self._said:
            return None
        self._owes_quit, self.has_quit = False, True
        self._under_way.clear()  # the server takes it all before its end
        self.moved_at = now
        return None if self.stays else _QUIT

    def _leave(self, call: Call[Any], now: float) -> bytes:
        self.moved_at = now
        call.leave(now)
        return call.data

    # Bytes from the server

    def receive(self, data: bytes) -> list[Message]:
        """Take bytes from the server; finish the calls that they answer, and return the rest."""
        self._heard_at, self._pinged_at = self._clock(), None
        self._instead = (self._instead + data[:SHOWN])[:SHOWN]
        unasked: list[Message] = []
        for message in self._decoder.feed(data):
            unasked += self._take(message)
            if self._resume.news:
                unasked += self._resume.go_on()
        if self._session.is_holding:
            unasked += self._resume.give_up() if self._session.holds_too_much else self._resume.go_on()
        return unasked

    def _take(self, message: AnyReply | Fault) -> list[Message]:
        unasked: list[Message] = []
        match message:
            case Incoming() | IncomingBroadcast():
                unasked = self._session.take(message)
            case Presence():
                unasked = [message]
            case Fault():
                unasked = self._wonder(message)
            case Welcome():
                unasked = self._welcome(message)
            case (
                Users()
                | Joined()
                | Left()
                | RoomsReply()
                | HistoryReply()
                | Forgotten()
                | Registered()
                | Done()
                | BansReply()
            ):
                unasked = self._answered(message)
            case Sent():
                self._sent(message)
            case ErrorReply():
                unasked = self._refuse(message)
            case PingEvent():
                self._owes_pong = True
            case Closing():
                self.closing = message
        return unasked

    def _welcome(self, welcome: Welcome) -> list[Message]:
        if welcome.features is not None:
            self.knows_refs = self._knows_ping = True
            self.knows_rooms = "stamps" in welcome.features
        call: Call[None] | None = self._question_of(welcome.ref, Hello)
        self._is_welcome = True
        self._answer(call, None)
        if call is None:
            return []
        hello = cast("Hello", call.request)
        lost = self._resume.begin(welcome, hello, has_history=self.knows_rooms)
        self._saying[:0] = self._resume.again()
        return self._at_welcome + lost

    def _refuse(self, error: ErrorReply) -> list[Message]:
        """Take an error for the answer to its request; return it if nobody waits for that."""
        call: Call[Any] | None = None
        if error.ref is not None:
            call = self._asked.pop(error.ref, None) or self._unsay(error.ref)
        elif error.error not in _OF_MESSAGES:
            call = self._asked.pop(None, None)
        if call is None:
            return self._not_asked_for(error)
        now = self.moved_at = self._clock()
        rest = REST if error.retry_after is None else max(error.retry_after, PACE)
        if self._is_repeated(call, error.error) and now + rest - (call.first_left_at or now) <= PATIENCE:
            if error.error == ErrorCode.NOT_STORED:  # but the others have got it, and others go on
                call.not_before, call.is_unsure = now + rest, True
            else:
                self.moved_at = self._resting_until = max(self._resting_until, now + rest)
            call.left_at = None
            insort(
                self._saying if _is_message(call) else self._asking, call, key=lambda waiting: waiting.number
            )
            return []
        call.fail(refused(error))
        return [] if call.is_confirmed else [error]

    def _is_repeated(self, call: Call[Any], error: str) -> bool:
        """Whether a request is made again after this error; of those not stored, so many at a time."""
        if error == ErrorCode.NOT_STORED:
            return _is_message(call) and sum(other.not_before > 0 for other in self._saying) < WINDOW
        return error == ErrorCode.SLOW_DOWN and not isinstance(call.request, _NOT_REPEATED)

    def _not_asked_for(self, error: ErrorReply) -> list[Message]:
        hello = self._greeting
        if error.ref is not None or hello is None or hello.ref is None:
            return [error]
        self._complaint = error.message  # of something that stands before the server, say
        if error.error not in _OURS and not self.knows_refs:
            self._turn_away(error)
        return []

    def _wonder(self, reply: Fault) -> list[Message]:
        """Take what is no reply that we know: something new of our server's, or a refusal of another's.

        A server may also say something before it answers `hello`, even what is no JSON.
        """
        is_unknown = isinstance(reply, UnknownReply)
        if not (is_unknown and self.knows_refs):
            self.odd = f"something came that is not understood: {reply.message}"
        if self._greeting is not None and not self.knows_refs:
            self._doubt, self._doubt_ends = reply, self._clock() + DOUBT
            if reply.error in REQUESTS:  # it is our own hello that comes back
                self._turn_away(reply)
        elif self._is_welcome and is_unknown and not self.knows_refs and reply.message != reply.error:
            return [ErrorReply(error=reply.error, message=reply.message)]
        elif self._is_welcome and not is_unknown and not self._has_complained:
            self._has_complained = True
            return [ErrorReply(error=reply.error, message=self.odd)]
        return []

    @property
    def _greeting(self) -> Call[None] | None:
        """The `hello` that has been sent and not been answered, if there is one."""
        return next((call for call in self._asked.values() if isinstance(call.request, Hello)), None)

    def _turn_away(self, error: ErrorReply) -> None:
        """Fail `hello`: it was refused; or, if it asked for more than the base protocol has, not understood."""
        self._doubt = None
        if (call := self._question_of(None, Hello)) is not None:
            self.moved_at = self._clock()
            if isinstance(error, Fault) and not is_refusal(error):
                call.fail(NotAChatroom(self._instead))
            else:
                call.fail(refused(error) if call.ref is None else ConnectionLost(error.message))

    def _question_of(self, ref: str | None, kind: type[Request]) -> Call[Any] | None:
        """Return the question that is answered: the one with the ref, or, without one, of the kind."""
        for asked, call in self._asked.items():
            if isinstance(call.request, kind) and ref in (None, asked):
                return self._asked.pop(asked)
        return None

    def _sent(self, sent: Sent) -> None:
        self.knows_refs = True
        call = self._unsay(sent.ref)
        if call is not None:
            self._session.sent(call, sent.id)
        self._answer(call, sent)

    def _who_answered(self, users: Users) -> None:
        call = self._question_of(users.ref, Who)
        while call is not None and self._under_way and (self._under_way[0].left_at or 0) <= (call.left_at or 0):
            self._under_way.popleft()  # the server has taken what left before the question
        self._answer(call, users.users)

    def _answered(
        self,
        reply: Users | Joined | Left | RoomsReply | HistoryReply | Forgotten | Registered | Done | BansReply,
    ) -> list[Message]:
        """Take the answer to a question; return it if nobody asked."""
        if isinstance(reply, Users):
            self._who_answered(reply)
            return []
        call = None if reply.ref is None else self._asked.pop(reply.ref, None)
        match reply:
            case Joined() if call is not None:
                self._resume.joined(reply, cast("Join", call.request))
            case Left():
                self._resume.news += self._session.left(reply.room)
            case Registered() if self.knows_rooms:  # also if nobody waits for it any longer
                self._session.is_account = True
                self._session.secret = reply.session or self._session.secret
            case Forgotten() if reply.ref is None:
                self._session.forgotten(reply.id)
                return [reply]
        self._answer(call, _result(reply))
        return []

    def _answer(self, call: Call[Any] | None, result: object) -> None:
        if call is not None:
            self.moved_at = self._clock()
            self.odd = ""
            call.succeed(result)

    def _unsay(self, ref: str | None) -> Call[Sent] | None:
        call = self._said.pop(cast("str", ref), None)
        if call is not None:
            self._said_bytes -= len(call.data)
        return call

    # Time

    def tick(self) -> list[Message]:
        """Do what time demands; return what it brings."""
        now = self._clock()
        if self._knows_ping and not self.is_deaf and self._pinged_at is None and now >= self._silent_at():
            self._owes_ping, self._pinged_at = True, now
        if self._doubt is not None and now >= self._doubt_ends:
            self._turn_away(self._doubt)
        late = [
            call
            for call in self._said.values()
            if not call.is_confirmed and now >= (call.left_at or now) + ANSWERED_WITHIN
        ]
        for call in late:
            self.forget(call)
        more = self._resume.give_up() if now >= self._resume.wait_until else self._resume.go_on()
        return [*map(unconfirmed, late), *more]

    @property
    def is_silent(self) -> bool:
        """Whether the server has not answered a ping in time: the connection is lost."""
        return not self.is_deaf and self._pinged_at is not None and self._clock() >= self._silent_at()

    def hear_again(self) -> None:
        """Reading goes on after a while in which nothing was read."""
        self.is_deaf = False
        self._heard_at, self._pinged_at = self._clock(), None

    def wake_at(self) -> float | None:
        """Return when something is to be done next, if nothing else happens: a time to come."""
        times = [
            call.left_at + ANSWERED_WITHIN
            for call in self._said.values()
            if not call.is_confirmed and call.left_at is not None
        ]
        if self._asking or self._saying or self._owes_quit or self._owes_pong:
            times += [self._not_before, self._resting_until]
            times += [call.not_before for call in self._saying[:WINDOW]]
        times.append(self._resume.wait_until)
        if self._knows_ping and not self.is_deaf:
            times.append(self._silent_at())
        if self._doubt is not None:
            times.append(self._doubt_ends)
        now = self._clock()
        return min((time for time in times if now < time < math.inf), default=None)

    def lose(self, reason: str) -> list[Message]:
        """Fail all that waits: the connection has ended. Return the messages whose fate is unknown."""
        self.lost = f"{reason} ({self._complaint})" if self._complaint else reason
        self._resume.is_over = True
        if self._doubt is not None:
            self._turn_away(self._doubt)
        now = self._clock()
        under_way = [call for call in self._under_way if now <= (call.left_at or now) + UNDER_WAY]
        told: list[Message] = [unconfirmed(call) for call in under_way if not call.is_confirmed]
        waiting = [call for call in self._saying if call.is_unsure]
        unsure = sorted([*self._said.values(), *waiting], key=lambda call: call.number)
        self._saying = [call for call in self._saying if not call.is_unsure]
        told += self._session.keep(unsure, self.lost)
        for call in [*self._asking, *self._saying, *self._asked.values()]:
            call.fail(ConnectionLost(self.lost))
        for calls in (self._asking, self._saying, self._asked, self._said):
            calls.clear()
        return told

    def _silent_at(self) -> float:
        """Return when silence will have lasted too long: for a ping, or for hope."""
        return self._heard_at + PING_AFTER if self._pinged_at is None else self._pinged_at + PONG_WITHIN


def _result(
    reply: Joined | Left | RoomsReply | HistoryReply | Forgotten | Registered | Done | BansReply,
) -> object:
    """Return what an answer tells whoever asked."""
    match reply:
        case Joined():
            return reply.room
        case RoomsReply():
            return reply.rooms
        case HistoryReply():
            return reply
        case Done():
            return reply.others or 0
        case BansReply():
            return reply.bans
    return None


def _is_message(call: Call[Any]) -> bool:
    return isinstance(call.request, Outgoing | OutgoingBroadcast)
