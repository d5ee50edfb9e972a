"""Each limit: what happens one step beyond it, and that nothing happens before."""

import asyncio
import re
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chatroom.config import ConfigError, Settings, from_environment, load
from chatroom.doors.admission import WAITING_OF_ONE, WAITING_ROOM, Admission, Verdict
from chatroom.doors.connection import Wait
from chatroom.doors.door import Door
from chatroom.protocol.limits import Limits
from fakes import FakeChat, FakeClient, FakeKernel, FakeLoop, FakeTransport

FAR = "192.0.2.7"


def words(client: FakeClient) -> list[str]:
    return [message.get("error", message["code"]) for message in client.take()]


# Strangers


def test_silent_stranger() -> None:
    """Who connects and says nothing has 10 s; dripping bytes does not make it longer."""
    chat = FakeChat()
    silent, dripping, ann = chat.connect(), chat.connect(), chat.join("ann")

    for _ in range(9):
        chat.loop.pass_time(1)
        dripping.send(b" ")
    assert not silent.transport.eof_written
    chat.loop.pass_time(1.6)

    for stranger in (silent, dripping):
        assert stranger.transport.eof_written
        assert words(stranger) == []
    assert not ann.transport.eof_written


def test_retrying_a_name_has_more_time() -> None:
    """A person whose name was taken gets 60 s to find another, once."""
    chat = FakeChat()
    chat.join("ann")
    person = chat.connect()

    person.ask(code="hello", name="ann")
    chat.loop.pass_time(50)
    person.ask(code="hello", name="Ann")
    chat.loop.pass_time(9)
    assert not person.transport.eof_written
    chat.loop.pass_time(2)
    assert person.transport.eof_written


def test_a_name_that_waits() -> None:
    """While we let a hello wait, no time passes for the stranger; then it has the time that was left."""
    chat = FakeChat()
    strangers = [chat.connect(), chat.connect()]
    chat.loop.pass_time(8)
    chat.hub.effort.left = 0

    for stranger in strangers:
        stranger.ask(code="hello", name="élan")
    chat.loop.pass_time(100)
    assert not any(stranger.transport.eof_written for stranger in strangers)
    chat.hub.effort._renew()
    chat.loop.turn()

    assert words(strangers[0]) == ["welcome"]
    assert words(strangers[1]) == ["name_taken"]
    chat.loop.pass_time(59)
    assert not strangers[1].transport.eof_written
    chat.loop.pass_time(2)
    assert [stranger.transport.eof_written for stranger in strangers] == [False, True]


def test_dripping_after_a_refused_name() -> None:
    """The time to find another name is given once: bytes that drip in do not renew it."""
    chat = FakeChat()
    chat.join("ann")
    person = chat.connect()

    person.ask(code="hello", name="ann")
    for _ in range(62):
        chat.loop.pass_time(1)
        person.send(b" ")

    assert person.transport.eof_written


def test_welcome_within_the_time() -> None:
    """Who was let in is not waited for any longer."""
    chat = FakeChat()
    ann = chat.join("ann")

    chat.loop.pass_time(1000)

    assert not ann.transport.eof_written


def test_stranger_who_sends_much() -> None:
    """4 KiB may come in before an accepted hello, no more."""
    chat = FakeChat()
    stranger = chat.connect()

    stranger.send(b" " * 4096)
    chat.loop.turn()
    assert not stranger.transport.eof_written
    stranger.send(b" ")
    chat.loop.turn()
    assert stranger.transport.eof_written


def test_first_segment_may_be_long() -> None:
    """Hello, and much behind it in the same segment, is no stranger's flood."""
    chat = FakeChat()
    ann = chat.connect()

    ann.send(b'{"code":"hello","name":"ann"}\n' + b'{"code":"who"}\n' * 1000)
    chat.loop.turn()

    assert len(ann.take()) == 1001


