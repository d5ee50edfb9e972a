"""What the hub needs from outside, as protocols: whoever runs it plugs these in."""

from collections.abc import Callable
from typing import Protocol

from chatroom.protocol.messages import ErrorReply

Clock = Callable[[], float]
"""Seconds since 1970, UTC."""


class Timing(Protocol):
    """An event loop, as far as it tells the time and calls back."""

    def time(self) -> float:
        """Return the time in seconds, of any origin, that never goes back."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call the function after what is being done now: at the end of this turn."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> "Timer":
        """Call the function after this many seconds."""


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Do not make it."""


class Sink(Protocol):
    """One connection, as the hub sees it: where its bytes go.

    Nothing here but `go_on` calls back into the hub before it returns. What raises is given to `fail`.
    """

    peer: str
    """The address, for the log."""

    @property
    def push(self) -> Callable[[bytes], None]:
        """Take whole frames, to leave in the order in which they came; never wait.

        Raises `RuntimeError`, as event loops do, if the connection has just broken; then call `fail`.
        """

    def fail(self, exception: Exception) -> None:
        """`push` or `close` has raised this: end the connection, and log it if the connection was alive."""

    def give_up(self, reason: str) -> None:
        """End the connection now."""

    def go_on(self) -> None:
        """Hand the hub what is left: the session's turn has come."""

    def close(self) -> None:
        """End the connection when all that was pushed has gone out."""

    def is_dead(self) -> bool:
        """Whether the peer is provably gone, though its end has not been reported yet."""


class Observer(Protocol):
    """Who is told what happens; it keeps the log."""

    def joined(self, name: str, peer: str) -> None:
        """Somebody is welcome."""

    def left(self, name: str, peer: str, reason: str) -> None:
        """Somebody has gone."""

    def refused(self, name: str | None, peer: str, error: ErrorReply) -> None:
        """A request was answered with an error. The error's text may quote the request: never log it."""

    def turned_away(self, peer: str, reason: str) -> None:
        """A connection was ended before anybody was welcome on it; the reason is ours, never its text."""

    def note(self, text: str) -> None:
        """Something else that the operator should know."""
