"""How long one peer keeps another waiting: the worst inputs that we know, beside ordinary messages.

A bystander pings without a pause while a peer sends 64 KiB. What counts is its longest ping, beside the longest
while the same number of bytes of ordinary messages comes in.
"""

import contextlib
import json
import socket
import struct
import time
from statistics import median
from typing import Any, Self

from msgspec import Struct

from chatroom.bench.cost import Meter
from chatroom.bench.target import Progress, Target
from chatroom.bench.wire import BenchError

SIZE = 64 * 1024
"""Bytes of an input."""
EXEMPT = "127.0.0.2"
"""The address of those who are free of the limits on floods."""
ORDINARY = "127.0.0.1"
"""The address of those who are not."""
OPTIONS = [
    word
    for limit in (f"exempt={EXEMPT}/32", "rate_per_address=1000000", "max_per_address=10000")
    for word in ("--limit", limit)
]
"""What the server must be started with. How often one may connect is not what is measured."""
RATIO, UNNOTICED = 2.0, 5.0
"""A bystander should wait twice as long as for ordinary messages at most, or 5 ms."""
CROWD = 300
"""Members of the large room."""

_WINDOW = 0.05
"""Seconds for which the bystander pings, after its peer has sent all."""
_CALM = 0.001
"""Seconds of the server's processor time for a ping when it has nothing else to do, or little."""
_STEP = 0.09
"""Seconds that an input takes, with the rest before it."""
_PATIENCE = 60.0
_PONG = b'{"code":"pong"}\n'


class Input(Struct, frozen=True):
    """Bytes that may keep others waiting, and who sends them."""

    name: str
    data: bytes
    sender: str
    """`stranger`, `member`, or `exempt`: a member for whom the limits on floods do not hold."""
    is_for_crowd: bool = False
    """Whether the room is large."""


class Stall(Struct):
    """What one input did, in medians of the rounds, beside as many bytes of ordinary messages."""

    input: str
    sender: str
    longest_ms: float
    """Of the bystander's longest ping."""
    ordinary_ms: float
    longest_cpu_ms: float
    """Processor time that the server used during its most expensive ping."""
    ordinary_cpu_ms: float
    others_load: float
    """The part of all processors that other processes used, while all inputs to this room were sent."""

    @property
    def is_bounded(self) -> bool:
        """Whether it is where we want it."""
        return self.longest_ms <= max(RATIO * self.ordinary_ms, UNNOTICED)


