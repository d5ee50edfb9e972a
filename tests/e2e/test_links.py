"""A real server over links as they are: TLS or not, half-closed, slow, cut; peers that limits hold for."""

import contextlib
import json
import select
import socket
import ssl
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCOUTQ

import pytest
import trustme

from conftest import ServerProcess

pytestmark = pytest.mark.slow

Dial = Callable[[], socket.socket]
NOBODY = "192.0.2.0/24"  # instead of loopback, so that limits hold for us


class Server:
    """A server for which we are strangers from afar, and how to reach it."""

    def __init__(self, process: ServerProcess, port: int, context: ssl.SSLContext | None) -> None:
        self.process = process
        self.port = port
        self.context = context

    def dial(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        if self.context is None:
            return plain
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    def join(self, name: str) -> socket.socket:
        peer = self.dial()
        peer.sendall(b'{"code":"hello","name":"%b"}\n' % name.encode())
        assert read_line(peer) == b'{"code":"welcome"}\n'
        return peer


@pytest.fixture(params=["plain", "tls"])
def link(request: pytest.FixtureRequest) -> str:
    """How to reach it."""
    return str(request.param)


@pytest.fixture
def start(tmp_path: Path, loop: str, link: str) -> Iterator[Callable[..., Server]]:
    """Starts servers; each must end well, and without a traceback or a word of asyncio's."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    started: list[ServerProcess] = []

    def start(**limits: object) -> Server:
        words = [
            word
            for name, value in ({"exempt": NOBODY} | limits).items()
            for word in ("--limit", f"{name}={value}")
        ]
        if link == "tls":
            files = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            words += ["--tls-port", str(port), *files]
        process = ServerProcess(*words, log=tmp_path / f"{len(started)}.log", loop=loop)
        started.append(process)
        if link == "tls":
            return Server(process, port, ssl.create_default_context(cafile=str(tmp_path / "ca.pem")))
        return Server(process, process.port, None)

    yield start
    for process in started:
        assert process.stop() == 0
        assert "Traceback" not in process.log(), process.log()
        assert "eof_received" not in process.log(), process.log()
        assert "SSL" not in process.log(), process.log()


def read_line(peer: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = peer.recv(1)
        assert byte, f"the end, behind {line!r}"
        line += byte
    return line


def read_all(peer: socket.socket) -> list[dict[str, object]]:
    """Return all messages until the end."""
    data = b""
    with contextlib.suppress(ssl.SSLEOFError):
        while piece := peer.recv(65536):
            data += piece
    return [json.loads(line) for line in data.splitlines()]


def unacknowledged(peer: socket.socket) -> int:
    """Return how many bytes a reset would lose."""
    return int(struct.unpack("i", ioctl(peer.fileno(), TIOCOUTQ, b"\0\0\0\0"))[0])


class HalfClosedTls:
    """TLS by hand: Python's sockets read nothing more once they have sent their `close_notify`."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        self._until(self._tls.do_handshake)

    def _until(self, step: Callable[[], object]) -> object:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._plain.sendall(self._outgoing.read())
                data = self._plain.recv(65536)
                self._incoming.write(data)
                if not data:
                    self._incoming.write_eof()

    def ask(self, data: bytes) -> bytes:
        """Send this and return what is answered first."""
        self._tls.write(data)
        self._plain.sendall(self._outgoing.read())
        return self.read()

    def read(self) -> bytes:
        """Return what comes next."""
        return bytes(self._until(lambda: self._tls.read(65536)))  # type: ignore[call-overload, no-any-return]

    def exchange(self, data: bytes) -> bytes:
        """Send this and the `close_notify` in one write; return all that is answered."""
        self._tls.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._plain.sendall(self._outgoing.read())
        answered = b""
        with contextlib.suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            while piece := self._until(lambda: self._tls.read(65536)):
                answered += bytes(piece)  # type: ignore[call-overload]
        return answered


def broadcasts(count: int) -> bytes:
    return b"".join(b'{"code":"outgoing_broadcast","content":"%d"}\n' % number for number in range(count))


def contents(messages: list[dict[str, object]]) -> list[str]:
    return [str(message["content"]) for message in messages if "content" in message]


def test_lines_and_a_clean_close(start: Callable[..., Server]) -> None:
    """Whoever sends eighty lines and closes is slowed, and all of them are heard."""
    server = start(message_rate=200)
    with server.join("bob") as bob, server.join("ann") as ann:
        ann.sendall(broadcasts(80))
        ann.close()
        heard = [json.loads(read_line(bob))["content"] for _ in range(80)]

    assert heard == [str(number) for number in range(80)]


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["bare", "lines"])
def test_close_with_a_welcome_unread(start: Callable[..., Server], end: bytes) -> None:
    """Whoever never reads, and closes right behind its last message, is heard all the same.

    That close is a reset, and the sender's own system drops what it has not sent: it waits for the
    acknowledgement of the message before.
    """
    server = start(rate_per_address=1000, max_per_address=1000)
    with server.join("bob") as bob:
        for number in range(5):
            with server.dial() as ann:
                ann.sendall(b'{"code":"hello","name":"ann%d"}' % number + end)
                select.select([ann], [], [], 60)
                for text in ("first", "last"):
                    ann.sendall(b'{"code":"outgoing","to":"bob","content":"%b"}' % text.encode() + end)
                    if text == "first":
                        assert json.loads(read_line(bob))["content"] == "first"
            bob.settimeout(10)
            assert json.loads(read_line(bob))["content"] == "last"


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["bare", "lines"])
def test_small_messages_are_not_late(start: Callable[..., Server], end: bytes) -> None:
    """A client that has Nagle's algorithm on, as sockets have, is heard about as soon as one that has not.

    It sends its second message when the first is acknowledged; by default Linux does that 40 ms later.
    """
    server = start(rate_per_address=1000, max_per_address=1000)

    def seconds(bob: socket.socket, *, name: str, no_delay: bool) -> float:
        with server.dial() as ann:
            ann.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)
            ann.sendall(b'{"code":"hello","name":"%b"}' % name.encode() + end)
            assert b"welcome" in ann.recv(1000)
            begun = time.monotonic()
            for _ in range(5):
                ann.sendall(b'{"code":"outgoing","to":"bob","content":"x"}' + end)
            for _ in range(5):
                read_line(bob)
            return time.monotonic() - begun

    with server.join("bob") as bob:
        usual = statistics.median(seconds(bob, name=f"a{number}", no_delay=False) for number in range(15))
        quick = statistics.median(seconds(bob, name=f"b{number}", no_delay=True) for number in range(15))

    assert usual < 10 * quick + 0.02