def test_stranger_who_is_told_much() -> None:
    """1 KiB of errors is told to a stranger, then it is let go."""
    chat = FakeChat()
    stranger = chat.connect()

    for _ in range(19):
        stranger.ask(code="who")
    chat.loop.turn()

    assert stranger.transport.eof_written
    assert 1024 < sum(map(len, stranger.transport.segments)) < 1200


def test_refused_hellos() -> None:
    """After 20 refused hellos the connection ends."""
    chat = FakeChat()
    chat.join("ann")
    person = chat.connect()

    for number in range(20):
        assert not person.transport.eof_written
        person.ask(code="hello", name="ann" if number % 2 else "*")
        chat.loop.turn()

    assert len(person.take()) == 20
    assert person.transport.eof_written


# Connections


def admission(**limits: Any) -> tuple[FakeLoop, Admission]:
    loop = FakeLoop()
    return loop, Admission(Limits(**limits), limits.get("max_connections", 1000), loop)


def test_connections_of_one_address() -> None:
    """64 connections an address; others are not affected, nor is who is exempt."""
    _, door = admission(rate_per_address=1000)

    assert [door.enter(FAR) for _ in range(65)] == [Verdict.WELCOME] * 64 + [Verdict.CROWDED]
    assert door.enter("192.0.2.8") is Verdict.WELCOME
    assert {door.enter("127.0.0.1") for _ in range(100)} == {Verdict.WELCOME}
    door.leave(FAR, Verdict.WELCOME)
    assert door.enter(FAR) is Verdict.WELCOME


def test_new_connections_of_one_address() -> None:
    """20 new ones a second, whether the old ones are still there or not."""
    loop, door = admission()

    def enter() -> Verdict:
        verdict = door.enter(FAR)
        if verdict is Verdict.WELCOME:
            door.leave(FAR, Verdict.WELCOME)
        return verdict

    assert [enter() for _ in range(21)] == [Verdict.WELCOME] * 20 + [Verdict.CROWDED]
    loop.pass_time(0.5)
    assert [enter() for _ in range(11)] == [Verdict.WELCOME] * 10 + [Verdict.CROWDED]


def test_networks_count_as_one() -> None:
    """IPv6 is counted by networks of 64 bits; IPv4 in IPv6 is IPv4."""
    _, door = admission(max_per_address=2, rate_per_address=1000)

    assert [door.enter(f"2001:db8::{number}") for number in (1, 2, 3)][-1] is Verdict.CROWDED
    assert door.enter("2001:db8:0:1::1") is Verdict.WELCOME
    assert [door.enter(host) for host in (FAR, f"::ffff:{FAR}", FAR)][-1] is Verdict.CROWDED
    assert {door.enter("::ffff:127.0.0.1") for _ in range(9)} == {Verdict.WELCOME}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (FAR, FAR),
        (f"::ffff:{FAR}", FAR),
        ("2001:db8::7", "2001:db8::/64"),
        ("fe80::7%eth0", "fe80::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("unknown", ""),
    ],
)
def test_origins(host: str, origin: str) -> None:
    """The hub is told the network that a peer comes from, as limits count it; nothing if it is exempt."""
    assert FakeChat().connect(host).connection._outbox.origin == origin


@pytest.mark.parametrize(
    ("host", "own", "is_private"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.8.8.8", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        (FAR, "198.51.100.1", False),
        (FAR, "127.0.0.1", False),
        ("127.0.0.1", "198.51.100.1", False),
        ("198.51.100.1", "198.51.100.1", False),
        ("unknown", "", False),
    ],
)
def test_private_connections(host: str, own: str, *, is_private: bool) -> None:
    """Without TLS, only what goes from loopback to loopback is private."""
    chat = FakeChat()
    transport = FakeTransport(chat.loop, (host, 5000))
    transport.own = own
    connection = chat.door()
    connection.connection_made(cast("asyncio.Transport", transport))

    assert connection._outbox.is_private == is_private


