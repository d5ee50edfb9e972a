"""Fakes for time and for the network: a whole chat in one process, without a clock or a socket."""

import asyncio
import heapq
import itertools
import json
from bisect import insort
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Any, ClassVar, cast

from chatroom.doors.connection import Connection
from chatroom.doors.door import Door
from chatroom.doors.kernel import Kernel
from chatroom.hub.entries import Post, Said, Told, decode, encode
from chatroom.hub.hub import Hub
from chatroom.hub.past import Line, Past
from chatroom.hub.ports import AHEAD, Known, KnownAccount, KnownBan, Order, Restored, Store
from chatroom.hub.reading import Page, Query, Stored, in_memory
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import ErrorReply


class FakeTimer:
    """A call that is to come, unless it is cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    def cancel(self) -> None:
        self.callback = lambda: None


class FakeLoop:
    """An event loop whose time passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.settle: Callable[[], None] = lambda: None
        """Waits until other threads have done what they were asked for."""
        self._soon: list[Callable[[], None]] = []
        self._later: list[tuple[float, int, FakeTimer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    @property
    def is_idle(self) -> bool:
        return not self._soon

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._soon.append(lambda: callback(*arguments))

    def call_soon_threadsafe(self, callback: Callable[..., None], *arguments: Any) -> None:
        self.call_soon(callback, *arguments)

    def call_later(self, delay: float, callback: Callable[[], None]) -> "FakeTimer":
        timer = FakeTimer(callback)
        heapq.heappush(self._later, (self.now + delay, next(self._numbers), timer))
        return timer

    def turn(self) -> None:
        """Do all that was to be done soon."""
        while True:
            while self._soon:
                soon, self._soon = self._soon, []
                for callback in soon:
                    callback()
            self.settle()
            if not self._soon:
                return

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do what falls due in it."""
        self.turn()
        end = self.now + seconds
        while self._later and self._later[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._later)
            timer.callback()
            self.turn()
        self.now = end


class FakeTransport:
    """One connection's far end: what was written to it, and whether it reads."""

    HIGH_WATER = 64 * 1024

    def __init__(self, loop: FakeLoop, peer: tuple[str, int]) -> None:
        self.loop = loop
        self.peer = peer
        self.own = peer[0] if peer[0] in {"127.0.0.1", "::1"} else "198.51.100.1"
        """The server's address."""
        self.protocol: Connection | None = None
        self.segments: list[bytes] = []
        self.is_reading = True
        self.waiting: list[bytes] = []
        self.is_paused = False
        self.eof_written = False
        self.is_gone = False
        self.ends_when_read = False
        self.is_read = True
        self.unread = b""
        """What the far end has sent that the server has not read."""

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        if not self.is_read:
            self.is_read = True
            self.loop.call_soon(self.deliver)

    def deliver(self) -> None:
        """Let the server read what it will, a buffer at a time."""
        while self.unread and self.is_read and not self.is_gone and self.protocol is not None:
            buffer = self.protocol.get_buffer(-1)
            size = min(len(buffer), len(self.unread))
            buffer[:size], self.unread = self.unread[:size], self.unread[size:]
            self.protocol.buffer_updated(size)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": self.peer, "sockname": (self.own, 7777), "socket": self}.get(name, default)

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        if self.is_gone:
            raise RuntimeError("the handler is closed")  # as uvloop does
        assert not self.eof_written, "written behind the end of file"
        if self.is_reading:
            self.segments.append(data)
            return
        self.waiting.append(data)
        if self.get_write_buffer_size() > self.HIGH_WATER and not self.is_paused:
            self.is_paused = True
            if self.protocol:
                self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.waiting))

    def read_on(self) -> None:
        """Let the far end read again, and take all that waits."""
        self.is_reading = True
        self.segments += self.waiting
        self.waiting.clear()
        if self.is_paused:
            self.is_paused = False
            if self.protocol:
                self.protocol.resume_writing()
        if self.ends_when_read:
            self.vanish(None)

    def read_some(self, size: int) -> None:
        """Let the far end read a little of what waits."""
        if self.waiting:
            self.segments.append(self.waiting[0][:size])
            self.waiting[0] = self.waiting[0][size:]

    def is_closing(self) -> bool:
        return self.is_gone or self.ends_when_read

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self.is_gone:
            raise RuntimeError("the handler is closed")
        self.eof_written = True

    def close(self) -> None:
        if self.waiting:
            self.ends_when_read = True
        else:
            self.vanish(None)

    def abort(self) -> None:
        self.vanish(None)

    def vanish(self, error: Exception | None) -> None:
        """End the connection; the protocol hears of it in the next turn."""
        if not self.is_gone:
            self.is_gone = True
            if self.protocol:
                self.loop.call_soon(self.protocol.connection_lost, error)


