"""A request of a client, on its way to its answer."""

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import UNSET

from chatroom.client.errors import ConnectionLost, OutcomeUnknown
from chatroom.protocol.messages import Request, encode

Result = TypeVar("Result")


class Call(Generic[Result]):
    """A request, on its way to its answer."""

    def __init__(self, number: int, request: Request, *, is_confirmed: bool = True) -> None:
        """Raises `UnicodeEncodeError` for a lone surrogate."""
        self.number = number
        self.request = request
        self.data = encode(request)
        self.is_confirmed = is_confirmed
        """Whether somebody waits for its answer, and not only until it has left."""
        self.made_at = 0.0
        self.left_at: float | None = None
        """When it was sent; None while it waits to be."""
        self.first_left_at: float | None = None
        self.not_before = 0.0
        """When it may be sent again, if the server could not store it."""
        self.losses = 0
        """Connections that broke behind it."""
        self.is_unsure = False
        """Whether it may have arrived, though it waits to be sent."""
        self.is_done = False
        self.on_change: Callable[[], None] = lambda: None
        """Called when it has left, and when it is done."""
        self._result: Result
        self.error: Exception | None = None
        """Why there is no answer, if there is none."""

    @property
    def has_left(self) -> bool:
        """Whether it has been sent."""
        return self.left_at is not None

    @property
    def ref(self) -> str | None:
        """What its answer will carry."""
        return None if self.request.ref is UNSET else self.request.ref

    @property
    def was_lost(self) -> bool:
        """Whether it failed with the connection, and may be made again over another one."""
        return isinstance(self.error, ConnectionLost) and not isinstance(self.error, OutcomeUnknown)

    def result(self) -> Result:
        """Return the answer; raise `Refused` or `ConnectionLost` if there is none."""
        if self.error is not None:
            raise self.error
        return self._result

    def leave(self, now: float) -> None:
        """It is being sent."""
        self.left_at = now
        if self.first_left_at is None:
            self.first_left_at = now
        self.on_change()

    def succeed(self, result: Result) -> None:
        """This is the answer."""
        self._result = result
        self._finish()

    def fail(self, error: Exception) -> None:
        """There is no answer, for this reason."""
        self.error = error
        self._finish()

    def _finish(self) -> None:
        self.is_done = True
        self.on_change()
