"""Where connections come in, and what all who came share."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from socket import socket

from chatroom.doors.admission import Admission, Verdict
from chatroom.doors.backlog import Backlog
from chatroom.doors.connection import Connection, Wait
from chatroom.doors.deadlines import Deadlines
from chatroom.doors.intake import INPUT
from chatroom.doors.kernel import Kernel
from chatroom.doors.pacing import Dialect
from chatroom.hub.effort import Effort
from chatroom.hub.hub import Hub
from chatroom.hub.ports import Observer
from chatroom.hub.refusal import Refusal
from chatroom.protocol.limits import Limits
from chatroom.protocol.messages import ErrorCode

FULL_LOG_INTERVAL = 60.0
"""Seconds between two log lines that say that the server is full."""

LOOKS = 6
"""Times in one `stall_timeout` that somebody looks whether a peer takes what it is sent."""
AT_A_TIME = 500
"""Peers that are looked at in a turn of the event loop: some half a millisecond."""

_REFUSALS = {
    Verdict.WELCOME: None,
    Verdict.FULL: Refusal(
        ErrorCode.SERVER_FULL, "the server is full, come back later", retry_after=10.0, is_final=True
    ),
    Verdict.CROWDED: Refusal(
        ErrorCode.SLOW_DOWN,
        "there are too many connections from your address, come back later",
        retry_after=10.0,
        is_final=True,
    ),
}


class Door:
    """A protocol factory for the event loop, and all who came."""

    def __init__(
        self,
        hub: Hub,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        observer: Observer,
        *,
        max_connections: int,
        kernel: Callable[[socket | None, Limits], Kernel] = Kernel,
    ) -> None:
        """`kernel`: what knows of a connection's socket."""
        self.hub = hub
        self.limits = limits
        self.loop = loop
        self.observer = observer
        self.kernel = kernel
        self.admission = Admission(limits, max_connections, loop)
        self.backlog = Backlog(limits.max_backlogs, limits.max_backlog)
        self.dialect = Dialect()
        self.effort = Effort(loop)
        self.buffer = memoryview(bytearray(INPUT))
        """Where all connections read to, one at a time."""
        self.strange = self.buffer[: limits.stranger_in + 1]
        """The same, of the length that a stranger's first bytes may have."""
        self.connections: set[Connection] = set()
        self.deadlines: Deadlines[tuple[Connection, Wait]] = Deadlines(loop, lambda key: key[0].missed(key[1]))
        self.all_gone = asyncio.Event()
        """Set whenever the last connection ends."""
        self.interval = max(0.5, limits.stall_timeout / LOOKS)
        """Seconds between two looks whether a peer takes what it is sent."""
        self._full_noted = float("-inf")
        self._is_looking = False

    def __call__(self) -> Connection:
        """Let one in."""
        return Connection(self)

    def enter(self, host: str, peer: str) -> Verdict:
        """Count a new connection, and say whether it may stay; the log hears of it if not."""
        verdict = self.admission.enter(host)
        if verdict is Verdict.FULL and self.loop.time() - self._full_noted >= FULL_LOG_INTERVAL:
            self._full_noted = self.loop.time()
            self.observer.note(f"full: {self.admission.connections} connections; more are turned away")
        elif verdict in {Verdict.CROWDED, Verdict.CLOSE}:
            self.observer.turned_away(peer, "too many connections")
        return verdict

    def add(self, connection: Connection) -> None:
        """Look at this connection now and then, as long as it is here."""
        self.connections.add(connection)
        if not self._is_looking:
            self._is_looking = True
            self.loop.call_later(self.interval, self._look)

    def refusal(self, verdict: Verdict) -> Refusal | None:
        """Return what somebody with this verdict is told."""
        return _REFUSALS[verdict]

    def close(self) -> None:
        """End every connection in good order."""
        for connection in list(self.connections):
            connection.leave("draining")

    def hurry(self) -> None:
        """Have those that wait for the store wait no longer; they are told that they end."""
        self.hub.delivery.is_patient = False
        for connection in list(self.connections):
            connection.hurry()

    def abort(self) -> None:
        """End every connection now."""
        for connection in list(self.connections):
            connection.give_up("draining")

    def _look(self) -> None:
        """Look at every connection, some in each turn."""
        self._look_at(iter(list(self.connections)))

    def _look_at(self, connections: Iterator[Connection]) -> None:
        some = list(islice(connections, AT_A_TIME))
        for connection in some:
            try:
                connection.look()
            except Exception as bug:  # noqa: BLE001 - it is logged there
                connection.fail(bug)
        if some:
            self.loop.call_soon(self._look_at, connections)
            return
        self._is_looking = bool(self.connections)
        if self._is_looking:
            self.loop.call_later(self.interval, self._look)
