"""A terminal: what one is typing stays whole while messages come in above it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Iterator

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import InboxFull
from chatroom.terminal.screen import PROMPT
from chatroom.terminal.text import visible

if sys.platform != "win32":
    import termios

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
"""Seconds that a line may be held back, so that many are drawn together."""


class TerminalScreen:
    """A line editor with completion and history, and everything else above it.

    Lines are drawn by ourselves, since prompt_toolkit's own way switches the terminal's echo on while it
    prints: a key pressed in that moment lands in the middle of somebody's message, and in a busy room there are
    many such moments. Colours are prompt_toolkit's affair, which respects `NO_COLOR`.
    """

    def __init__(self) -> None:
        self.status = 0  # a person has seen what went wrong
        self._prompt: PromptSession[str] = PromptSession(PROMPT, complete_while_typing=False)
        self._undrawn: list[tuple[str, str]] = []
        self._drawing: asyncio.TimerHandle | None = None

    async def read_name(self, question: str, offer: str) -> str | None:
        """Ask for another name; Enter takes the one offered."""
        self.complain(question)
        return await _read(PromptSession("your name: "), offer)

    @contextlib.contextmanager
    def conversation(self, client: AsyncClient) -> Iterator[None]:
        """Complete from the client's users; whatever is printed goes above the prompt."""
        self._prompt.completer = NameCompleter(client)
        with patch_stdout(), _no_echo():
            try:
                yield
            finally:
                self._draw()

    async def read_line(self) -> str | None:
        """Return the next line typed; None for Ctrl-C and Ctrl-D."""
        return await _read(self._prompt)

    def show(self, pieces: list[tuple[str, str]]) -> None:
        """Show the line above what is being typed."""
        self._undrawn += [(f"class:{kind}", text) for kind, text in pieces]
        self._undrawn.append(("", "\n"))
        if not self._prompt.app.is_running:
            self._draw()
        elif self._drawing is None:
            self._drawing = asyncio.get_running_loop().call_later(REFRESH, self._draw)

    def complain(self, text: str) -> None:
        """Show the line like the others."""
        self.show([("error", text)])

    def _draw(self) -> None:
        """Take the prompt away, print what waits, and put the prompt below it."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        if not self._undrawn:
            return
        app = self._prompt.app
        if app.is_running:
            app.renderer.erase()
        print_formatted_text(app.output, FormattedText(self._undrawn), STYLE)
        self._undrawn = []
        if app.is_running and not app.is_done:
            app.renderer.request_absolute_cursor_position()
            app.invalidate()


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
        except (OSError, InboxFull):
            return
        # A server may let people have names that cannot be typed here.
        usable = [name for name in names if name == visible(name) and "|" not in name]
        for offer in [*(f"{name}|" for name in usable), "*|", "who", "quit"]:
            if offer.casefold().startswith(begun.lstrip().casefold()):
                yield Completion(offer, start_position=-len(begun))

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:  # noqa: ARG002
        """Offer nothing without waiting."""
        return []


async def _read(prompt: PromptSession[str], default: str = "") -> str | None:
    try:
        return await prompt.prompt_async(default=default)
    except (EOFError, KeyboardInterrupt):
        return None


@contextlib.contextmanager
def _no_echo() -> Iterator[None]:
    """Let the terminal not echo what is typed ahead, between two prompts: the next prompt will show it."""
    if sys.platform == "win32":
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = list(before)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
