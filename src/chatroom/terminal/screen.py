"""What the client program needs of the place where lines are typed and shown."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from chatroom.terminal.text import Pieces

PROMPT = "enter your message>"


class Screen(Protocol):
    """Where lines are typed and shown: a terminal, or a pipe."""

    status: int
    """The exit status, if the chat ends well: in a pipe, a mistake on the way is one of the program's."""
    is_interactive: bool
    """Whether somebody sits there who can wait, and type again."""
    has_left: asyncio.Event
    """Set when somebody there wants to leave at once, without what has not been sent yet."""

    async def read_name(self, question: str, offer: str) -> str | None:
        """Ask for another name, offering one; None if nobody can be asked."""

    def conversation(
        self, names: Callable[[], Awaitable[list[str]]], refusal: Callable[[str], str | None]
    ) -> AbstractAsyncContextManager[None]:
        """Within this context lines are typed and shown.

        `names`: those that can be completed. `refusal`: why a line cannot be sent now, if so; where somebody
        types, it stays where it is.
        """

    async def read_line(self) -> str | None:
        """Return the next line typed, or several, separated by line breaks; None at the end of input."""

    def show(self, pieces: Pieces) -> None:
        """Show one line, in pieces of different kinds."""

    def complain(self, text: str) -> None:
        """Show one line about something that went wrong."""
