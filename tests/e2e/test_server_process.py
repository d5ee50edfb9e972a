"""The server as a process: how it starts, what it logs, how it ends."""

import asyncio
import contextlib
import errno
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from chatroom import CannotConnect, Client
from chatroom.bench.process import free_port
from chatroom.server import ACCEPTED, CannotListenError, _accept
from conftest import PROJECT, WITHOUT_UVLOOP, ServerProcess, run
from e2e.brief import BriefClient, LineClient

pytestmark = pytest.mark.slow


def test_greeting(server: ServerProcess) -> None:
    """The first line says where it listens, the second is the command to join."""
    assert f"listens on 127.0.0.1:{server.port};" in server.greeting
    assert server.command.endswith(f"127.0.0.1 {server.port} YOUR_NAME\n")


def joined(printed: str) -> str:
    """Run a command of the announcement, as it is printed; return what it says."""
    command = printed.strip().replace("YOUR_NAME", "ann")
    ended = subprocess.run(
        command, shell=True, cwd=PROJECT, input="who\n", capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, (command, ended.stderr)
    return ended.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_the_join_command_works_as_printed(tmp_path: Path, host: str) -> None:
    """Wherever the server listens, its command names an address that can be reached."""
    if ":" in host and not has_ipv6():
        pytest.skip("there is no IPv6")
    server = ServerProcess(
        "--host", host, log=tmp_path / "log", address=re.escape(host).replace("::", r"\[::") + r"\]?"
    )
    try:
        assert joined(server.command).split()[-1] == "ann"
    finally:
        assert server.stop() == 0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, ...]:
    """A certificate for localhost, signed by an authority that this machine does not know, as options."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")


def test_tls_only(tmp_path: Path, certificate: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the plain port there is TLS alone, and the command names a host that the certificate is for."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # now this machine knows the authority
    options = ["--no-plain", "--host", "0.0.0.0", "--tls-port", "0", *certificate]
    server = ServerProcess(*options, log=tmp_path / "log", address="0.0.0.0")
    try:
        assert "chatroom listens with TLS on 0.0.0.0:" in server.greeting
        assert server.command.endswith(f"localhost {server.port} YOUR_NAME --tls\n")
        assert joined(server.command).split()[-1] == "ann"
    finally:
        assert server.stop() == 0


def test_tls_for_all_and_plain_for_us(tmp_path: Path, certificate: tuple[str, ...]) -> None:
    """TLS may face the world while the plain port stays on loopback; each line says which is which."""
    server = ServerProcess("--tls-host", "0.0.0.0", "--tls-port", "0", *certificate, log=tmp_path / "log")
    try:
        assert server.process.stdout
        second = server.process.stdout.readline()
        assert "listens on 127.0.0.1:" in server.greeting
        assert "listens with TLS on 0.0.0.0:" in second
        command = server.process.stdout.readline()
        assert command.endswith(" --ca FILE_OF_THE_CERTIFICATE_AUTHORITY\n")
        named = command.replace("FILE_OF_THE_CERTIFICATE_AUTHORITY", str(tmp_path / "ca.pem"))
        assert joined(named).split()[-1] == "ann"
    finally:
        assert server.stop() == 0


def test_renewal_that_does_not_fit(tmp_path: Path, certificate: tuple[str, ...]) -> None:
    """A certificate and a key that do not belong together change nothing; the log says so."""
    server = ServerProcess("--no-plain", "--tls-port", "0", *certificate, log=tmp_path / "log")
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    try:
        key = tmp_path / "key.pem"
        good = key.read_bytes()
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(key))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("was not reloaded")
        Client.connect("127.0.0.1", server.port, "ann", tls=trusting).close()
        key.write_bytes(good)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("was reloaded")
        Client.connect("127.0.0.1", server.port, "bob", tls=trusting).close()
    finally:
        assert server.stop() == 0


def test_handshakes_that_fail(tmp_path: Path, certificate: tuple[str, ...], loop: str) -> None:
    """The log says what the peer did wrong, not which of OpenSSL's words that is."""
    server = ServerProcess("--no-plain", "--tls-port", "0", *certificate, log=tmp_path / "log", loop=loop)
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.sendall(b'{"code":"hello","name":"ann"}\n')
            server.wait_for_log("(plain text on the TLS port)")
        with socket.create_connection(("127.0.0.1", server.port)) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while browser.recv(100):
                pass
        with pytest.raises(CannotConnect, match="certificate cannot be trusted"):
            Client.connect("127.0.0.1", server.port, "ann", tls=ssl.create_default_context())
        server.wait_for_log("(TLS handshake failed: the peer ")
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            outgoing = ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                ssl.create_default_context().wrap_bio(
                    ssl.MemoryBIO(), outgoing, server_hostname="x"
                ).do_handshake()
            leaving.sendall(outgoing.read())
            leaving.recv(10_000)
        server.wait_for_log("(TLS handshake failed: the peer left (does it trust the certificate?))")
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("host", "tls_host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("127.0.0.1", "localhost"),
    ],
)
def test_one_port_for_both(certificate: tuple[str, ...], loop: str, host: str, tls_host: str) -> None:
    """The plain port and the one for TLS cannot be the same, where their hosts overlap."""
    port = str(free_port())
    options = [port, "--host", host, "--tls-port", port, "--tls-host", tls_host, *certificate]
    ended = run("-m", "chatroom", "serve", *options, loop=loop)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert f"are both {port} on {host}" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_one_port_on_two_hosts(tmp_path: Path, certificate: tuple[str, ...], loop: str) -> None:
    """On different hosts it may be the same."""
    port = str(free_port())
    options = ["--host", "127.0.0.1", "--tls-host", "127.0.0.2", "--tls-port", port, *certificate]
    server = ServerProcess(*options, log=tmp_path / "log", loop=loop, port=port)
    assert server.stop() == 0


