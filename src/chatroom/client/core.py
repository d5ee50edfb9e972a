"""What every client does, without I/O: requests to bytes, bytes to answers and messages.

`hello` and `who` are exactly the brief's, so that any server of the brief understands them. A message that
is to be confirmed carries a `ref`, by which its answer is found.
"""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import UNSET

from chatroom.client.errors import ConnectionLost, refused
from chatroom.protocol.messages import (
    Error,
    Fault,
    Hello,
    Incoming,
    IncomingBroadcast,
    Outgoing,
    OutgoingBroadcast,
    Quit,
    Sent,
    Users,
    Welcome,
    Who,
    encode,
)
from chatroom.protocol.stream import REPLIES, StreamDecoder

MAX_REPLY = 16 * 1024 * 1024
"""Bytes of one object from the server: the list of users of a large room is long."""

Message = Incoming | IncomingBroadcast | Error
"""What comes unasked: messages of others, and errors that belong to no confirmed request."""

Result = TypeVar("Result")


class Call(Generic[Result]):
    """A request that waits for its answer."""

    def __init__(self) -> None:
        self.is_done = False
        self.on_done: Callable[[], None] = lambda: None
        """Called once, when the answer is there."""
        self._result: Result
        self._error: Exception | None = None

    def result(self) -> Result:
        """Return the answer; raise `Refused` or `ConnectionLost` if there is none."""
        if self._error is not None:
            raise self._error
        return self._result

    def succeed(self, result: Result) -> None:
        """This is the answer."""
        self._result = result
        self._finish()

    def fail(self, error: Exception) -> None:
        """There is no answer, for this reason."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        if not self.is_done:
            self.is_done = True
            self.on_done()


class Core:
    """One connection's client side.

    Each request returns the bytes to send; those that are answered, the call to wait for too. What `receive()`
    returns came unasked; it never swallows a message that comes between a request and its answer.
    """

    def __init__(self) -> None:
        self._decoder = StreamDecoder(REPLIES, MAX_REPLY)
        self._refs = itertools.count(1)
        self._hello: Call[None] | None = None
        self._who: deque[Call[list[str]]] = deque()
        self._sending: dict[str, Call[Sent]] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether some request has not been answered yet."""
        return bool(self._hello or self._who or self._sending)

    def hello(self, name: str) -> tuple[bytes, Call[None]]:
        """Ask for a name."""
        self._hello = Call()
        return encode(Hello(name=name)), self._hello

    def who(self) -> tuple[bytes, Call[list[str]]]:
        """Ask who is here."""
        call: Call[list[str]] = Call()
        self._who.append(call)
        return encode(Who()), call

    def send(self, to: str | None, content: str) -> tuple[bytes, Call[Sent]]:
        """Send a message to one, or to all (None), that is to be confirmed."""
        ref = str(next(self._refs))
        call: Call[Sent] = Call()
        self._sending[ref] = call
        return encode(_message(to, content, ref)), call

    def send_unconfirmed(self, to: str | None, content: str) -> bytes:
        """Send a message to one, or to all (None), exactly as the brief has it."""
        return encode(_message(to, content))

    def quit(self) -> bytes:
        """Say that we are leaving."""
        return encode(Quit())

    def receive(self, data: bytes) -> list[Message]:
        """Take bytes from the server; finish the calls that they answer, and return the rest."""
        unasked: list[Message] = []
        for message in self._decoder.feed(data):
            match message:
                case Fault():
                    pass  # a message of a kind that we do not know
                case Incoming() | IncomingBroadcast():
                    unasked.append(message)
                case Welcome() if self._hello:
                    self._hello.succeed(None)
                    self._hello = None
                case Users() if self._who:
                    self._who.popleft().succeed(message.users)
                case Sent() if message.ref is not UNSET and message.ref in self._sending:
                    self._sending.pop(message.ref).succeed(message)
                case Error() if message.ref is not UNSET and message.ref in self._sending:
                    self._sending.pop(message.ref).fail(refused(message))
                case Error() if self._hello:
                    self._hello.fail(refused(message))
                    self._hello = None
                case Error():
                    unasked.append(message)
        return unasked

    def lose(self, reason: str) -> ConnectionLost:
        """Fail all that waits, since the connection has ended; return the error."""
        lost = ConnectionLost(reason)
        for call in [self._hello, *self._who, *self._sending.values()]:
            if call is not None:
                call.fail(lost)
        self._hello = None
        self._who.clear()
        self._sending.clear()
        return lost


def _message(to: str | None, content: str, ref: str | None = None) -> Outgoing | OutgoingBroadcast:
    request = OutgoingBroadcast(content=content) if to is None else Outgoing(to=to, content=content)
    if ref is not None:
        request.ref = ref
    return request
