"""What every client does, without I/O: requests to bytes, bytes to answers and messages.

`hello` and `who` are exactly the brief's, so that any server of the brief understands them. A message that
is to be confirmed carries a `ref`, by which its answer is found.
"""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from msgspec import UNSET

from chatroom.client.errors import ConnectionLost, refused
from chatroom.client.inbox import Message
from chatroom.protocol.messages import (
    Error,
    Fault,
    Hello,
    Incoming,
    IncomingBroadcast,
    Outgoing,
    OutgoingBroadcast,
    Quit,
    Request,
    Sent,
    Users,
    Welcome,
    Who,
    encode,
)
from chatroom.protocol.stream import REPLIES, StreamDecoder

MAX_REPLY = 16 * 1024 * 1024
"""Bytes of one object from the server: the list of users of a large room is long."""

Result = TypeVar("Result")


class Call(Generic[Result]):
    """A request that waits for its answer."""

    def __init__(self, ref: str | None = None) -> None:
        self.ref = ref
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

    A request raises `ConnectionLost` once the connection has been lost, and `UnicodeEncodeError` if its text is
    not Unicode (a lone surrogate); then it is as if it had never been made.
    """

    def __init__(self) -> None:
        self._decoder = StreamDecoder(REPLIES, MAX_REPLY)
        self._refs = itertools.count(1)
        # The answers to these carry no ref: they come in the order of the requests.
        self._hello: deque[Call[None]] = deque()
        self._who: deque[Call[list[str]]] = deque()
        self._sending: dict[str, Call[Sent]] = {}
        self.lost: str | None = None
        """Why the connection has ended, if it has."""

    def hello(self, name: str) -> tuple[bytes, Call[None]]:
        """Ask for a name."""
        request, call = self._encode(Hello(name=name)), Call[None]()
        self._hello.append(call)
        return request, call

    def who(self) -> tuple[bytes, Call[list[str]]]:
        """Ask who is here."""
        request, call = self._encode(Who()), Call[list[str]]()
        self._who.append(call)
        return request, call

    def send(self, to: str | None, content: str) -> tuple[bytes, Call[Sent]]:
        """Send a message to one, or to all (None), that is to be confirmed."""
        ref = str(next(self._refs))
        request, call = self._encode(_message(to, content, ref)), Call[Sent](ref)
        self._sending[ref] = call
        return request, call

    def send_unconfirmed(self, to: str | None, content: str) -> bytes:
        """Send a message to one, or to all (None), exactly as the brief has it."""
        return self._encode(_message(to, content))

    def quit(self) -> bytes:
        """Say that we are leaving."""
        return self._encode(Quit())

    def forget(self, call: Call[Any]) -> None:
        """Nobody waits for this answer any longer; should it come, it is not taken for another's."""
        if call.ref is not None:
            self._sending.pop(call.ref, None)

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
                    self._hello.popleft().succeed(None)
                case Users() if self._who:
                    self._who.popleft().succeed(message.users)
                case Sent() if message.ref is not UNSET and message.ref in self._sending:
                    self._sending.pop(message.ref).succeed(message)
                case Error() if message.ref is not UNSET and message.ref in self._sending:
                    self._sending.pop(message.ref).fail(refused(message))
                case Error() if message.ref is UNSET and self._hello:
                    self._hello.popleft().fail(refused(message))
                case Error():
                    unasked.append(message)
        return unasked

    def lose(self, reason: str) -> None:
        """Fail all that waits: the connection has ended."""
        self.lost = reason
        calls: list[Call[Any]] = [*self._hello, *self._who, *self._sending.values()]
        for call in calls:
            call.fail(ConnectionLost(reason))
        self._hello.clear()
        self._who.clear()
        self._sending.clear()

    def _encode(self, request: Request) -> bytes:
        if self.lost:
            raise ConnectionLost(self.lost)
        return encode(request)


def _message(to: str | None, content: str, ref: str | None = None) -> Outgoing | OutgoingBroadcast:
    request = OutgoingBroadcast(content=content) if to is None else Outgoing(to=to, content=content)
    if ref is not None:
        request.ref = ref
    return request
