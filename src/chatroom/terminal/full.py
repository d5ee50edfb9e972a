"""A terminal: what one is typing stays whole while messages come in above it."""

import asyncio
import contextlib
import os
import re
import select
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_completions, has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.bindings.named_commands import get_by_name
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from chatroom.terminal.resize import Resizing
from chatroom.terminal.screen import OFFLINE, PROMPT, Chat
from chatroom.terminal.shown import label
from chatroom.terminal.text import Pieces
from chatroom.terminal.typed import (
    BAR,
    COMMANDS,
    COMMANDS_FOR_OPERATORS,
    COMMANDS_IN_ROOMS,
    HINT,
    about,
    asks_back,
    can_be_typed,
    for_msg,
    is_command,
    is_no_command,
)

if sys.platform != "win32":
    import termios

_ARGUMENT = re.compile(r"\s*(/(?:msg|history|find|me|join|leave|who|kick|mute|unmute|ban))\s+([^|]*)")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
"""What stands between two columns."""
_INDENT = "  "

STYLE = Style.from_dict(
    {
        "time": "ansibrightblack",
        "sender": "ansicyan bold",
        "direct": "ansiyellow",
        "broadcast": "ansigreen",
        "past": "ansigreen",
        "unread": "ansiyellow",
        "error": "ansired",
    }
)

REFRESH = 0.02
"""Seconds that a line may be held back, so that many are drawn together."""
ESCAPE = 0.1
"""Seconds after which an Escape is a key of its own, and not the beginning of what another key sends."""
STILL = 0.3
"""Seconds without a key after which a question takes the keyboard: what is typed is no answer to it before."""


