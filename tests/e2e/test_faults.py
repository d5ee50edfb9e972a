"""A real server, and the faults of real networks, machines and people."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from chatroom import AsyncClient, CannotConnect, Client, ConnectionLost, Incoming, IncomingBroadcast
from conftest import PROJECT, ServerProcess, run
from e2e.brief import BriefClient, LineClient

pytestmark = pytest.mark.slow

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(tmp_path: Path, loop: str) -> Iterator[Start]:
    """Starts servers with settings of their own; each must end well, and without a traceback."""
    started: list[ServerProcess] = []

    def start(*arguments: str, files: int | None = None) -> ServerProcess:
        process = ServerProcess(*arguments, log=tmp_path / f"{len(started)}.log", files=files, loop=loop)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()
        assert "Traceback" not in process.log(), process.log()


def limit(**limits: object) -> list[str]:
    return [word for name, value in limits.items() for word in ("--limit", f"{name}={value}")]


def wait_until(condition: Callable[[], bool]) -> None:
    """Look often, until it holds."""
    while not condition():
        time.sleep(0.01)


def test_half_an_object_and_silence(start: Start) -> None:
    """An object that is never finished: an error, and the end."""
    server = start(*limit(object_timeout=0.5))
    with LineClient(server.port, "ann") as ann:
        ann.send(b'{"code":"who"')

        assert ann.read()["error"] == "bad_json"
        assert ann.is_at_end()


def test_silent_strangers(start: Start) -> None:
    """Who says nothing is let go, and is told nothing."""
    server = start(*limit(hello_timeout=2))
    with BriefClient(server.port) as stranger, BriefClient(server.port, "ann") as ann:
        assert stranger.is_at_end()
        ann.ask(code="who")
        assert ann.read()["users"] == ["ann"]


def test_floods_before_hello(server: ServerProcess) -> None:
    """Fourteen floods of 100 MB before hello grow memory by less than 25 MB."""
    before = server.memory()
    block = b"x" * 1_000_000
    most = before
    for _ in range(14):
        with BriefClient(server.port) as stranger, contextlib.suppress(ConnectionError):
            for _ in range(100):
                stranger.send(block)
                most = max(most, server.memory())

    assert most - before < 25_000_000


def test_one_address(start: Start) -> None:
    """Beyond the connections that one address may have, a newcomer is closed without a word."""
    server = start(*limit(exempt="192.0.2.0/24", max_per_address=3, rate_per_address=1000))
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(BriefClient(server.port, f"user{number}")) for number in range(3)]
        fourth = stack.enter_context(BriefClient(server.port))
        with contextlib.suppress(ConnectionResetError):
            assert fourth.is_at_end()
        first[0].ask(code="quit")
        assert first[0].is_at_end()
        first[0].socket.close()

        def has_room() -> bool:
            with contextlib.suppress(AssertionError, OSError, ValueError):
                BriefClient(server.port, "user9").socket.close()
                return True
            return False

        wait_until(has_room)


def test_flood_is_slowed_down(start: Start) -> None:
    """Who floods from afar is read more slowly, and others' messages are not held up by it."""
    server = start(*limit(exempt="192.0.2.0/24", message_burst=20, message_rate=5))
    with LineClient(server.port, "flood") as flood, LineClient(server.port, "ann") as ann:
        flood.send(b'{"code":"outgoing","to":"flood","content":"x"}\n' * 40)
        ann.ask(code="outgoing", to="ann", content="quick")
        began = time.monotonic()
        ann.read()
        quick = time.monotonic() - began
        for _ in range(40):
            flood.read()
        slow = time.monotonic() - began

    assert slow > 3
    assert quick < slow - 1


def test_descriptors_run_out(start: Start) -> None:
    """Beyond the room there is: `server_full`, few log lines, nobody hangs; and there is room again at once."""
    server = start(files=300)
    with contextlib.ExitStack() as stack:
        inside = [stack.enter_context(BriefClient(server.port, f"user{number}")) for number in range(100)]
        for number in range(600):
            with contextlib.suppress(OSError), BriefClient(server.port) as late:
                if number % 100 == 0:
                    late.ask(code="hello", name="late")
                    assert late.read()["error"] == "server_full"
        assert len([line for line in server.log().splitlines() if "joined" not in line]) < 10
        for one in inside[:50]:
            one.socket.close()

        def is_welcome() -> bool:
            with BriefClient(server.port) as late, contextlib.suppress(OSError, ValueError):
                late.ask(code="hello", name="late")
                return bool(late.read() == {"code": "welcome"})
            return False

        wait_until(is_welcome)
        inside[60].ask(code="outgoing", to="user60", content="x")
        assert inside[60].read()["content"] == "x"


