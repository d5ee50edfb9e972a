"""What the client program needs of the place where lines are typed and shown."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from chatroom.terminal.text import Pieces

PROMPT = "enter your message>"
OFFLINE = "offline>"
"""The prompt while there is no connection, where it can be changed."""


class Chat(Protocol):
    """What a screen asks while somebody types."""

    @property
    def is_online(self) -> bool:
        """Whether messages can be sent."""

    @property
    def has_rooms(self) -> bool:
        """Whether the server has rooms and a history."""

    @property
    def has_account(self) -> bool:
        """Whether one's name is an account's, which may be an operator's."""

    @property
    def joined(self) -> Sequence[str]:
        """The rooms one is in."""

    def unread(self, begun: str) -> str:
        """Return what is unread, or nothing, when this has been typed."""

    async def names(self) -> list[str]:
        """Return the names that can be completed."""

    async def rooms(self) -> list[str]:
        """Return the rooms that can be completed: all that there are."""

    def take(self, lines: str) -> str | None:
        """Do at once, while offline, what cannot wait for its turn.

        Return None if the lines are to wait for it after all; nothing if something was done; else why they
        cannot be sent now: where there is an editor, they stay in it.
        """


class Screen(Protocol):
    """Where lines are typed and shown: a terminal, or a pipe."""

    status: int
    """The exit status, if the chat ends well: in a pipe, a mistake on the way is one of the program's."""
    is_interactive: bool
    """Whether somebody sits there who can wait, and type again."""
    has_editor: bool
    """Whether there are keys that complete names, bring back lines, and drop one."""
    has_left: asyncio.Event
    """Set when somebody there wants to leave at once, without what has not been sent yet."""

    @property
    def place(self) -> str:
        """Where the line last read stood, to begin a complaint with; empty where somebody has just typed it."""

    async def read_name(self, question: str, offer: str) -> str | None:
        """Ask for another name, offering one, before the conversation; None if nobody can be asked.

        The `question` says why; it is empty if somebody wanted to be asked.
        """

    async def read_password(self, prompt: str, question: str = "") -> str | None:
        """Ask for a password, which is not shown; None if nobody can be asked, or wants to answer.

        With a `question`, it is one that nobody has expected, before the conversation.
        """

    def conversation(self, chat: Chat) -> AbstractAsyncContextManager[None]:
        """Within this context lines are typed and shown."""

    async def read_line(self) -> str | None:
        """Return the next line typed, or several, separated by line breaks; None at the end of input."""

    def show(self, pieces: Pieces) -> None:
        """Show one line, in pieces of different kinds."""

    def complain(self, text: str) -> None:
        """Show one line about something that went wrong."""
