"""A resize leaves no fragments: the prompt is erased where the terminal has moved it, and drawn once."""

import asyncio
import os

from prompt_toolkit import PromptSession
from prompt_toolkit.layout.screen import Screen

QUIET = 0.35
"""Seconds without another resize until the prompt is drawn: a window that is dragged has many sizes. tmux
tells of the next one only 0.25 seconds after the one before; until then what the system says is wrong."""


class Resizing:
    """What an editor does about resizes, in the place of what prompt_toolkit does.

    Where the prompt begins is found by counting the rows above the cursor. When a window becomes narrower, most
    terminals break a row that is too wide in two, and join the parts again later; xterm and GNU screen cut it
    off. None tells which it has done, so those two are known by their environment variables.
    """

    def __init__(self, prompt: PromptSession[str]) -> None:
        self._app = app = prompt.app
        self._timer: asyncio.TimerHandle | None = None
        self._redraw = app._redraw  # noqa: SLF001 - it has no other hooks
        app._redraw = self._redraw_unless_resizing  # type: ignore[method-assign]  # noqa: SLF001
        app._on_resize = self._resized  # type: ignore[method-assign]  # noqa: SLF001

    @property
    def is_going_on(self) -> bool:
        """Whether the size has changed, and the prompt has not been drawn since."""
        return self._timer is not None

    def erase(self) -> None:
        """Take the prompt off the screen, and put the cursor where it began."""
        renderer, output = self._app.renderer, self._app.output
        screen, columns = renderer.last_rendered_screen, output.get_size().columns
        if screen is None:
            return
        cursor = renderer._cursor_pos  # noqa: SLF001 - this is not told otherwise
        if _breaks_rows():
            above = sum(_rows(screen, y, columns) for y in range(cursor.y)) + cursor.x // columns
            total = sum(_rows(screen, y, columns) for y in range(screen.height))
        else:
            above, total = cursor.y, screen.height
        output.cursor_backward(columns)
        output.cursor_up(above)
        output.erase_end_of_line()
        if total > 1:  # tmux adds to its scrollback what is erased from the first row of the screen on
            output.cursor_down(1)
            output.erase_down()
            output.cursor_up(1)
        output.reset_attributes()
        output.enable_autowrap()
        renderer.reset()

    def _resized(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(QUIET, self._settle)

    def _settle(self) -> None:
        self._take_away()
        self._redraw()

    def _redraw_unless_resizing(self, render_as_done: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is called
        if render_as_done:  # it begins with erasing what is there, in a way that tmux adds to its scrollback
            self._take_away()
        if self._timer is None:
            self._redraw(render_as_done)

    def _take_away(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.erase()


def _breaks_rows() -> bool:
    return "TMUX" in os.environ or not os.environ.keys() & {"XTERM_VERSION", "STY"}


def _rows(screen: Screen, y: int, columns: int) -> int:
    """Return how many rows this wide a row of the screen takes."""
    row = screen.data_buffer[y]
    rows, column = 1, 0
    for x in range(max((x for x, cell in row.items() if cell.char != " "), default=-1) + 1):
        width = row[x].width if x in row else 1
        if column + width > columns:
            rows, column = rows + 1, 0
        column += width
    return rows
