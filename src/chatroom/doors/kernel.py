"""What the operating system knows of a TCP connection, and what it is asked to look after.

Linux tells all of it. Elsewhere what is not known counts as nothing: then nobody is a flood, and nobody is
dead before the event loop says so.
"""

import contextlib
import ctypes
import math
import os
import socket
import struct
import sys
from dataclasses import dataclass

from chatroom.protocol.limits import Limits

if sys.platform != "win32":
    from fcntl import ioctl
    from termios import FIONREAD, TIOCOUTQ

_setsockopt = ctypes.CDLL(None).setsockopt if hasattr(socket, "TCP_QUICKACK") else None
"""Python's own, of a socket of uvloop, makes another socket first, which takes ten times as long."""
_INT = ctypes.c_uint(ctypes.sizeof(ctypes.c_int))
_ON, _OFF = ctypes.byref(ctypes.c_int(1)), ctypes.byref(ctypes.c_int(0))
_CLOSED = 7
"""TCP_CLOSE, a state of `tcp_info`: reset by the peer, or given up."""
_INFO = struct.Struct("=8B24I3Q")
"""The beginning of `struct tcp_info` since Linux 4.1."""


@dataclass(frozen=True)
class TcpInfo:
    """What of Linux's `tcp_info` tells whether the peer is still there; times in seconds."""

    state: int
    retransmits: int
    """How often the oldest data was sent again since the last acknowledgement."""
    probes: int
    """Keepalive or window probes that are not answered."""
    timeout: float
    """Until the oldest data is sent again; it doubles each time (RFC 6298, 5.5)."""
    since_sent: float
    since_acknowledged: float
    taken: int = 0
    """Bytes that have been acknowledged, in all."""

    def unanswered(self, keepalive_idle: float) -> float:
        """Return for how many seconds, at least, data and probes have gone unanswered."""
        if self.retransmits:
            waited = self.timeout * (1 - 0.5**self.retransmits) + self.since_sent
            return min(waited, self.since_acknowledged)
        if self.probes > 1:  # the answer to one may be on its way
            return self.since_acknowledged - keepalive_idle
        return 0.0


class Kernel:
    """One connection's socket, as far as it is asked."""

    __slots__ = ("_inode", "_limits", "_socket")

    def __init__(self, connected: socket.socket | None, limits: Limits) -> None:
        self._socket = connected
        self._inode = 0 if connected is None else os.fstat(connected.fileno()).st_ino
        self._limits = limits

    def forget(self) -> None:
        """The socket is closed; its number may soon be another's."""
        self._socket = None

    def drain(self, most: int) -> bytes:
        """Return what has come in that nobody has read.

        Linux lets it be read even after a reset, until the socket closes, which event loops do behind
        `connection_lost`. A number that is another's already is left alone.
        """
        pieces: list[bytes] = []
        with contextlib.suppress(OSError, ValueError):
            number = -1 if self._socket is None else self._socket.fileno()
            while os.fstat(number).st_ino == self._inode and most > 0 and (piece := os.read(number, most)):
                pieces.append(piece)
                most -= len(piece)
        return b"".join(pieces)

    def acknowledge(self) -> None:
        """Acknowledge what has been read, now; and from now on, each time that all has been read.

        Linux waits up to 40 ms for an answer to send along (RFC 9293, 3.8.6.3) as soon as one was. That long
        the peer's Nagle algorithm (RFC 9293, 3.7.4) keeps its next message, which a `close()` with something
        unread throws away.
        """
        self._set_quickack(_ON)

    def delay_acknowledgements(self) -> None:
        """From now on, wait for an answer to send along: a segment for each read costs as much as the read."""
        self._set_quickack(_OFF)

    def _set_quickack(self, value: object) -> None:
        if self._socket is not None and _setsockopt is not None:
            _setsockopt(self._socket.fileno(), socket.IPPROTO_TCP, socket.TCP_QUICKACK, value, _INT)

    def unread(self) -> int:
        """Return how many bytes have come in that nobody has read."""
        return 0 if sys.platform == "win32" else self._count(FIONREAD)

    def unacknowledged(self) -> int:
        """Return how many bytes have been given to the socket that the peer's system has not acknowledged."""
        return 0 if sys.platform == "win32" else self._count(TIOCOUTQ)

    def taken(self) -> int | None:
        """Return how many bytes the peer's system has acknowledged in all; None: that is not known."""
        info = self._info()
        return None if info is None else info.taken

    def unanswered(self) -> float:
        """Return for how many seconds the peer has answered nothing; infinite if its end is known."""
        info = self._info()
        if info is None:
            return 0.0
        return math.inf if info.state == _CLOSED else info.unanswered(self._limits.keepalive_idle)

    def is_dead(self) -> bool:
        """Whether the peer is gone: reset, timed out, or silent for `user_timeout` to all that it was sent."""
        return self.unanswered() >= self._limits.user_timeout

    def _info(self) -> TcpInfo | None:
        """Return what the system tells of the connection, if it does."""
        if self._socket is None or not hasattr(socket, "TCP_INFO"):
            return None
        try:
            raw = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        except OSError:  # it has just been closed
            return TcpInfo(_CLOSED, 0, 0, 0.0, 0.0, 0.0)
        return _parsed(raw) if len(raw) == _INFO.size else None

    def _count(self, request: int) -> int:
        if self._socket is None or sys.platform == "win32":
            return 0
        try:
            return int(struct.unpack("i", ioctl(self._socket.fileno(), request, b"\0\0\0\0"))[0])
        except (OSError, ValueError):  # it has just been closed
            return 0


def _parsed(raw: bytes) -> TcpInfo:
    state, _, retransmits, probes, *_ = values = _INFO.unpack(raw)
    rto, since_sent, since_acknowledged = values[8], values[17], values[20]
    since_sent, since_acknowledged = since_sent / 1e3, since_acknowledged / 1e3
    return TcpInfo(state, retransmits, probes, rto / 1e6, since_sent, since_acknowledged, values[34])


def keep_alive(listening: socket.socket, limits: Limits) -> None:
    """Have the connections that this socket accepts notice when an idle peer is gone without a word.

    While data is unacknowledged, keepalive does not care (RFC 9293, 3.8.4); `Connection.look` does. TCP's user
    time-out (3.8.3) would end readers too: Linux lets it run on while the window is closed or smaller than a
    segment, however steadily the peer reads. Accepted sockets inherit these options; a system that lacks one
    does without.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in {
        "TCP_KEEPIDLE": limits.keepalive_idle,
        "TCP_KEEPINTVL": limits.keepalive_interval,
        "TCP_KEEPCNT": limits.keepalive_count,
    }.items():
        with contextlib.suppress(AttributeError, OSError):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