def test_addresses_are_forgotten() -> None:
    """The table of addresses does not grow with all who ever came."""
    loop, door = admission()

    for number in range(5000):
        host = f"10.{number >> 8}.{number & 255}.1"
        assert door.enter(host) is Verdict.WELCOME
        door.leave(host, Verdict.WELCOME)
        loop.pass_time(0.1)

    assert len(door._addresses) <= 1024


def test_too_many_of_one_address_are_told_so() -> None:
    """Over the limit of its address one is told `slow_down` when one asks, and let go; a few wait for that."""
    chat = FakeChat(max_per_address=1)
    chat.join("ann", host=FAR)
    crowd = [chat.connect(host=FAR) for _ in range(WAITING_OF_ONE + 5)]
    chat.loop.turn()
    assert [client.transport.is_gone for client in crowd] == [False] * WAITING_OF_ONE + [True] * 5

    crowd[0].ask(code="hello", name="bob")
    chat.loop.turn()

    [refusal] = crowd[0].take()
    assert (refusal["error"], refusal["temporary"], refusal["retry_after"]) == ("slow_down", True, 10.0)
    assert crowd[0].transport.eof_written
    chat.loop.pass_time(5)
    assert all(client.transport.is_gone for client in crowd)
    assert not any(client.transport.segments for client in crowd)
    assert sum("turned away" in line for line in chat.observer.lines) == len(crowd)
    assert len(chat.door.connections) == 1


def test_server_full() -> None:
    """Above the limit one is told `server_full` when one asks, and let go; the log says so once."""
    chat = FakeChat(max_connections=2)
    ann, _ = chat.join("ann"), chat.join("bob")
    late, silent = chat.connect(), chat.connect()

    late.ask(code="hello", name="late", ref="r")
    chat.loop.turn()
    [refusal] = late.take()
    assert (refusal["error"], refusal["ref"], refusal["temporary"]) == ("server_full", "r", True)
    assert refusal["retry_after"] > 0
    chat.loop.pass_time(3)
    assert late.transport.is_gone
    assert silent.transport.is_gone
    assert words(silent) == []
    assert [line for line in chat.observer.lines if line.startswith("full")] == [
        "full: 2 connections; more are turned away"
    ]

    ann.ask(code="quit")
    ann.connection.eof_received()
    chat.loop.pass_time(2)
    chat.join("late")


def test_waiting_room_is_bounded() -> None:
    """No more than a hundred wait to be told that the server is full."""
    chat = FakeChat(max_connections=1)
    chat.join("ann")

    crowd = [chat.connect() for _ in range(WAITING_ROOM + 50)]
    chat.loop.turn()

    assert sum(client.transport.is_gone for client in crowd) == 50


# Messages