UNUSABLE = {
    "no certificate": ("key.pem", "key.pem", "key.pem: contains no certificate in PEM format"),
    "no key": ("cert.pem", "cert.pem", "cert.pem: contains no private key in PEM format"),
    "a broken certificate": (
        "broken.pem",
        "key.pem",
        "broken.pem: contains no certificate in PEM format",
    ),
    "an empty file": ("cert.pem", "empty.pem", "empty.pem: contains no private key in PEM format"),
    "another key": ("cert.pem", "other.pem", "other.pem: this is not the private key of the certificate in "),
    "a passphrase": (
        "cert.pem",
        "locked.pem",
        "locked.pem: the private key must be stored without a passphrase",
    ),
    "no file": ("cert.pem", "nowhere.pem", f"nowhere.pem: {os.strerror(errno.ENOENT)}"),
    "a folder": (".", "key.pem", f": {os.strerror(errno.EISDIR)}"),
}


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_certificate(tmp_path: Path, case: str) -> None:
    """A certificate or key that cannot be used is one line that names the file and the fault."""
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    (tmp_path / "empty.pem").touch()
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.pem")
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.pem").write_bytes(locked)
    certificate, key_file, complaint = UNUSABLE[case]

    files = ["--tls-cert", str(tmp_path / certificate), "--tls-key", str(tmp_path / key_file)]
    ended = run("-m", "chatroom", "serve", "0", "--tls-port", "0", *files)

    assert ended.returncode == 2
    assert complaint in ended.stderr
    assert ended.stderr.startswith(("tls_cert: ", "tls_key: "))
    assert len(ended.stderr.splitlines()) == 1


def test_sighup_without_tls(server: ServerProcess) -> None:
    """SIGHUP ends nothing, though there is no certificate to read anew."""
    with LineClient(server.port, "ann") as ann:
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("there is no certificate to reload")
        ann.ask(code="who")
        assert ann.read()["users"] == ["ann"]
        assert server.stop() == 0
        assert ann.is_at_end()
    assert "stopping: 1 connection to close" in server.log()


