"""What the client program needs of the place where lines are typed and shown."""

from contextlib import AbstractContextManager
from typing import Protocol

from chatroom.client.aio import AsyncClient

PROMPT = "enter your message>"


class Screen(Protocol):
    """Where lines are typed and shown: a terminal, or a pipe."""

    status: int
    """The exit status, if the chat ends well: in a pipe, a mistake on the way is one of the program's."""

    async def read_name(self, question: str, offer: str) -> str | None:
        """Ask for another name, offering one; None if nobody can be asked."""

    def conversation(self, client: AsyncClient) -> AbstractContextManager[None]:
        """Within this context lines are typed and shown; the client may be asked for names to complete."""

    async def read_line(self) -> str | None:
        """Return the next line typed; None at the end of input."""

    def show(self, pieces: list[tuple[str, str]]) -> None:
        """Show one line, in pieces of different kinds."""

    def complain(self, text: str) -> None:
        """Show one line about something that went wrong."""