def test_a_web_page_says_nothing(start: Callable[..., Server]) -> None:
    """What a page has a browser post is an error and the end; nobody hears what is in it."""
    server = start()
    body = b'{"code":"hello","name":"page"}{"code":"outgoing_broadcast","content":"x"}\n'
    with server.join("bob") as bob, server.dial() as page:
        page.sendall(b"POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        [answer] = read_all(page)
        bob.sendall(b'{"code":"who"}\n')
        heard = json.loads(read_line(bob))

    assert answer["error"] == "bad_json"
    assert "HTTP" in str(answer["message"])
    assert heard == {"code": "users", "users": ["bob"]}


def test_lines_and_a_reset(start: Callable[..., Server]) -> None:
    """Whoever sends eighty lines and resets while it is slowed is heard, though they were still unread."""
    server = start()
    line = b'{"code":"outgoing_broadcast","content":"%d %b","ref":"x%d"}\n'
    with server.join("bob") as bob, server.join("ann") as ann:
        ann.sendall(b"".join(line % (number, b"", number) for number in range(50)))
        for _ in range(50):
            read_line(ann)  # it is slowed from here on, and the next answer finds that it is gone
        ann.sendall(b"".join(line % (number, b"x" * 1800, number) for number in range(50, 80)))
        while unacknowledged(ann):
            pass
        ann.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ann.close()
        heard = [json.loads(read_line(bob))["content"].split()[0] for _ in range(80)]

    assert heard == [str(number) for number in range(80)]


def test_half_close_gets_answers(start: Callable[..., Server]) -> None:
    """Hello, who and a half-close are answered, and then the connection ends."""
    server = start()
    requests = b'{"code":"hello","name":"ann"}\n{"code":"who"}\n'
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        if server.context is None:
            plain.sendall(requests)
            plain.shutdown(socket.SHUT_WR)
            answered = plain.makefile("rb").read()
        else:
            answered = HalfClosedTls(plain, server.context).exchange(requests)

    assert answered == b'{"code":"welcome"}\n{"code":"users","users":["ann"]}\n'


def test_quit_gets_what_was_queued(start: Callable[..., Server]) -> None:
    """Who quits over a slow link still gets all that was queued for it, whole."""
    server = start(max_backlog=8_000_000, message_burst=1_000, exempt=f"{NOBODY}")
    with server.join("bob") as bob, server.join("ann") as ann:
        ann.sendall(b'{"code":"outgoing","to":"bob","content":"%b"}\n' % (b"x" * 10_000) * 300)
        ann.sendall(b'{"code":"ping"}\n')
        assert json.loads(read_line(ann)) == {"code": "pong"}
        bob.sendall(b'{"code":"quit"}\n')
        data = b""
        while piece := bob.recv(30_000):
            data += piece
            time.sleep(0.02)  # the slow link

    messages = [json.loads(line) for line in data.splitlines()]
    assert [len(text) for text in contents(messages)] == [10_000] * 300


def test_flood_from_a_program(start: Callable[..., Server]) -> None:
    """Whoever sends without waiting for anything is slowed, then refused, then let go."""
    server = start(slow_down_after=0.5, flood_timeout=2)
    with server.join("bob") as bob, server.join("ann") as ann:
        ann.settimeout(0.2)
        line = b'{"code":"outgoing_broadcast","content":"%b"}\n' % (b"x" * 900)
        heard: list[str] = []
        deadline = time.monotonic() + 60
        while "flood" not in server.process.log():
            assert time.monotonic() < deadline
            with contextlib.suppress(TimeoutError, OSError):
                ann.send(line * 50)
        ann.settimeout(30)
        with contextlib.suppress(OSError):
            heard = [str(message.get("error")) for message in read_all(ann)]
        bob.sendall(b'{"code":"who"}\n')
        while (message := json.loads(read_line(bob)))["code"] != "users":
            pass

    assert message["users"] == ["bob"]
    assert set(heard) <= {"slow_down"}


def test_resets_in_the_turn_of_a_quit(start: Callable[..., Server]) -> None:
    """Two hundred who say quit and reset in the same moment: all end, and no word of it is logged."""
    server = start(exempt="127.0.0.0/8")
    for _ in range(5):
        crowd = [server.join(f"user{number}") for number in range(40)]
        for peer in crowd:
            peer.sendall(b'{"code":"quit"}\n')
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
    deadline = time.monotonic() + 30
    with server.join("ann") as ann:
        while True:
            ann.sendall(b'{"code":"who"}\n')
            if json.loads(read_line(ann))["users"] == ["ann"]:
                break
            assert time.monotonic() < deadline


@pytest.mark.parametrize("is_direct", [False, True])
@pytest.mark.parametrize("senders", [1, 8])
def test_a_program_that_sends_as_fast_as_it_can(
    start: Callable[..., Server], senders: int, is_direct: bool
) -> None:
    """Readers of 4 MB/s get all of 20,000 messages of 1 KB, from one sender or eight, also directly."""
    server = start(exempt="127.0.0.0/8")
    begun = b'{"code":"outgoing","to":"bob",' if is_direct else b'{"code":"outgoing_broadcast",'
    each = 20_000 // senders
    with server.join("bob") as bob, contextlib.ExitStack() as stack:
        floods = [stack.enter_context(server.join(f"flood{number}")) for number in range(senders)]

        def flood(peer: socket.socket) -> None:
            peer.sendall((begun + b'"content":"%b"}\n' % (b"x" * 900)) * each)

        def drain(peer: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while peer.recv(1_000_000):
                    pass

        threads = [
            threading.Thread(target=work, args=[peer], daemon=True)
            for peer in floods
            for work in (flood, drain)
        ]
        for thread in threads:
            thread.start()
        got, pace = 0, time.monotonic()
        while got < 20_000:
            piece = bob.recv(40_000)
            assert piece, server.process.log()
            got += piece.count(b"\n")
            pace += len(piece) / 4_000_000
            time.sleep(max(0.0, pace - time.monotonic()))  # the slow link

    assert got == 20_000


BROKEN_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)


@pytest.mark.parametrize("link", ["tls"], indirect=True)
def test_broken_record(start: Callable[..., Server]) -> None:
    """Whoever sends what is not TLS is told so in TLS's own way."""
    server = start()
    assert server.context is not None
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain:
        ann = HalfClosedTls(plain, server.context)
        assert ann.ask(b'{"code":"hello","name":"ann"}\n') == b'{"code":"welcome"}\n'
        plain.sendall(BROKEN_RECORD)

        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            ann.read()


@pytest.mark.parametrize("link", ["tls"], indirect=True)
def test_broken_record_of_whoever_does_not_read(start: Callable[..., Server]) -> None:
    """If its own messages wait to be read, its connection ends at once all the same."""
    server = start(exempt="127.0.0.0/8")
    assert server.context is not None
    message = b'{"code":"outgoing","to":"ghost","content":"%b","ref":"1"}\n' % (b"x" * 16_000)
    with socket.socket() as plain, server.join("ann") as ann, server.join("bob") as bob:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", server.port))
        HalfClosedTls(plain, server.context).ask(b'{"code":"hello","name":"ghost"}\n')
        ann.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            while True:
                ann.sendall(message.replace(b'"1"', b'"%d"' % time.monotonic_ns()))
                read_line(ann)
        plain.sendall(BROKEN_RECORD)

        deadline = time.monotonic() + 10  # far less than `stall_timeout`
        while True:
            bob.sendall(b'{"code":"who"}\n')
            if json.loads(read_line(bob))["users"] == ["ann", "bob"]:
                break
            assert time.monotonic() < deadline


def test_silent_connections(start: Callable[..., Server]) -> None:
    """Who connects and is silent counts before any handshake: few of one address, the rest are cut."""
    server = start(max_per_address=5, rate_per_address=1000, hello_timeout=3)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            for _ in range(100)
        ]
        cut = 0
        for peer in silent[13:]:
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(100) == b""
            cut += 1
        for peer in silent[:13]:
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(100) == b""

    assert cut == 87
    assert "turned away" in server.process.log()
    assert len(server.process.log().splitlines()) < 150
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(AssertionError, OSError), server.dial() as ann:
            ann.sendall(b'{"code":"hello","name":"ann"}\n')
            if read_line(ann) == b'{"code":"welcome"}\n':
                break
        assert time.monotonic() < deadline, "no room after they have gone"


