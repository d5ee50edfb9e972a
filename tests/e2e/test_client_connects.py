"""The client program finds its server, or says in one line why not."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from conftest import ServerProcess, run
from e2e.brief_server import BriefServer

pytestmark = pytest.mark.slow


@pytest.fixture
def tls(tmp_path: Path, loop: str) -> Iterator[tuple[int, int]]:
    """The plain and the TLS port of a server; its authority is in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    (tmp_path / "empty.pem").touch()
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    pem = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    options = ["--tls-port", str(port), "--tls-cert", str(pem), "--tls-key", str(pem)]
    server = ServerProcess(*options, log=tmp_path / "server.log", loop=loop)
    yield server.port, port
    assert server.stop() == 0


def join(port: int, *options: str, host: str = "127.0.0.1") -> subprocess.CompletedProcess[str]:
    return run("client.py", host, str(port), "ann", *options)


def test_tls_mistakes(tls: tuple[int, int], tmp_path: Path) -> None:
    """TLS to a plain port, plain to the TLS port, and somebody else's certificate are called what they are."""
    plain_port, tls_port = tls

    def complaint(port: int, *options: str) -> str:
        ended = join(port, *options)
        assert ended.returncode == 1
        [line] = ended.stderr.splitlines()
        return line

    assert join(tls_port, "--ca", str(tmp_path / "ca.pem")).returncode == 0
    assert "that port does not speak TLS; leave out --tls" in complaint(plain_port, "--tls")
    assert "if this is its TLS port, add --tls" in complaint(tls_port)
    other = complaint(tls_port, "--ca", str(tmp_path / "other.pem"))
    assert "its certificate cannot be trusted" in other
    assert "; --ca FILE names the certificate authorities to trust" in complaint(tls_port, "--tls")


@pytest.mark.parametrize(("given", "owned"), [("localhost", "127.0.0.1"), ("127.0.0.1", "localhost")])
def test_certificate_for_another_name(tmp_path: Path, given: str, owned: str) -> None:
    """Whoever connects by another name or address than the certificate's is told the one that it is for."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = tmp_path / "server.pem"
    authority.issue_cert(owned).private_key_and_cert_chain_pem.write_to_path(pem)
    options = ["--no-plain", "--tls-port", "0", "--tls-cert", str(pem), "--tls-key", str(pem)]
    server = ServerProcess(*options, log=tmp_path / "server.log")
    ended = join(server.port, "--ca", str(tmp_path / "ca.pem"), host=given)

    assert ended.returncode == 1
    assert ended.stderr.endswith(f": its certificate is for {owned}: use that name as SERVER_IP\n")
    assert server.stop() == 0


def test_tls_to_a_server_that_says_nothing() -> None:
    """A server of the brief that ends the connection during the handshake is named as well."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)

        threading.Thread(target=hang_up).start()
        ended = join(listening.getsockname()[1], "--tls")

    assert ended.returncode == 1
    assert "that port does not speak TLS" in ended.stderr


@pytest.mark.parametrize("file", ["empty.pem", "broken.pem", "none.pem", "."])
def test_no_authority(file: str, tmp_path: Path) -> None:
    """A file for --ca that has no certificate in it, or cannot be read, is named; nothing is connected to."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")

    ended = join(1, "--ca", str(tmp_path / file))

    assert ended.returncode == 2
    assert "Invalid value for" in ended.stderr
    assert str(tmp_path / file) in ended.stderr
    assert "connecting" not in ended.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "[127.0.0.1]"])
def test_brackets(host: str) -> None:
    """An address in brackets, as it stands in a URL, is an address; what is printed is what was given."""
    with BriefServer() as brief:
        ended = join(brief.port, host=host)

    assert ended.returncode == 0
    assert ended.stdout.startswith(f"connecting to server at {host}, {brief.port}\n")


def test_ipv6(tmp_path: Path) -> None:
    """So is [::1]."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    server = ServerProcess("--host", "::1", log=tmp_path / "server.log", address=r"\[::1\]")
    try:
        assert join(server.port, host="[::1]").returncode == 0
    finally:
        server.stop()