class TerminalScreen:
    """A line editor with completion and history, and everything else above it.

    Lines are drawn by ourselves, since prompt_toolkit's own way switches the terminal's echo on while it
    prints: a key pressed in that moment lands in the middle of somebody's message, and in a busy room there are
    many such moments. Colours are prompt_toolkit's affair, which respects `NO_COLOR`. The terminal is never
    asked where its cursor is: on a slow link the answer comes late, and is taken for keys.

    Several lines that are pasted stay in the editor, one below the other, until Enter sends them. With `bell`,
    a direct message rings the terminal's.
    """

    is_interactive = True
    has_editor = True
    place = ""

    def __init__(self, *, bell: bool) -> None:
        self.status = 0  # a person has seen what went wrong
        self._rings = bell
        self._output = _output()
        self._prompt: PromptSession[str] = PromptSession(
            self._message,
            prompt_continuation=self._continuation,
            complete_while_typing=False,
            key_bindings=_keys(self._accept, self._begin_line, self._suspend),
            output=self._output,
        )
        app = self._prompt.app
        app.ttimeoutlen = app.timeoutlen = ESCAPE
        self._editor = app, Resizing(self._prompt)
        self._front = self._editor  # above which lines are drawn: the editor, or a question in its place
        self._chat: Chat
        self.has_left = asyncio.Event()
        self._lines: asyncio.Queue[str] = asyncio.Queue()  # no longer than somebody can type
        self._is_idle = asyncio.Event()  # set while the next line is waited for
        self._kept = ""  # what was refused as it stands in the editor
        self._undrawn: list[Pieces] = []
        self._drawing: asyncio.TimerHandle | None = None

    async def read_name(self, question: str, offer: str) -> str | None:
        """Ask for another name; Enter takes the one offered.

        What somebody types before that, not knowing of the question, is no answer to it.
        """
        if question:
            await self._until_still()
            self.complain(f"{question} (Ctrl-C or Ctrl-D leaves)")
        asking: PromptSession[str] = PromptSession(
            "your name: ", key_bindings=_question_keys(), output=self._output, enable_suspend=True
        )
        Resizing(asking)
        return await _read(asking, offer)

    async def read_password(self, prompt: str, question: str = "") -> str | None:
        """Ask for a password; nothing of it is shown, or can be brought back.

        In the conversation, the editor waits until what was typed in it is done; lines are drawn above this.
        """
        if question:
            await self._until_still()
            self.complain(f"{question} (Ctrl-C or Ctrl-D leaves)")
        asking: PromptSession[str] = PromptSession(
            prompt,
            history=DummyHistory(),
            input_processors=[_Hidden()],
            key_bindings=_password_keys(),
            output=self._output,
            enable_suspend=True,
        )
        self._front = asking.app, Resizing(asking)
        try:
            return await _read(asking)
        finally:
            self._front = self._editor

    @contextlib.asynccontextmanager
    async def conversation(self, chat: Chat) -> AsyncGenerator[None]:
        """Complete its names; whatever is shown goes above the prompt."""
        self._chat = chat
        self._prompt.completer = NameCompleter(chat)
        with self._raw():
            self._editing = asyncio.create_task(self._edit())
            try:
                yield
            finally:
                self._editing.cancel()
                await asyncio.wait([self._editing])
                if not self._editing.cancelled():
                    self._editing.result()
                self._draw()

    async def read_line(self) -> str:
        """Return the next line typed, or several that were pasted."""
        if self._lines.empty():
            self._is_idle.set()
        return await self._lines.get()

    def show(self, pieces: Pieces) -> None:
        """Show the line above what is being typed."""
        if self._rings and any(kind == "direct" for kind, _ in pieces):
            self._output.bell()
        self._undrawn.append(pieces)
        if not self._front[0].is_running:
            self._draw()
        elif self._drawing is None:
            self._drawing = asyncio.get_running_loop().call_later(REFRESH, self._draw)

    def complain(self, text: str) -> None:
        """Show the line like the others."""
        self.show([("error", text)])

    def _filled(self, text: str) -> str:
        """Return the text in rows that are broken between words, as wide as the terminal is now."""
        return filled(text, self._output.get_size().columns)

    def _draw(self) -> None:
        """Take the prompt away, print what waits, and put the prompt below it."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        if not self._undrawn:
            return
        app, resizing = self._front
        if app.is_running:
            if resizing.is_going_on:
                self._drawing = asyncio.get_running_loop().call_later(REFRESH, self._draw)
                return
            resizing.erase()
        text: Pieces = []
        for line in self._undrawn:
            is_ours = len(line) == 1  # what others say stays as they wrote it
            text += [
                (kind and f"class:{kind}", self._filled(words) if is_ours else words) for kind, words in line
            ]
            text.append(("", "\n"))
        print_formatted_text(self._output, FormattedText(text), STYLE)
        self._undrawn = []
        if app.is_running and not app.is_done:
            app.invalidate()

    def _message(self) -> FormattedText:
        """Return the prompt, below what is said about several lines, or what is unread."""
        text, rooms = self._prompt.default_buffer.text, self._chat.has_rooms
        lines = text.split("\n")
        prompt = PROMPT if self._chat.is_online else OFFLINE
        if len(lines) == 1:
            kind, said = "class:unread", shortened(self._chat.unread(text), self._output.get_size().columns)
        else:
            kind, said = "", self._filled(about(lines, rooms=rooms))
        above = [(kind, f"{said}\n")] if said and not self._prompt.app.is_done else []
        return FormattedText(
            [*above, ("", prompt if len(lines) == 1 else _label(lines[0], prompt, rooms=rooms))]
        )

    def _continuation(self, width: int, number: int, wraps: int) -> str:  # noqa: ARG002 - as it is called
        """Return what stands before a line after the first; nothing before the rest of a long one."""
        lines = self._prompt.default_buffer.text.split("\n")
        return "" if wraps or number >= len(lines) else _label(lines[number], ">", rooms=self._chat.has_rooms)

    def _accept(self) -> None:
        """Take what stands in the editor; if nothing of it can be sent now, it stays there."""
        buffer = self._prompt.default_buffer
        if (said := self._chat.take(buffer.text)) is not None:
            if not said:
                buffer.reset(append_to_history=True)
            elif buffer.text != self._kept:  # else it has been said
                self.complain(said)
                self._kept = buffer.text
            return
        if "\n" in buffer.text:
            buffer.text = buffer.text.strip("\n")
            if not any(is_command(line, rooms=self._chat.has_rooms) for line in buffer.text.split("\n")):
                self.complain(HINT)
                return
        buffer.validate_and_handle()

    def _begin_line(self) -> None:
        """Put what is typed or pasted behind a line that was kept below it: it is another one."""
        buffer = self._prompt.default_buffer
        if self._kept and buffer.document.is_cursor_at_the_end and buffer.text == self._kept:
            buffer.insert_text("\n")
        self._kept = ""

    async def _edit(self) -> None:
        """Take lines from the editor, whatever becomes of those before, until somebody leaves."""
        try:
            while (line := await _read(self._prompt)) is not None:
                self._lines.put_nowait(line)
                if asks_back(line, rooms=self._chat.has_rooms):
                    self._is_idle.clear()
                    with self._interruptible():
                        await self._is_idle.wait()
            self.has_left.set()
        except OSError:  # the terminal is gone
            self.has_left.set()
            raise

    async def _until_still(self) -> None:
        """Wait until nobody types; the keys go nowhere."""
        if sys.platform != "win32":
            terminal = sys.stdin.fileno()
            with self._prompt.app.input.raw_mode():
                is_still = False
                while not is_still:
                    termios.tcflush(terminal, termios.TCIFLUSH)
                    await asyncio.sleep(STILL)
                    is_still = not select.select([terminal], [], [], 0)[0]

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        """Within this context, whatever is typed is a key, between two prompts too; nothing of it is echoed.

        When the process was suspended and is continued, the prompt is drawn anew.
        """
        if sys.platform == "win32":
            yield
            return
        terminal, loop = sys.stdin.fileno(), asyncio.get_running_loop()
        self._before = termios.tcgetattr(terminal)
        with self._prompt.app.input.raw_mode():
            self._within = termios.tcgetattr(terminal)
            loop.add_signal_handler(signal.SIGCONT, self._resume)
            try:
                yield
            finally:
                loop.remove_signal_handler(signal.SIGCONT)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Within this context no editor takes Ctrl-C: it ends the program."""
        if sys.platform == "win32":
            yield
            return
        terminal = sys.stdin.fileno()
        attributes = [*self._within]
        attributes[3] |= termios.ISIG
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(terminal, termios.TCSANOW, self._within)

    def _suspend(self) -> None:
        self._editor[1].erase()
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._before)
        os.kill(0, signal.SIGTSTP)  # the whole job: it returns when that is continued
        self._resume()

    def _resume(self) -> None:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._within)
        if self._prompt.app.is_running:
            self._editor[1].erase()
            self._prompt.app.invalidate()