def test_no_room_for_connections() -> None:
    """An open-file limit that leaves no room is one line that says what to do, and status 1."""
    ended = subprocess.run(
        ["sh", "-c", f"ulimit -n 200; {sys.executable} -m chatroom serve 0"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert "open-file limit of 200" in ended.stderr
    assert "ulimit -n 1024" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_less_room_than_wanted(tmp_path: Path) -> None:
    """If the open-file limit leaves room for less than `max_connections`, the log says so."""
    server = ServerProcess("--limit", "max_connections=1000", log=tmp_path / "log", files=300)
    server.wait_for_log("leaves room for 100 connections, but max_connections is 1000")
    assert server.stop() == 0


def test_log_in_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the standard error knows ASCII only, names are logged in escapes."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    server = ServerProcess(log=tmp_path / "log")
    with LineClient(server.port, "Ёж"):
        server.wait_for_log(r"joined: '\u0401\u0436' from")
    assert server.stop() == 0


LOGS = {
    "a full disk": "exec {serve} >/dev/full 2>&1",
    "no descriptors": "exec {serve} 0<&- 1>&- 2>&-",
    "a closed pipe": "exec {serve} >{pipe} 2>&1",
    "a pipe that nobody reads": "exec {serve} >{pipe} 2>&1",
}


@pytest.mark.parametrize("where", LOGS)
def test_a_log_that_cannot_be_written(tmp_path: Path, loop: str, where: str) -> None:
    """It holds nobody up, reaches no peer, keeps nothing, and leaves the exit status alone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    port = free_port()
    command = LOGS[where].format(serve=f"{sys.executable} -m chatroom serve {port}", pipe=pipe)
    environment = os.environ | ({"PYTHONPATH": str(WITHOUT_UVLOOP)} if loop == "asyncio" else {})
    with subprocess.Popen(["sh", "-c", command], env=environment, cwd=PROJECT) as process:
        try:
            while not is_open(port):
                assert process.poll() is None
            if where == "a closed pipe":
                os.close(reader)
            with LineClient(port, "ann") as ann, LineClient(port, "bob") as bob:
                for _ in range(20):  # each is 200 lines of the log at most, and 70 bytes a line
                    ann.send(b'{"code":"outgoing","to":"nobody","content":"x"}\n' * 500)
                    for _ in range(500):
                        assert ann.read()["error"] == "unknown_user"
                for number in range(1000):
                    LineClient(port, f"guest{number}").socket.close()
                bob.ask(code="who")
                assert {"ann", "bob"} <= set(bob.read()["users"])
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        finally:
            process.kill()
    if where != "a closed pipe":
        os.close(reader)


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("command", [("server.py",), ("-m", "chatroom", "serve")])
def test_taken_port(server: ServerProcess, command: tuple[str, ...]) -> None:
    """A taken port is one clear line, and status 1; both ways to start the server say the same."""
    ended = run(*command, str(server.port), "--host", "127.0.0.1")

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == f"cannot listen on 127.0.0.1:{server.port}: {os.strerror(errno.EADDRINUSE)}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["70000"], "PORT: must be a whole number from 0 to 65535, not '70000'"),
        (["x"], "PORT: must be a whole number from 0 to 65535, not 'x'"),
        (["--tls-port", "x"], "--tls-port: must be a whole number from 0 to 65535, not 'x'"),
        (["--host"], "requires an argument"),
        (["--nope"], "No such option"),
        (["--hots", "x"], "No such option '--hots'"),
        (["1", "2"], "unexpected extra argument"),
        (["--config", "."], f"--config .: {os.strerror(errno.EISDIR)}"),
        (["--config", "nofile"], f"--config nofile: {os.strerror(errno.ENOENT)}"),
    ],
)
def test_usage(arguments: list[str], complaint: str) -> None:
    """Wrong arguments are one line that names what is wrong, and status 2."""
    ended = run("server.py", *arguments)

    assert ended.returncode == 2
    assert complaint in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("where", ["flag", "file", "environment"])
def test_wrong_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A wrong setting names where it stands and what is allowed, in one line, with status 2."""
    file = tmp_path / "chatroom.toml"
    file.write_text("[limits]\nmax_object = 3\n" if where == "file" else "")
    if where == "environment":
        monkeypatch.setenv("CHATROOM_LIMITS_MAX_OBJECT", "3")
    flags = ["--limit", "max_object=3"] if where == "flag" else []

    ended = run("server.py", "0", "--config", str(file), *flags)

    key = {
        "flag": "--limit max_object",
        "file": f"{file}: limits.max_object",
        "environment": "CHATROOM_LIMITS_MAX_OBJECT",
    }[where]
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(f"{key}: must be a whole number from 256 to 16777216")


def test_bad_host() -> None:
    """A host that is not ours, or none at all, is one clear line, and status 1."""
    for host in ("192.0.2.1", "no.such.host.invalid", f"{'a' * 64}.invalid"):
        ended = run("server.py", "0", "--host", host)

        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 1
        assert ended.stderr.count(host) == 1


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_two_servers_at_once(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """An address that both took before either listened has one server; the other one says so."""

    async def compete() -> None:
        create = partial(asyncio.get_running_loop().create_server, asyncio.Protocol, start_serving=False)
        first = await create(host="127.0.0.1", port=0)
        second = await create(host="127.0.0.1", port=first.sockets[0].getsockname()[1])
        async with first, second:
            await _accept([first])
            with pytest.raises(CannotListenError, match=os.strerror(errno.EADDRINUSE)):
                await _accept([second])

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(compete())


def test_log(server: ServerProcess) -> None:
    """Each join, leave and refused message is a line; contents and control characters never are."""
    with LineClient(server.port, "ann") as ann, LineClient(server.port) as other:
        ann.ask(code="outgoing_broadcast", content="SECRET")
        ann.ask(code="outgoing", to="SECRET\x1b[31m\n", content="SECRET")
        ann.read()
        other.ask(code="hello", name="SECRET\x1b]0;x\x07\n")
        other.read()
        other.send(b"SECRET\x1b[2J\r\n")
        other.read()
        ann.ask(code="SECRET")
        ann.read()
        ann.ask(code="quit")
        assert ann.is_at_end()

    server.stop()
    log = server.log()
    events = [line.split(" ", 2)[2].split(" ")[0:2] for line in log.splitlines()]
    assert (
        events
        == [
            ["joined:", "'ann'"],
            ["refused:", "unknown_user"],
            ["refused:", "bad_name"],
            ["refused:", "bad_json"],
            ["refused:", "unknown_code"],
            ["left:", "'ann'"],
            ["stopping:", "0"],
        ]
        or events[-1][0] == "stopping:"
    )
    assert "SECRET" not in log
    assert log.replace("\n", "").isprintable()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(server: ServerProcess, number: int) -> None:
    """On SIGTERM and SIGINT it stops accepting, sends what is queued, ends connections, and exits with 0."""
    with LineClient(server.port, "ann") as ann, LineClient(server.port, "bob") as bob:
        count = 500
        for _ in range(count):
            bob.ask(code="outgoing", to="ann", content="x" * 1500)
        bob.ask(code="who")
        bob.read()
        server.process.send_signal(number)
        server.wait_for_log("stopping: 2 connections to close")
        assert bob.is_at_end()
        received = [ann.read()["content"] for _ in range(count)]

        assert received == ["x" * 1500] * count
        assert ann.is_at_end()
    assert server.process.wait(100) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc to look into")
@pytest.mark.parametrize("arguments", [(), ("--limit", "max_connections=3000")])
def test_descriptors(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The server may open what the system lets it, and the table of open files is large from the start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = ServerProcess(*arguments, log=tmp_path / "server.log")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    process = Path(f"/proc/{server.process.pid}")
    limits, status = (process / "limits").read_text(), (process / "status").read_text()
    server.stop()

    may_open = re.search(r"Max open files +(\d+)", limits)
    table = re.search(r"FDSize:\s+(\d+)", status)
    assert may_open
    assert table
    assert int(may_open[1]) == hard
    assert int(table[1]) >= min(hard, 3000)


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc to look into")
@pytest.mark.parametrize(("loop", "times"), [("uvloop", ACCEPTED), ("asyncio", 1)], indirect=["loop"])
def test_many_are_accepted_at_a_time(server: ServerProcess, times: int) -> None:
    """As libuv accepts one connection a turn from each socket that listens, we listen more than once."""
    process = Path(f"/proc/{server.process.pid}")
    [listening] = [
        fields[9]
        for fields in map(str.split, (process / "net" / "tcp").read_text().splitlines()[1:])
        if fields[1].endswith(f":{server.port:04X}") and fields[3] == "0A"
    ]

    links = [str(file.readlink()) for file in (process / "fd").iterdir()]

    assert links.count(f"socket:[{listening}]") == times


def test_runs_without_uvloop(tmp_path: Path) -> None:
    """Where uvloop cannot be had, plain asyncio serves."""
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')")
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        server = ServerProcess(log=tmp_path / "log")
    finally:
        del os.environ["PYTHONPATH"]
    try:
        with BriefClient(server.port, "ann") as ann, BriefClient(server.port, "bob") as bob:
            ann.ask(code="outgoing_broadcast", content="hi")
            assert bob.read() == {"code": "incoming_broadcast", "from": "ann", "content": "hi"}
            ann.ask(code="quit")
            assert ann.is_at_end()
    finally:
        assert server.stop() == 0
    assert "Traceback" not in server.log()