def test_stopped_reader(server: ServerProcess) -> None:
    """A client process that is stopped (SIGSTOP) is let go at 1 MiB; the others get everything, in time."""
    script = (
        "import socket, sys\n"
        f"s = socket.create_connection(('127.0.0.1', {server.port}))\n"
        's.sendall(b\'{"code":"hello","name":"stopped"}\\n\')\n'
        "s.recv(100); print('in', flush=True)\n"
        "while s.recv(65536): pass\n"
    )
    with (
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as stopped,
        LineClient(server.port, "ann") as ann,
        LineClient(server.port, "bob") as bob,
    ):
        assert stopped.stdout
        stopped.stdout.readline()
        stopped.send_signal(signal.SIGSTOP)
        sent = 0
        while "slow_consumer" not in server.log():
            ann.ask(code="outgoing_broadcast", content="x" * 16_000)
            assert bob.read()["code"] == "incoming_broadcast"
            sent += 1
            assert sent < 2000
        stopped.send_signal(signal.SIGCONT)
        stopped.wait()

    assert "left: 'stopped'" in server.log()


def test_slow_reader_with_a_small_window(start: Start) -> None:
    """Whoever reads little but steadily stays, though its window never has room for a whole segment."""
    server = start(*limit(exempt="192.0.2.0/24", stall_timeout=6))
    with (
        socket.socket() as slow,
        LineClient(server.port, "ann") as ann,
        LineClient(server.port, "bob") as bob,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(b'{"code":"hello","name":"slow"}\n')
        assert b"welcome" in slow.recv(100)
        for _ in range(20):
            for sender in (ann, bob):
                sender.ask(code="outgoing", to="slow", content="x" * 16_000)

        end = time.monotonic() + 15
        while time.monotonic() < end:
            time.sleep(0.25)
            assert slow.recv(1200)

        ann.ask(code="who")
        assert "slow" in ann.read()["users"]


def test_thousand_stalled_readers(start: Start) -> None:
    """A thousand readers that stop reading share one backlog; a reader that reads does not notice them."""
    server = start(*limit(stall_timeout=600))
    with contextlib.ExitStack() as stack:
        ann = stack.enter_context(LineClient(server.port, "ann"))
        bob = stack.enter_context(LineClient(server.port, "bob"))
        for number in range(1000):
            stalled = socket.socket()
            stack.callback(stalled.close)
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect((server.host, server.port))
            stalled.sendall(b'{"code":"hello","name":"stalled%d"}\n' % number)
            stalled.recv(100)
        before = server.memory()
        for _ in range(40):
            ann.ask(code="outgoing_broadcast", content="x" * 16_000)
            assert bob.read()["code"] == "incoming_broadcast"
        grown = server.memory() - before
        ann.ask(code="who")
        present = len(ann.read()["users"])

    assert present == 1002
    assert grown < 64 * 1024 * 1024


class Proxy:
    """Between a client and the server: passes bytes on, one by one, or not at all."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.passes = asyncio.Event()
        self.passes.set()
        self.size = 1
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Proxy":  # noqa: PYI034
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    def reset(self) -> None:
        """End all connections with a RST, to both sides."""
        for writer in self.writers:
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self.writers += [writer, back]
        self._tasks += [asyncio.create_task(self._pass(*ends)) for ends in ((reader, back), (there, writer))]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            for at in range(0, len(data), self.size):
                await self.passes.wait()
                writer.write(data[at : at + self.size])
                await writer.drain()
        writer.write_eof()


async def test_bad_network(server: ServerProcess) -> None:
    """Every byte in a segment of its own, and a network that stands still for a while: nothing is lost."""
    async with Proxy(server.port) as proxy, await AsyncClient.connect("127.0.0.1", proxy.port, "ann") as ann:
        for number in range(20):
            if number % 5 == 4:
                proxy.passes.clear()
                asyncio.get_running_loop().call_later(0.05, proxy.passes.set)
            await ann.send("ann", f"{number} é")
        received = [(await anext(ann)).content for _ in range(20)]  # type: ignore[union-attr]

    assert received == [f"{number} é" for number in range(20)]


async def test_reset_in_the_middle_and_back(server: ServerProcess) -> None:
    """A RST in the middle of messages: the client comes back by itself, with its name."""
    async with Proxy(server.port) as proxy:
        proxy.size = 1000
        client = await AsyncClient.connect("127.0.0.1", proxy.port, "ann", reconnect=True)
        for _ in range(3):
            await client.send("ann", "x")
            await anext(client)
            proxy.reset()
            proxy.writers.clear()
            waiting = asyncio.create_task(_next_from(client, "bob"))
            with LineClient(server.port, "bob") as bob:
                while True:
                    bob.ask(code="outgoing", to="ann", content="again", ref=str(time.monotonic()))
                    if (await asyncio.to_thread(bob.read))["code"] == "sent" and waiting.done():
                        break
            assert await waiting == "again"
            await client.send("ann", "the last")
            while getattr(await anext(client), "content", "") != "the last":
                pass
        await client.close()


async def test_kill_and_restart(start: Start) -> None:
    """After kill -9 and a restart, clients of the library come back by themselves and go on."""
    server = start()
    clients = [
        await AsyncClient.connect("127.0.0.1", server.port, f"user{number}", reconnect=True)
        for number in range(5)
    ]
    server.stop(signal.SIGKILL)
    waiting = [asyncio.create_task(_next_from(client, "user0")) for client in clients[1:]]
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "chatroom", "serve", str(server.port)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as again:
        try:
            present = 0
            while present < 5:
                with contextlib.suppress(ConnectionLost):  # of a call that was under way
                    present = len(await clients[0].users())
            await clients[0].broadcast("back")
            received = await asyncio.gather(*waiting)
            for client in clients:
                await client.close()
        finally:
            again.terminate()

    assert set(received) == {"back"}


async def _next_from(client: AsyncClient, sender: str) -> str:
    """Return what somebody says next, whatever becomes of the connection meanwhile."""
    async for message in client:
        if isinstance(message, Incoming | IncomingBroadcast) and message.from_ == sender:
            return message.content
    raise AssertionError("closed")


def test_second_signal_ends_at_once(start: Start) -> None:
    """A reader that does not read holds up the end, for 4.5 s at most; a second signal ends at once."""
    server = start(*limit(drain_timeout=300, max_backlog=100_000_000))
    with LineClient(server.port, "ann") as ann, LineClient(server.port, "bob") as bob:
        for _ in range(400):
            ann.ask(code="outgoing", to="bob", content="x" * 16_000)
        ann.ask(code="who")
        ann.read()
        server.process.send_signal(signal.SIGTERM)
        assert ann.is_at_end()
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(200) == 0
        bob.socket.close()


def test_a_million_bad_lines(server: ServerProcess) -> None:
    """Bad lines without end make little log."""
    lines = b'{"code":"outgoing","to":"nobody","content":"x"}\n' * 1000
    start = time.monotonic()
    with LineClient(server.port, "ann") as ann:
        for _ in range(1000):
            ann.send(lines)
            left = 1000
            while left:
                left -= ann.socket.recv(1_000_000).count(b"\n")

    server.stop()
    log = server.log()
    assert log.count("refused") < 300 + 25 * (time.monotonic() - start)  # 10 a second, and how many more
    assert "more" in log


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[trustme.CA, Path]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority, tmp_path


def issue(authority: trustme.CA, folder: Path) -> str:
    """Put a new certificate in place; return its serial number's source, the PEM."""
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return certificate.cert_chain_pems[0].bytes().decode()


def test_tls(start: Start, certificates: tuple[trustme.CA, Path]) -> None:
    """TLS on a port of its own; plain TCP beside it; a certificate reloaded on SIGHUP, without a drop."""
    authority, folder = certificates
    first = issue(authority, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    server = start("--tls-port", str(port), *files)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))

    def served() -> str:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            assert wrapped.version() in {"TLSv1.2", "TLSv1.3"}
            return ssl.DER_cert_to_PEM_cert(wrapped.getpeercert(binary_form=True) or b"").replace("\n", "")

    with (
        Client.connect("127.0.0.1", port, "ann", tls=context) as ann,
        LineClient(server.port, "bob") as bob,
    ):
        ann.send("bob", "x" * 16_000)
        assert bob.read()["content"] == "x" * 16_000
        assert served() == first.replace("\n", "")
        second = issue(authority, folder)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: served() == second.replace("\n", ""))
        ann.broadcast("still here")
        assert bob.read()["content"] == "still here"

    with pytest.raises(CannotConnect, match="certificate cannot be trusted"):
        Client.connect("127.0.0.1", port, "eve", tls=ssl.create_default_context())
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)), socket.create_connection(("127.0.0.1", port)) as plain:
        old.wrap_socket(plain)