def filled(text: str, columns: int) -> str:
    """Return the text in rows of so many columns at most, broken at blanks; only a longer word stays whole.

    What stands in two columns, with blanks between them, is broken there first.
    """
    if get_cwidth(text) > columns and (gap := _GAP.search(text)):
        right = filled(text[gap.end() :], columns - len(_INDENT)).split("\n")
        return "\n".join([filled(text[: gap.start()], columns), *(f"{_INDENT}{row}" for row in right)])
    first, *others = text.split(" ")
    parts, used = [first], get_cwidth(first)
    for word in others:
        width = get_cwidth(word)
        fits = used + 1 + width <= columns
        parts += [" " if fits else "\n", word]
        used = used + 1 + width if fits else width
    return "".join(parts)


def shortened(text: str, columns: int) -> str:
    """Return the text on one row, cut with an ellipsis if it is wider."""
    if get_cwidth(text) <= columns:
        return text
    while text and get_cwidth(text) >= columns:
        text = text[:-1]
    return f"{text}…"


class NameCompleter(Completer):
    """Names of those who are here now, rooms, and the commands."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion, None]:
        """Offer what begins with what stands before the cursor; ask who is here."""
        begun, rooms = document.text_before_cursor, self._chat.has_rooms
        if argument := _ARGUMENT.fullmatch(begun):
            command, given = argument.groups()
            for offer in await self._places(command) if rooms or command == "/msg" else ():
                if _begins(offer, given):
                    yield Completion(offer, start_position=-len(given))
            return
        if BAR.search(begun):
            return
        # A server may let people have names that cannot be typed here.
        names = [f"{name}|" for name in await self._chat.names() if can_be_typed(name, rooms=rooms)]
        places = [f"{label(room)}|" for room in self._chat.joined]
        slashed = COMMANDS_IN_ROOMS if rooms else COMMANDS
        if rooms and self._chat.has_account:
            slashed = [*slashed, *COMMANDS_FOR_OPERATORS]
        commands = slashed if begun.startswith("/") else ["who", "help", "quit"]
        for offer in [*names, "*|", *places, *commands]:
            if offer.casefold().startswith(begun.lstrip().casefold()):
                yield Completion(offer, start_position=-len(begun))

    async def _places(self, command: str) -> list[str]:
        """Return what the command may be followed by: users, rooms that one is in, or all rooms."""
        chat = self._chat
        if command in {"/join", "/who"}:
            return [label(room) for room in await chat.rooms()]
        joined = [label(room) for room in chat.joined]
        if command == "/leave":
            return joined
        names = await chat.names()
        if command in {"/find", "/me"}:
            typed = [name for name in names if can_be_typed(name, rooms=chat.has_rooms)]
            return [f"{place}|" for place in [*typed, *joined]]
        quoted = [offer for name in names if (offer := for_msg(name, rooms=chat.has_rooms))]
        if command in COMMANDS_FOR_OPERATORS:
            return [f"{name} " for name in quoted]
        return [f"{place} " for place in [*quoted, *joined]]

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:  # noqa: ARG002
        """Offer nothing without waiting."""
        return []


class _Hidden(Processor):
    """Shows nothing of what is typed, not even how much it is."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:  # noqa: ARG002
        """Called for each line that would be shown."""
        return Transformation([], source_to_display=lambda _: 0, display_to_source=lambda _: 0)


