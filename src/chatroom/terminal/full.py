"""A terminal: what one is typing stays whole while messages come in above it."""

import sys
from collections.abc import AsyncGenerator

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.patch_stdout import StdoutProxy
from prompt_toolkit.styles import Style

from chatroom.client.aio import AsyncClient
from chatroom.terminal.screen import PROMPT
from chatroom.terminal.text import visible

STYLE = Style.from_dict(
    {
        "time": "ansibrightblack",
        "sender": "ansicyan bold",
        "direct": "ansiyellow",
        "broadcast": "ansigreen",
        "error": "ansired",
    }
)

REFRESH = 0.02
"""Seconds that printed text may be held back, to be drawn together."""


class TerminalScreen:
    """A line editor with completion and history, and everything else above it.

    Colours are prompt_toolkit's affair, which respects `NO_COLOR`.
    """

    def __init__(self) -> None:
        self.status = 0  # a person has seen what went wrong
        self._prompt: PromptSession[str] = PromptSession()
        self._names: Completer | None = None

    def start(self, client: AsyncClient) -> None:
        """Complete from the client's users; what others print now goes above the prompt."""
        self._names = NameCompleter(client)
        sys.stdout = StdoutProxy(sleep_between_writes=REFRESH)

    async def read_name(self, question: str, offer: str) -> str | None:
        """Ask for another name; Enter takes the one offered."""
        print(question, flush=True)
        return await self._read("your name: ", default=offer)

    async def read_line(self) -> str | None:
        """Return the next line typed; None for Ctrl-C and Ctrl-D."""
        return await self._read(PROMPT, completer=self._names)

    def show(self, pieces: list[tuple[str, str]]) -> None:
        """Show the line above what is being typed."""
        print_formatted_text(FormattedText([(f"class:{kind}", text) for kind, text in pieces]), style=STYLE)

    def complain(self, text: str) -> None:
        """Show the line like the others."""
        self.show([("error", text)])

    async def _read(self, prompt: str, *, default: str = "", completer: Completer | None = None) -> str | None:
        try:
            return await self._prompt.prompt_async(
                prompt, default=default, completer=completer, complete_while_typing=False
            )
        except (EOFError, KeyboardInterrupt):
            return None


class NameCompleter(Completer):
    """Names of those who are here now, and the commands."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion, None]:
        """Offer what begins with what stands before the cursor; ask the server who is here."""
        begun = document.text_before_cursor
        if "|" in begun:
            return
        try:
            names = await self._client.users()
        except OSError:
            return
        for offer in [*(f"{name}|" for name in names if name == visible(name)), "*|", "who", "quit"]:
            if offer.casefold().startswith(begun.casefold()):
                yield Completion(offer, start_position=-len(begun))

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:  # noqa: ARG002
        """Offer nothing without waiting."""
        return []