def test_tls_client_program(start: Start, certificates: tuple[trustme.CA, Path]) -> None:
    """The client program speaks TLS, and does not trust just anybody."""
    authority, folder = certificates
    issue(authority, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    start("--tls-port", port, "--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))

    def join(*options: str) -> subprocess.CompletedProcess[str]:
        return run("client.py", "127.0.0.1", port, "ann", *options, text="who\n")

    trusted, untrusted = join("--ca", str(folder / "ca.pem")), join("--tls")

    assert (trusted.returncode, trusted.stdout.splitlines()[-1]) == (0, "  ann")
    assert untrusted.returncode == 1
    assert "trusted" in untrusted.stderr
    assert len(untrusted.stderr.splitlines()) == 1


def test_tls_without_a_certificate(server: ServerProcess, tmp_path: Path) -> None:
    """A certificate that cannot be read is one clear line, and status 2."""
    for files in ([], ["--tls-cert", str(tmp_path / "no.pem"), "--tls-key", str(tmp_path / "no.pem")]):
        ended = run("server.py", "0", "--tls-port", "0", *files)
        assert ended.returncode == 2
        assert len(ended.stderr.splitlines()) == 1


def test_peers_without_a_word(tmp_path: Path) -> None:
    """A thousand peers behind a black-holed network: who asks for a name gets it, and in the end all are gone.

    In a network namespace: data or probes are unanswered for 2 s here (10 s by default).
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and `ip`: apt-get install iproute2")
    space = f"chat{os.getpid()}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        ip("netns", "add", space)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    server = None
    try:
        ip("link", "add", f"{space}a", "type", "veth", "peer", "name", f"{space}b")
        ip("link", "set", f"{space}b", "netns", space)
        ip("addr", "add", "198.18.77.1/24", "dev", f"{space}a")
        ip("link", "set", f"{space}a", "up")
        for words in (
            ["addr", "add", "198.18.77.2/24", "dev", f"{space}b"],
            ["link", "set", f"{space}b", "up"],
        ):
            ip("-n", space, *words)
        server = ServerProcess(
            *("--host", "0.0.0.0"),
            *limit(exempt="198.18.0.0/15,127.0.0.0/8", user_timeout=2, stall_timeout=15),
            *limit(keepalive_idle=1, keepalive_interval=1, keepalive_count=3),
            log=tmp_path / "log",
            address=r"0\.0\.0\.0",
        )
        script = (
            "import socket, sys\n"
            "them = []\n"
            "for n in range(1000):\n"
            f"    s = socket.create_connection(('198.18.77.1', {server.port})); them.append(s)\n"
            '    s.sendall(b\'{"code":"hello","name":"peer%d"}\\n\' % n)\n'
            "    s.recv(100)\n"
            "print('in', flush=True)\n"
            "sys.stdin.read()\n"
        )
        command = ["ip", "netns", "exec", space, sys.executable, "-c", script]
        with (
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peers,
            LineClient(server.port, "ann") as ann,
        ):
            assert peers.stdout
            assert peers.stdout.readline() == b"in\n"
            ip(
                "neigh",
                "replace",
                "198.18.77.2",
                "lladdr",
                "02:00:00:00:00:99",
                "nud",
                "permanent",
                "dev",
                f"{space}a",
            )
            for number in range(500):
                ann.ask(code="outgoing", to=f"peer{number}", content="are you there?")

            def present() -> int:
                ann.ask(code="who")
                return len(ann.read()["users"])

            def is_free(name: str) -> bool:
                with BriefClient(server.port) as newcomer:
                    newcomer.ask(code="hello", name=name)
                    return bool(newcomer.read()["code"] == "welcome")

            assert present() == 1001
            assert not is_free("peer0")
            wait_until(lambda: is_free("peer0"))  # it has not acknowledged data
            wait_until(lambda: is_free("peer900"))  # it does not answer keepalive's probes
            assert "(dead)" in server.log()
            wait_until(lambda: present() == 1)
            peers.kill()
    finally:
        if server is not None:
            server.stop()
        subprocess.run(["ip", "link", "del", f"{space}a"], check=False, capture_output=True)
        ip("netns", "del", space)
    assert "Traceback" not in server.log()