def _begins(offer: str, given: str) -> bool:
    """Whether an offer begins with what was typed, which may lack its `#` and its quotation marks."""
    wanted, place = (text.casefold().replace('"', "") for text in (given, offer))
    return place.startswith(wanted) or place.lstrip("#").startswith(wanted)


def _keys(
    accept: Callable[[], None], begin_line: Callable[[], None], suspend: Callable[[], None]
) -> KeyBindings:
    """Return what some keys do, in the place of what prompt_toolkit lets them do."""
    keys = _insertions(accept, begin_line)
    editing = has_focus(DEFAULT_BUFFER)
    has_text = Condition(lambda: bool(get_app().current_buffer.text))

    @keys.add("enter", filter=editing)
    def _enter(event: KeyPressEvent) -> None:  # noqa: ARG001
        accept()

    @keys.add("c-c", filter=editing & (has_text | has_completions))
    def _drop(event: KeyPressEvent) -> None:
        event.current_buffer.reset(append_to_history=True)

    @keys.add("escape", filter=has_completions, eager=True)
    def _close(event: KeyPressEvent) -> None:
        event.current_buffer.cancel_completion()

    @keys.add("c-u", filter=editing & has_completions)
    def _close_and_drop(event: KeyPressEvent) -> None:
        event.current_buffer.cancel_completion()
        get_by_name("unix-line-discard").call(event)

    if sys.platform != "win32":

        @keys.add("c-z")
        def _suspend(event: KeyPressEvent) -> None:  # noqa: ARG001
            suspend()

    return keys


def _insertions(accept: Callable[[], None], begin_line: Callable[[], None]) -> KeyBindings:
    """Return what becomes of what is typed or pasted."""
    keys = KeyBindings()
    editing = has_focus(DEFAULT_BUFFER)

    @keys.add(Keys.Any, filter=editing)
    def _insert(event: KeyPressEvent) -> None:
        begin_line()
        get_by_name("self-insert").call(event)

    @keys.add(Keys.BracketedPaste, filter=editing)
    def _paste(event: KeyPressEvent) -> None:
        """Take one line, with or without its line break, as if it were typed; keep several in the editor."""
        begin_line()
        pasted = re.sub("\r\n?", "\n", event.data)
        if "\n" in pasted.strip("\n"):
            event.current_buffer.insert_text(pasted.rstrip("\n"))
            return
        event.current_buffer.insert_text(pasted.strip("\n"))
        if pasted.endswith("\n"):
            accept()

    return keys


def _question_keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-d")
    def _leave(event: KeyPressEvent) -> None:
        event.app.exit(exception=EOFError())

    return keys


def _password_keys() -> KeyBindings:
    keys = _question_keys()

    @keys.add("c-r")
    @keys.add("c-s")
    def _search(event: KeyPressEvent) -> None:
        """Search nothing: what is typed would be shown."""

    return keys


def _label(line: str, otherwise: str, *, rooms: bool) -> str:
    """Return what stands before one of several lines."""
    text = "not a command>" if is_no_command(line, rooms=rooms) else otherwise
    return text.rjust(len(PROMPT))


def _output() -> Output:
    output = create_output()
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False
    return output


async def _read(prompt: PromptSession[str], default: str = "") -> str | None:
    try:
        return await prompt.prompt_async(default=default)
    except (EOFError, KeyboardInterrupt):
        return None