@pytest.mark.parametrize(("text", "fits"), [("x" * 16384, True), ("x" * 16385, False), ("é" * 8193, False)])
def test_content(text: str, fits: bool) -> None:
    """A message has 16 KiB of UTF-8 at most, direct or broadcast."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    ann.ask(code="outgoing", to="bob", content=text)
    ann.ask(code="outgoing_broadcast", content=text)
    chat.loop.turn()

    replies = ann.take()
    assert [(reply["error"], reply["message"].split(" is ")[0]) for reply in replies] == (
        [] if fits else [("too_big", "the message")] * 2
    )
    assert all(reply["message"].endswith("bytes long; at most 16384 are allowed") for reply in replies)
    assert len(bob.take()) == (2 if fits else 0)


def test_a_paste_goes_through() -> None:
    """A hundred lines at once from far away all arrive, within seconds; meanwhile nobody else waits."""
    chat = FakeChat()
    ann, bob = chat.join("ann", host=FAR), chat.join("bob", host=FAR)
    chat.loop.pass_time(60)

    for number in range(100):
        ann.ask(code="outgoing_broadcast", content=str(number))
    chat.loop.turn()
    assert 40 <= len(bob.transport.segments[0].splitlines()) <= 60
    assert not ann.transport.is_read
    bob.ask(code="who")
    chat.loop.turn()
    chat.loop.pass_time(4)

    received = [message.get("content", "users") for message in bob.take()]
    assert [text for text in received if text != "users"] == [str(number) for number in range(100)]
    assert received.index("users") < 99
    assert ann.transport.is_read
    assert words(ann) == []


def test_flood() -> None:
    """Who goes on is read more slowly, then refused with `slow_down`, and let go after 30 s."""
    chat = FakeChat()
    ann, bob = chat.join("ann", host=FAR), chat.join("bob")
    chat.loop.pass_time(60)

    second = 0
    while not ann.transport.eof_written:
        for _ in range(1000):
            ann.ask(code="outgoing_broadcast", content="spam")
        chat.loop.pass_time(1)
        second += 1
        assert second < 50

    assert 31 <= second <= 35
    assert 130 <= len(bob.take()) <= 50 + 20 * 9
    assert set(words(ann)) == {"slow_down"}
    assert "left ann flood" in chat.observer.lines


def test_flood_from_one_s_own_machine() -> None:
    """Loopback is exempt: nothing waits, nothing is refused."""
    chat = FakeChat()
    ann, bob = chat.join("ann"), chat.join("bob")

    for _ in range(5000):
        ann.ask(code="outgoing_broadcast", content="x")
    chat.loop.turn()

    assert len(bob.take()) == 5000


def test_a_broadcast_costs_by_its_readers() -> None:
    """A broadcast to two thousand counts as three requests, a note to one as one."""
    chat = FakeChat()
    ann = chat.join("ann", host=FAR)
    for number in range(1999):
        chat.join(f"reader{number}")
    chat.loop.pass_time(60)

    for _ in range(50):
        ann.ask(code="outgoing_broadcast", content="x")
    chat.loop.turn()

    assert len(chat.hub.users()) == 2000
    [reader, *_] = [one for one in chat.door.connections if one._client.name == "reader0"]
    segments = reader._outbox._transport.segments  # type: ignore[attr-defined]
    assert b"".join(segments).count(b"incoming_broadcast") == 16


def test_an_object_may_wait_while_we_do_not_read() -> None:
    """Who is read more slowly is not blamed for an object that it cannot finish."""
    chat = FakeChat(flood_timeout=1000, slow_down_after=1000)
    ann = chat.join("ann", host=FAR)
    chat.loop.pass_time(60)

    ann.send(b'{"code":"who"}\n' * 400 + b'{"code":')
    chat.loop.pass_time(15)
    assert not ann.transport.is_read
    chat.loop.pass_time(9)
    ann.send(b'"who"}\n')
    chat.loop.turn()

    assert len(ann.take()) == 401


# Readers


def test_stalled_reader() -> None:
    """A reader with less than 1 MiB before it that makes no progress for 30 s is let go."""
    chat = FakeChat()
    ann, bob, slow = chat.join("ann"), chat.join("bob"), chat.join("slow")
    for reader in (bob, slow):
        reader.transport.is_reading = False
    for _ in range(10):
        ann.ask(code="outgoing_broadcast", content="x" * 15_000)
        chat.loop.turn()

    for _ in range(40):
        chat.loop.pass_time(1)
        slow.transport.read_some(1)

    assert bob.transport.is_gone
    assert not slow.transport.is_gone
    assert "left bob slow_consumer" in chat.observer.lines


@pytest.mark.parametrize(
    ("is_read", "is_silent", "end"),
    [(True, False, ""), (False, False, "slow_consumer"), (False, True, "timed out")],
)
def test_reader_of_what_the_kernel_keeps(*, is_read: bool, is_silent: bool, end: str) -> None:
    """Though nothing waits in the transport: who takes a little now and then stays, nobody else."""
    chat = FakeChat()
    ann = chat.join("ann")
    kernel = cast("FakeKernel", ann.connection._kernel)
    taken = 0
    kernel.taken, kernel.unacknowledged = lambda: taken, lambda: 500_000  # type: ignore[method-assign]
    kernel.is_silent = is_silent

    for second in range(36):
        chat.loop.pass_time(1)
        taken += is_read and second % 10 == 0
        assert not (ann.transport.is_gone and second < 30) or is_silent

    assert ann.transport.is_gone == bool(end)
    assert not end or f"left ann {end}" in chat.observer.lines


def test_all_backlogs_together() -> None:
    """When all together hold too much, who holds most goes first; what many hold counts once."""
    chat = FakeChat(max_backlogs=2_000_000)
    ann = chat.join("ann")
    readers = [chat.join(f"reader{number}") for number in range(20)]
    for reader in readers:
        reader.transport.is_reading = False

    for _ in range(20):
        ann.ask(code="outgoing_broadcast", content="x" * 15_000)
        chat.loop.pass_time(0.1)
    assert not any(reader.transport.is_gone for reader in readers)
    kept = sum(reader.transport.get_write_buffer_size() for reader in readers)
    assert kept + 200_000 < chat.door.backlog.size < kept + 400_000 < 2_000_000
    for _ in range(20):
        ann.ask(code="outgoing", to="reader7", content="x" * 15_000)
        chat.loop.pass_time(0.1)

    assert [reader.transport.is_gone for reader in readers] == [number == 7 for number in range(20)]
    for reader in readers:
        reader.transport.vanish(None)
    chat.loop.turn()
    assert chat.door.backlog.size == 0
    assert not chat.door.backlog._outboxes


# What is asked for


def test_features() -> None:
    """Who names features is told which were granted; who does not is told nothing."""
    chat = FakeChat()
    ann = chat.connect()

    ann.ask(code="hello", name="ann", features=["notices", "teleport"])
    chat.loop.turn()

    [welcome] = ann.take()
    assert welcome == {
        "code": "welcome",
        "name": "ann",
        "features": ["notices"],
        "server": "chatroom",
        "limits": {"object": 65536, "content": 16384},
    }


def test_notices() -> None:
    """The end is announced to those who asked for notices, and to nobody else."""
    chat = FakeChat()
    base, ann = chat.join("base"), chat.connect()
    ann.ask(code="hello", name="ann", features=["notices"])
    chat.loop.turn()
    ann.take()

    chat.door.close()
    chat.loop.turn()

    assert ann.take() == [{"code": "closing", "reason": "draining", "reconnect": True}]
    assert base.take() == []
    assert base.transport.eof_written


def test_ping() -> None:
    """Who asks is answered; who asked to be pinged is, and is let go if it does not answer."""
    chat = FakeChat()
    base, quick, dead = chat.join("base"), chat.connect(), chat.connect()
    base.ask(code="ping", ref="x")
    for client, name in ((quick, "quick"), (dead, "dead")):
        client.ask(code="hello", name=name, features=["ping"])
    chat.loop.turn()
    assert base.take() == [{"code": "pong", "ref": "x"}]
    quick.take(), dead.take()

    for _ in range(100):
        chat.loop.pass_time(1)
        if words(quick):
            quick.ask(code="pong")

    assert words(base) == []
    assert words(dead) == ["ping"]
    assert dead.transport.is_gone
    assert not quick.transport.is_gone
    assert "left dead idle" in chat.observer.lines


def test_nothing_is_waited_for_in_vain() -> None:
    """When all have gone, nothing is left: no deadline, no name, no connection."""
    chat = FakeChat()
    clients = [chat.join(f"user{number}", host=FAR) for number in range(20)]
    for client in clients:
        client.send(b'{"code":"who"}\n' * 100 + b"{")
        client.transport.is_reading = False
    chat.loop.turn()

    for client in clients:
        client.transport.vanish(None)
    chat.loop.pass_time(100)

    assert not chat.door.connections
    assert not len(chat.door.deadlines)
    assert not chat.hub.users()
    assert not any(chat.hub.house.claimed)
    assert chat.door.admission.connections == 0
    assert set(Wait)  # each was cleared


# Settings


def test_settings_from_everywhere(tmp_path: Path) -> None:
    """The file counts for more than the defaults, the environment for more than the file, flags for most."""
    file = tmp_path / "chatroom.toml"
    file.write_text('host = "::"\nport = 1\n[limits]\nmax_content = 1\nmax_faults = 1\nexempt = []\n')
    environment = {
        "CHATROOM_PORT": "2",
        "CHATROOM_LIMITS_MAX_FAULTS": "2",
        "CHATROOM_LIMITS_EXEMPT": "10.0.0.0/8",
    }

    settings = load(file, environment, {"port": 3, "host": None}, ["max_faults=3"])

    assert (settings.host, settings.port) == ("::", 3)
    assert (settings.limits.max_content, settings.limits.max_faults) == (1, 3)
    assert settings.limits.exempt == ("10.0.0.0/8",)
    assert load(None, {}, {}, []) == Settings()


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (["max_object=3"], "--limit max_object: must be a whole number from 256 to 16777216, not '3'"),
        (["max_object=x"], "--limit max_object: must be a whole number from 256"),
        (["hello_timeout=0"], "--limit hello_timeout: must be a number above 0, at most 86400, not '0'"),
        (["nonsense=1"], "--limit nonsense: there is no such setting"),
        (["max_objetc=1"], "no such setting, perhaps --limit max_object"),
        (["max_object"], "NAME=VALUE"),
        (["exempt=10.0.0.0/33"], "--limit exempt: "),
        (["register=perhaps"], "--limit register: must be true or false, not 'perhaps'"),
        (["max_accounts=0"], "--limit max_accounts: must be a whole number from 1 to 10000000, not '0'"),
        (["register_per_day=0"], "--limit register_per_day: must be a number above 0"),
        (["account_idle=0"], "--limit account_idle: must be a number above 0, at most 36500, not '0'"),
        (
            ["max_backlog=999"],
            "--limit max_backlog: max_content is 16384, but must not be greater than max_backlog",
        ),
        (
            ["max_backlogs=99"],
            "--limit max_backlogs: max_backlog is 1048576, but must not be greater than max_ba",
        ),
        (
            ["slow_down_after=31"],
            "--limit slow_down_after: slow_down_after is 31.0, but must not be greater than",
        ),
    ],
)
def test_wrong_limits(limits: list[str], complaint: str) -> None:
    """A wrong limit names itself and what is allowed, in one line."""
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {}, limits)

    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("port = 70000", "port: must be a whole number from 0 to 65535"),
        ('port = "x"', "port: "),
        ("prot = 1", "prot: there is no such setting, perhaps port"),
        ('"prot-no" = 1', "prot-no: there is no such setting"),
        ("port = ", "Invalid value"),
        ("limits = 1", "limits: must be a table, not 1"),
        ("port = 1.5", "port: must be a whole number from 0 to 65535"),
        ("host = 5", "host: must be a non-empty string"),
        (r'tls_key = "\u0000"', "tls_key: must be a non-empty string"),
        ('host = ""', "host: must be a non-empty string without NUL, not ''"),
        ("tls_port = 70000", "tls_port: must be a whole number from 0 to 65535"),
        ("tls_port = 1", "tls_port needs tls_cert and tls_key"),
        ('tls_key = "key.pem"', "tls_key needs tls_port"),
        ('tls_port = 1\ntls_cert = "cert.pem"', "tls_port needs tls_key"),
        ("plain = 5", "plain: must be true or false"),
        ("plain = false", "plain=false needs tls_port"),
        ('tls_host = "::"', "tls_host needs tls_port"),
        ("max_content = 5", "max_content: there is no such setting, perhaps limits.max_content"),
        ("[limits]\nport = 5", "limits.port: there is no such setting, perhaps port"),
        ("[limits]\nmax_content = 65536", "limits.max_content: max_content is 65536, but max_object, which"),
        ("[limits]\nmax_object = 16000", "limits.max_object: max_content is 16384, but max_object, which"),
        ("[limits]\nexempt = 5", "limits.exempt: must be a list of strings"),
        ("[limits]\nmax_objetc = 5", "limits.max_objetc: there is no such setting, perhaps limits.max_object"),
    ],
)
def test_wrong_file(tmp_path: Path, text: str, complaint: str) -> None:
    """A wrong setting in the file names the file, itself, and what is allowed."""
    file = tmp_path / "chatroom.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}: .*{complaint}"):
        load(file, {}, {}, [])


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CHATROOM_FOO", "x", "CHATROOM_FOO: there is no such setting"),
        ("CHATROOM_PROT", "1", "CHATROOM_PROT: there is no such setting, perhaps CHATROOM_PORT"),
        ("CHATROOM_PORT", "x", "CHATROOM_PORT: must be a whole number from 0 to 65535, not 'x'"),
        ("CHATROOM_HOST", "", "CHATROOM_HOST: must be a non-empty string without NUL, not ''"),
        ("CHATROOM_PLAIN", "false", "CHATROOM_PLAIN=false needs CHATROOM_TLS_PORT"),
        ("CHATROOM_TLS_CERT", "cert.pem", "CHATROOM_TLS_CERT needs CHATROOM_TLS_PORT"),
        ("CHATROOM_LIMITS", "1", "CHATROOM_LIMITS: must be a table, not '1'"),
        ("CHATROOM_MAX_FAULTS", "1", "CHATROOM_MAX_FAULTS: there is no such setting, perhaps CHATROOM_LIMITS_"),
        ("CHATROOM_LIMITS_NONSENSE", "1", "CHATROOM_LIMITS_NONSENSE: there is no such setting"),
        ("CHATROOM_LIMITS_EXEMPT", "x", "CHATROOM_LIMITS_EXEMPT: 'x' does not appear"),
    ],
)
def test_wrong_environment(variable: str, value: str, complaint: str) -> None:
    """A wrong setting in the environment names its variable."""
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}"):
        load(None, {variable: value}, {}, [])


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"tls_cert": "cert.pem", "tls_key": "key.pem"}, "--tls-cert needs --tls-port"),
        ({"tls_key": "key.pem"}, "--tls-key needs --tls-port"),
        ({"tls_host": "::"}, "--tls-host needs --tls-port"),
        ({"tls_port": 1}, "--tls-port needs --tls-cert and --tls-key"),
        ({"plain": False}, "--no-plain needs --tls-port"),
        ({"host": ""}, "--host: must be a non-empty string without NUL, not ''"),
    ],
)
def test_wrong_flags(flags: dict[str, Any], complaint: str) -> None:
    """A wrong setting on the command line is named as one types it."""
    with pytest.raises(ConfigError, match=f"^{re.escape(complaint)}$"):
        load(None, {}, flags, [])


@pytest.mark.parametrize(
    ("text", "environment", "complaint"),
    [
        ("port = 70000", {"CHATROOM_PORT": "1"}, "port: must be a whole number"),
        ("[limits]\nmax_faults = 0", {"CHATROOM_LIMITS_MAX_FAULTS": "1"}, "limits.max_faults: must be"),
        ("[limits]\nexempt = ['x']", {"CHATROOM_LIMITS_EXEMPT": "::/0"}, "limits.exempt: 'x' does not"),
        ("limits = 1", {"CHATROOM_LIMITS_MAX_FAULTS": "1"}, "limits: must be a table"),
        ("", {"CHATROOM_PORT": "x"}, "CHATROOM_PORT: must be a whole number"),
        ("", {"CHATROOM_LIMITS_MAX_FAULTS": "x"}, "CHATROOM_LIMITS_MAX_FAULTS: must be"),
    ],
)
def test_wrong_and_overridden(tmp_path: Path, text: str, environment: dict[str, str], complaint: str) -> None:
    """A wrong setting is refused though a stronger source, the command line above all, has a right one."""
    file = tmp_path / "chatroom.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load(file, environment, {"port": "5"}, ["max_faults=5", "exempt=::1/128"])


def test_links_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kubernetes and Docker say of a service called `chatroom`, or `chatroom-tls`, is passed over."""
    links = {
        "CHATROOM_SERVICE_HOST": "10.0.0.1",
        "CHATROOM_SERVICE_PORT": "7777",
        "CHATROOM_SERVICE_PORT_CHAT": "7777",
        "CHATROOM_PORT": "tcp://10.0.0.1:7777",
        "CHATROOM_PORT_7777_TCP": "tcp://10.0.0.1:7777",
        "CHATROOM_PORT_7777_TCP_ADDR": "10.0.0.1",
        "CHATROOM_TLS_SERVICE_HOST": "10.0.0.1",
        "CHATROOM_TLS_PORT": "tcp://10.0.0.1:7778",
        "CHATROOM_TLS_PORT_7778_TCP_PORT": "7778",
        "CHATROOM_NAME": "/web/chatroom",
        "CHATROOM_ENV_PATH": "/bin",
    }
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    assert load(None, from_environment(), {}, []) == Settings()

    monkeypatch.setenv("CHATROOM_PORT", "1")
    monkeypatch.setenv("CHATROOM_SERVICES", "x")
    assert from_environment() == {"CHATROOM_PORT": "1", "CHATROOM_SERVICES": "x"}