def test_too_many_are_told_so(start: Callable[..., Server]) -> None:
    """Beyond what its address may have, one is answered `slow_down`, over TLS too, and the connection ends."""
    server = start(max_per_address=1)
    with server.join("ann"), server.dial() as late:
        late.sendall(b'{"code":"hello","name":"late"}\n')
        [answer] = read_all(late)

    assert (answer["error"], answer["temporary"]) == ("slow_down", True)
    assert "retry_after" in answer


def test_a_stopped_reader_that_answers_probes(start: Callable[..., Server]) -> None:
    """Who stops reading for longer than the user time-out is not reset, nor dead."""
    server = start(
        user_timeout=1, stall_timeout=30, exempt="127.0.0.0/8", keepalive_idle=1, keepalive_interval=1
    )
    with server.join("ann") as ann, server.join("bob") as bob:
        bob.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(40):
            ann.sendall(b'{"code":"outgoing","to":"bob","content":"%b"}\n' % (b"x" * 10_000))
        until = time.monotonic() + 6
        while time.monotonic() < until:
            with server.dial() as eve:
                eve.sendall(b'{"code":"hello","name":"bob"}\n')
                assert json.loads(read_line(eve))["error"] == "name_taken"
        for _ in range(40):
            assert len(json.loads(read_line(bob))["content"]) == 10_000
