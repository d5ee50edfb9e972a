"""One message per segment, for clients that read one message per `recv()`.

Many a client of the base protocol calls `json.loads(sock.recv(1024))`: two messages that arrive together break
it, and so does one that is longer. Such a client sends without line breaks too. So a session that has never
sent one is *bare*: it is served at a pace that keeps TCP from putting two of its messages into one read, gets
long messages in UTF-8 rather than escaped, and finds its answers ahead of what others say.
"""

from collections import deque
from typing import NamedTuple

from chatroom.protocol.messages import unescaped

PACE = 0.02
"""Seconds between two messages. Beside three busy loops on two cores, 27 of 40 readers that print each of 20
messages got two at once if they were sent 5 ms apart, 8 of 120 if 20 ms apart."""
MAX_WAITING = 64
"""Messages that may wait; if there are more, they go together after all. TCP promised nothing. Those that come
with the welcome do not count: nobody has to hear of them in time."""
ONE_READ = 1024
"""Bytes that many a client reads at a time."""

_PUSHED = b'{"code":"incoming'  # in no content, whose quotation marks are escaped
_FORGOTTEN = b'{"code":"forgotten"'  # an answer, if it has a `ref`
_NOTICES = (_PUSHED, _FORGOTTEN, b'{"code":"presence"', b'{"code":"closing"')


class Piece(NamedTuple):
    """Whole frames, as a bare peer gets them."""

    data: bytes
    messages: int
    is_pushed: bool
    """All of it is what others said."""

    def parts(self) -> list["Piece"]:
        """Return it whole, to be shared, if others said all of it; else its messages."""
        if self.is_pushed:
            return [self]
        frames = self.data.splitlines(keepends=True)
        return [Piece(frame, 1, _is_pushed(frame)) for frame in frames]


def _is_pushed(frame: bytes) -> bool:
    """Whether this message is no answer: it comes behind what was said before it."""
    return frame.startswith(_NOTICES) and not (frame.startswith(_FORGOTTEN) and b'"ref":' in frame)


class Dialect:
    """Frames as bare peers get them; made once for all who are handed the same ones in turn."""

    def __init__(self) -> None:
        self._last = b""
        self._piece = Piece(b"", 0, True)

    def spoken(self, frames: bytes) -> Piece:
        """Return the frames; those that are longer than one read in UTF-8, if they are escaped."""
        if frames is not self._last:
            data = frames
            if len(frames) > ONE_READ and b"\\u" in frames:
                lines = frames.splitlines(keepends=True)
                data = b"".join(unescaped(line) if len(line) > ONE_READ else line for line in lines)
            messages = data.count(b"\n")
            self._last = frames
            self._piece = Piece(data, messages, data.count(_PUSHED) == messages)
        return self._piece


class Pacer:
    """The messages that wait for one bare peer: answers, and behind them what others said.

    A naive client takes what it reads next for the answer to what it asked. What others said stays in the
    pieces in which it came, which all who wait for it share.
    """

    __slots__ = ("_answers", "_begun", "_pushed", "_waiting", "is_timed", "is_waited_for", "most", "next")

    def __init__(self) -> None:
        self._answers: deque[bytes] = deque()
        self._pushed: deque[bytes] = deque()
        self._begun = 0  # where in the first of them the next message begins
        self._waiting = 0
        self.most = MAX_WAITING
        """Messages that may wait: less by one with each that goes, down to `MAX_WAITING`."""
        self.is_timed = False
        """The next message is to be sent at some time."""
        self.next = 0.0
        """When that may be."""
        self.is_waited_for = False
        """The peer has been welcomed, and its first request is awaited: until then nothing is pushed."""

    def __len__(self) -> int:
        """Return how many messages may go."""
        return len(self._answers) if self.is_waited_for else len(self._answers) + self._waiting

    @property
    def answers(self) -> int:
        """How many answers wait."""
        return len(self._answers)

    def put(self, part: Piece, *, is_welcome: bool) -> None:
        """Take a part of what is to be sent; `is_welcome`: of what comes with the welcome."""
        if part.is_pushed:
            self._pushed.append(part.data)
            self._waiting += part.messages
            self.most += part.messages * is_welcome
        else:
            self._answers.append(part.data)

    def take(self) -> tuple[bytes, bytes | None]:
        """Return the next message, and the piece that is not kept any longer."""
        if self._answers:
            answer = self._answers.popleft()
            return answer, answer
        piece = self._pushed[0]
        end = piece.index(b"\n", self._begun) + 1
        message = piece[self._begun : end]
        self._waiting -= 1
        self.most = max(MAX_WAITING, self.most - 1)
        self._begun = end
        if end < len(piece):
            return message, None
        self._begun = 0
        return message, self._pushed.popleft()

    def take_piece(self) -> tuple[bytes, bytes]:
        """Return as much as is kept in one piece, and that piece."""
        if self._answers:
            answer = self._answers.popleft()
            return answer, answer
        piece, begun = self._pushed.popleft(), self._begun
        self._begun = 0
        rest = piece[begun:] if begun else piece
        self._waiting -= rest.count(b"\n")
        self.most = MAX_WAITING
        return rest, piece

    def has_any(self) -> bool:
        """Whether anything waits, be it waited for or not."""
        return bool(self._answers or self._pushed)