def test_the_client_program_s_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server passes over the client program's password; one that is spelled wrong is refused, unquoted."""
    monkeypatch.setenv("CHATROOM_PASSWORD", "correct horse")
    assert load(None, from_environment(), {}, []) == Settings()

    monkeypatch.setenv("CHATROOM_PASSWROD", "correct horse")
    with pytest.raises(ConfigError, match=r"^CHATROOM_PASSWROD: there is no such setting$"):
        load(None, from_environment(), {}, [])


def test_settings_of_accounts() -> None:
    """Switches and numbers of accounts are checked as all settings are."""
    bounds = ["register=false", "guests=0", "max_accounts=7", "register_burst=1", "register_per_day=0.5"]

    limits = load(None, {"CHATROOM_LIMITS_ACCOUNT_IDLE": "30"}, {}, bounds).limits

    assert (limits.register, limits.guests, limits.max_accounts) == (False, False, 7)
    assert (limits.register_burst, limits.register_per_day, limits.account_idle) == (1, 0.5, 30.0)


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that is not there, or is no text, is named once."""
    missing, binary = tmp_path / "missing.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")

    with pytest.raises(ConfigError, match=f"^--config {re.escape(str(missing))}: No such file or directory$"):
        load(missing, {}, {}, [])
    with pytest.raises(ConfigError, match=f"^{re.escape(str(binary))}: .*utf-8"):
        load(binary, {}, {}, [])


def test_room_by_default() -> None:
    """Without a limit set, there is room for as many as files may be open, less 200."""
    from chatroom.server import RESERVED, _descriptors

    assert _descriptors() == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert RESERVED == 200


async def test_the_store_has_what_is_left() -> None:
    """One time is for both: connections that do not end leave the store a fifth of it, at most."""
    from chatroom.server import _drain

    class StuckDoor:
        connections = (1,)
        all_gone = asyncio.Event()
        ends: tuple[str, ...] = ()

        def __getattr__(self, end: str) -> Any:
            self.ends += (end,)
            return lambda: None

    door = StuckDoor()
    left = await _drain(cast("Door", door), 0.1, cast("Any", SimpleNamespace(at_once=asyncio.Event())))

    assert door.ends == ("close", "hurry", "abort")
    assert 0 <= left <= 0.02