class FakeKernel(Kernel):
    """What it would know of the far end."""

    def __init__(self, connected: Any, limits: Limits) -> None:
        self.transport: FakeTransport = connected
        self._limits = limits
        self.acknowledged = 0
        self.delays = False
        self.is_silent = False

    def acknowledge(self) -> None:
        self.acknowledged += 1

    def delay_acknowledgements(self) -> None:
        self.delays = True

    def forget(self) -> None:
        pass

    def drain(self, most: int) -> bytes:
        data, self.transport.unread = self.transport.unread[:most], b""
        return data

    def unread(self) -> int:
        return len(self.transport.unread)

    def unacknowledged(self) -> int:
        return 0

    def taken(self) -> int | None:
        return None

    def unanswered(self) -> float:
        return 3600.0 if self.is_silent else 0.0


class FakeObserver:
    """Counts."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def joined(self, name: str, peer: str) -> None:
        self.lines.append(f"joined {name}")

    def left(self, name: str, peer: str, reason: str) -> None:
        self.lines.append(f"left {name} {reason}")

    def refused(self, name: str | None, peer: str, error: ErrorReply) -> None:
        self.lines.append(f"refused {error.error}")

    def decided(self, what: str, name: str, by: str | None) -> None:
        self.lines.append(f"decided {what} {name} {by}")

    def note(self, text: str) -> None:
        self.lines.append(text)

    def turned_away(self, peer: str, reason: str) -> None:
        self.lines.append(f"turned away {peer} {reason}")


class FakeHasher:
    """Hashes soon; or, if it is held, when it is told to; and fails when it is told to."""

    def __init__(self, loop: FakeLoop) -> None:
        self.is_held = self.fails = False
        self.hashes = 0
        """How many were made."""
        self._loop = loop
        self._asked: deque[Callable[[], None]] = deque()

    def hash(self, password: str, then: Callable[[str | None], None]) -> None:
        self._ask(lambda: then(None if self.fails else self.hashed(password)))

    def verify(self, hashed: str, password: str, then: Callable[[bool | None], None]) -> None:
        self._ask(lambda: then(None if self.fails else hashed == self.hashed(password)))

    @staticmethod
    def hashed(password: str) -> str:
        return f"$fake${sha256(password.encode()).hexdigest()}"

    def work(self, most: int = 1_000_000) -> None:
        """Do so much of what was asked for."""
        while self._asked and most > 0:
            most -= 1
            self.hashes += 1
            self._asked.popleft()()

    def _ask(self, work: Callable[[], None]) -> None:
        assert not self._asked, "one at a time"
        self._asked.append(work)
        if not self.is_held:
            self._loop.call_soon(self.work)


class FakeStore:
    """A disk that does what was asked for when it is told to, in order; and fails when it is told to."""

    def __init__(self) -> None:
        self.past = Past(0)
        """What is on the disk."""
        self.mark = 0
        self.known: dict[int, Known] = {}
        self.accounts: dict[int, KnownAccount] = {}
        self.erased: list[int] = []
        self.bans: dict[tuple[str, str], KnownBan] = {}
        self._asked: deque[Callable[[bool], None]] = deque()

    def work(self, most: int = 1_000_000, *, is_full: bool = False) -> None:
        """Do so much of what was asked for."""
        for _ in range(min(most, len(self._asked))):
            self._asked.popleft()(not is_full)

    def has(self, number: int) -> bool:
        return self._find(number) is not None

    def restore(self, now: int) -> Restored:
        self.mark = now + AHEAD
        return Restored(
            now,
            self.mark,
            {},
            (now, ()),
            list(self.known.values()),
            list(self.accounts.values()),
            list(self.bans.values()),
            now,
        )

    def raise_mark(self, mark: int, then: Callable[[bool], None]) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.mark = mark
            then(is_done)

        self._asked.append(work)

    def keep(self, post: Said | Told, then: Callable[[bool], None] | None, device: int | None = None) -> None:
        assert post.number < self.mark, "a number that may be given out again"
        data = encode(post)

        def work(is_done: bool) -> None:
            if is_done:
                kept = decode(data)
                if isinstance(kept, Told):
                    insort(self.past.direct, kept, key=_number)
                elif isinstance(kept, Said):
                    line = self.past.rooms.setdefault(kept.room, Line(0))
                    insort(line, kept, key=_number)
            if then is not None:
                then(is_done)

        self._asked.append(work)

    def know(self, session: Known) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.known[session.number] = session

        self._asked.append(work)

    def end(self, number: int) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.known.pop(number, None)

        self._asked.append(work)

    def know_account(self, account: KnownAccount, then: Callable[[bool], None] | None = None) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.accounts[account.number] = account
            if then is not None:
                then(is_done)

        self._asked.append(work)

    def remove_account(self, number: int) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.accounts.pop(number, None)

        self._asked.append(work)

    def know_ban(self, ban: KnownBan, then: Callable[[bool], None] | None = None) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.bans[ban.kind, ban.name] = ban
            if then is not None:
                then(is_done)

        self._asked.append(work)

    def lift(self, kind: str, name: str, then: Callable[[bool], None] | None = None) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.bans.pop((kind, name), None)
            if then is not None:
                then(is_done)

        self._asked.append(work)

    def take_orders(self, do: Callable[[Order], str]) -> None:
        raise NotImplementedError

    def erase(self, number: int, then: Callable[[bool], None]) -> None:
        def work(is_done: bool) -> None:
            if is_done:
                self.erased.append(number)
                self.past.erase(number)
            then(is_done)

        self._asked.append(work)

    def fill(self, page: Page, query: Query, then: Callable[[], None]) -> None:
        def work(is_done: bool) -> None:
            page.take(in_memory(self.past, query))
            then()

        self._asked.append(work)

    def find(self, number: int, then: Callable[[Stored | None, bool], None]) -> None:
        def work(is_done: bool) -> None:
            post = self._find(number)
            if isinstance(post, Told):
                then(Stored(number, post.time, b"", post.to, post.session, None, post.receiver), False)
            elif post is None:
                then(None, False)
            else:
                then(Stored(number, post.time, b"", None, post.session, post.room), False)

        self._asked.append(work)

    def forget(self, number: int, then: Callable[[bool], None]) -> None:
        def work(is_done: bool) -> None:
            if is_done and (post := self._find(number)):
                post.forget(number)
            then(is_done)

        self._asked.append(work)

    def _find(self, number: int) -> Said | Told | None:
        places = (None, *self.past.rooms)
        return next((post for place in places if (post := self.past.find(number, place))), None)


def _number(post: Post) -> int:
    return post.number


class FakeChat:
    """A hub and its TCP door on a fake loop."""

    store: ClassVar[Callable[["FakeChat"], Store] | None] = None
    """Makes a store for each, if there is to be one."""
    secrets = itertools.count(1)

    def __init__(
        self,
        hub: type[Hub] = Hub,
        store: Store | Callable[["FakeChat"], Store] | None = None,
        *,
        now: float = 1000.0,
        **limits: Any,
    ) -> None:
        """`now`: the time; `store`: one, or what makes it."""
        self.loop = FakeLoop()
        self.loop.now = now
        make_store = store or FakeChat.store
        self.late = 0.0
        """By how many seconds the clock is wrong."""
        self.observer = FakeObserver()
        self.hasher = FakeHasher(self.loop)
        self.limits = settings = Limits(**limits)
        self.hub = hub(
            limits=settings,
            clock=lambda: self.loop.now - self.late,
            timing=self.loop,
            observer=self.observer,
            secret=lambda: f"secret {next(self.secrets)}",
            store=make_store(self) if callable(make_store) else make_store,
            hasher=self.hasher,
        )
        self.door = Door(
            self.hub,
            settings,
            cast("asyncio.AbstractEventLoop", self.loop),
            self.observer,
            max_connections=settings.max_connections or 1_000_000,
            kernel=FakeKernel,
        )

    def connect(self, host: str = "127.0.0.1") -> "FakeClient":
        return FakeClient(self, host)

    def join(self, name: str, host: str = "127.0.0.1") -> "FakeClient":
        """Connect somebody who speaks in lines, and is welcome."""
        client = self.connect(host)
        client.ask(code="hello", name=name)
        self.loop.turn()
        assert client.take() == [{"code": "welcome"}]
        return client


class FakeClient:
    """One who knows only the brief."""

    def __init__(self, chat: FakeChat, host: str) -> None:
        self.loop = chat.loop
        self.transport = FakeTransport(chat.loop, (host, 5000))
        self.connection = chat.door()
        self.transport.protocol = self.connection
        self.connection.connection_made(cast("asyncio.Transport", self.transport))

    def send(self, data: bytes) -> None:
        self.transport.unread += data
        self.transport.deliver()

    def ask(self, **request: Any) -> None:
        self.send(json.dumps(request).encode() + b"\n")

    def ask_bare(self, **request: Any) -> None:
        self.send(json.dumps(request).encode())

    def take(self) -> list[dict[str, Any]]:
        """Return what has arrived since the last time."""
        received = b"".join(self.transport.segments)
        self.transport.segments.clear()
        return [json.loads(line) for line in received.splitlines()]