def inputs() -> list[Input]:
    """Return the worst inputs, from everybody who may send them."""
    marks = "\u0316\u0301" * (SIZE // 4 - 32)  # two bytes each, of classes that normalisation has to sort
    hello = _line(code="hello", name="a" + marks)
    found = [Input("hello, its name alternating marks", hello, "stranger")]
    for name, data in _texts().items():
        found += [Input(name, data, sender) for sender in ("stranger", "member", "exempt")]
    for name, data in _requests(marks).items():
        found += [Input(name, data, sender) for sender in ("member", "exempt")]
    who = _fill(_line(code="who"))
    return [
        *found,
        *(Input(f"who in a room of {CROWD}", who, one, is_for_crowd=True) for one in ("member", "exempt")),
    ]


def _texts() -> dict[str, bytes]:
    """Return what anybody may send."""
    faults = b"]\n" * 19 + _line(code="pong")
    nested = b'{"code":"ping","x":' + b"[" * 30 + b"]" * 30 + b"}\n"
    exotic = [_line(code="hello", name=name) for name in _exotic_names()]
    broadcast = _line(code="outgoing_broadcast", content="x" * 100)
    return {
        "{}": b"{}" * (SIZE // 2),
        "{} on lines": b"{}\n" * (SIZE // 3),
        "{": b"{" * SIZE,
        "hello, its name taken and exotic": _fill(_line(code="hello", name=_TAKEN)),
        "hello, its names exotic": _cut(exotic),
        "unknown fields": _fill(b'{"code":"ping","x":1}\n'),
        "one object of unknown fields": b'{"code":"ping"%b}\n'
        % b"".join(b',"%d":0' % number for number in range(10_000, 10_000 + SIZE // 10 - 2)),
        "19 faults and a pong": _fill(faults),
        "nested": _fill(nested),
        "nested too deeply": b'{"code":"ping","x":' + b"[" * (SIZE - 19),
        "objects within one another": b'{"a":' * (SIZE // 5),
        "backslashes": _fill(b'{"code":"outgoing_broadcast","content":"%b"}\n' % (b"\\\\" * 500)),
        "one string of backslashes": b'{"code":"outgoing_broadcast","content":"%b"}\n' % (b"\\" * (SIZE - 50)),
        "escapes": _fill(b'{"code":"outgoing_broadcast","content":"%b"}\n' % (b"\\u00e9" * 160)),
        "garbage": b"x" * SIZE,
        "garbage on lines": b"x\n" * (SIZE // 2),
        "line breaks in strings": b'{"a":"\n' * (SIZE // 7),
        "white space": b" \n" * (SIZE // 2),
        "a burst, its last line broken": _fill(broadcast)[: -len(broadcast)] + broadcast[:-3] + b"]\n",
        "bursts, each one's last line broken": _fill(broadcast * 3 + broadcast[:-3] + b"\n"),
        "invalid UTF-8": _fill(b'{"code":"outgoing_broadcast","content":"\xff"}\n'),
        "ping": _fill(_line(code="ping")),
    }


def _requests(marks: str) -> dict[str, bytes]:
    """Return what only a member may ask."""
    unknown = [_line(code="outgoing", to=name, content="") for name in _exotic_names()]
    return {
        "outgoing to alternating marks": _line(code="outgoing", to="a" + marks, content=""),
        "outgoing to unknown, exotic names": _cut(unknown),
        "outgoing to somebody taken for another": _fill(_line(code="outgoing", to=_TAKEN, content="")),
    }


_EXOTIC = "ǅﬃΐ각ß"
"""Characters whose folding and normalisation takes longer than that of most."""
_TAKEN = _EXOTIC * 6


def _exotic_names() -> list[str]:
    """Return different names of this kind, so many that a request for each fits."""
    return [f"{number:03d}{_EXOTIC * 5}" for number in range(SIZE // 80)]


def _line(**request: Any) -> bytes:
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _cut(lines: list[bytes]) -> bytes:
    """Return as many of these lines as fit."""
    return b"".join(lines)[:SIZE].rpartition(b"\n")[0] + b"\n"


def _fill(unit: bytes) -> bytes:
    """Repeat it, as often as it fits."""
    return unit * (SIZE // len(unit))


class Room:
    """Members who are silent, and one who pings."""

    def __init__(self, address: tuple[str, int], process: int, members: int) -> None:
        """`process`: the server's, whose processor time is read beside the clock. Raises `BenchError`."""
        self._address = address
        self._clock = ~process << 3 | 2  # clock_getcpuclockid(3)
        self._peers = 0
        self._ends = contextlib.ExitStack()
        with contextlib.ExitStack() as ends:
            names = [_TAKEN, *(f"reader{number}" for number in range(members - 2))]
            self._readers = [ends.enter_context(_joined(address, EXEMPT, name)) for name in names]
            self._bystander = ends.enter_context(_joined(address, EXEMPT, "bystander"))
            self._ends = ends.pop_all()
        for reader in self._readers:
            reader.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ends.close()

    def longest_ping(self, data: bytes, sender: str) -> tuple[float, float]:
        """Have a peer send this; return the milliseconds of the longest ping, and of the most expensive one.

        The first passed on the clock, the second are processor time that the server used.
        """
        self._rest()
        self._peers += 1
        host, name = (EXEMPT if sender == "exempt" else ORDINARY), f"peer{self._peers}"
        with _joined(self._address, host, None if sender == "stranger" else name) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SIZE)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.setblocking(False)
            longest = dearest = 0.0
            end = time.perf_counter() + _WINDOW  # not longer: a peer that is not read keeps nobody waiting
            while time.perf_counter() < end:
                with contextlib.suppress(OSError):  # it is not read, or was closed
                    data = data[peer.send(data) :] if data else data
                waited, used = self._ping()
                longest, dearest = max(longest, waited), max(dearest, used)
        return longest * 1000, dearest * 1000

    def _rest(self) -> None:
        """Wait until the server has done what came before, and the readers have read it."""
        deadline = time.monotonic() + _PATIENCE
        quick = 0
        while quick < 5:
            if time.monotonic() > deadline:
                raise BenchError("the server does not come to rest")
            quick = quick + 1 if self._ping()[1] < _CALM else 0
            for reader in self._readers:
                with contextlib.suppress(BlockingIOError):
                    while reader.recv(1 << 20):
                        pass

    def _ping(self) -> tuple[float, float]:
        start, used = time.perf_counter(), time.clock_gettime(self._clock)
        data = b""
        try:
            self._bystander.sendall(b'{"code":"ping"}\n')
            while _PONG not in data:
                news = self._bystander.recv(1 << 20)
                if not news:
                    raise BenchError("the server closed the bystander's connection")
                data = data[-len(_PONG) :] + news
        except OSError as error:
            raise BenchError(f"the bystander's connection was lost: {error}") from error
        return time.perf_counter() - start, time.clock_gettime(self._clock) - used


def duration(rounds: int) -> float:
    """Return about how many seconds so many rounds take."""
    return rounds * (len(inputs()) + 2) * _STEP


def stall(target: Target, *, rounds: int, progress: Progress) -> list[Stall]:
    """Send each input once a round to a server that was started with `OPTIONS`; return what each did."""
    found = []
    every = inputs()
    done, steps = 0, rounds * (len(every) + 2)
    for is_for_crowd in False, True:
        tried = [one for one in every if one.is_for_crowd == is_for_crowd]
        figures: list[list[tuple[float, float]]] = [[] for _ in range(len(tried) + 1)]
        with Room(target.address, target.process, CROWD if is_for_crowd else 3) as room:
            meter = Meter(target.process)
            for _ in range(rounds):
                for one, pings in zip([_ORDINARY, *tried], figures, strict=True):
                    pings.append(room.longest_ping(one.data, one.sender))
                    done += 1
                    progress(done / steps)
            others = meter.stop().others
        (plain, plain_cpu), *each = (
            [median(column) for column in zip(*pings, strict=True)] for pings in figures
        )
        found += [
            Stall(
                input=one.name,
                sender=one.sender,
                longest_ms=longest,
                ordinary_ms=plain,
                longest_cpu_ms=cpu,
                ordinary_cpu_ms=plain_cpu,
                others_load=others,
            )
            for one, (longest, cpu) in zip(tried, each, strict=True)
        ]
    return found


def _joined(address: tuple[str, int], host: str, name: str | None) -> socket.socket:
    """Connect from this address, and be welcome, if there is a name. Raises `BenchError`."""
    try:
        connection = socket.create_connection(address, _PATIENCE, source_address=(host, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if name is not None:
            connection.sendall(_line(code="hello", name=name))
            answer = connection.recv(4096)
            if b'"welcome"' not in answer:
                connection.close()
                raise BenchError(f"the server refused: {answer.decode(errors='replace').strip()}")
    except OSError as error:
        raise BenchError(f"{address[0]}:{address[1]} cannot be reached: {error}") from error
    return connection


_ORDINARY = Input("ordinary messages", _fill(_line(code="outgoing_broadcast", content="x" * 100)), "exempt")
