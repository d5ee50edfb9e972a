"""Accounts, through the TCP door, with a fake loop: registering, logging in, devices, what waits for one."""

import json
from itertools import pairwise
from typing import Any

import pytest

from chatroom.doors.pacing import PACE
from chatroom.hub.account import MOST_DEVICES, MOST_SESSIONS, MOST_WAITING, SESSION_DAYS
from chatroom.hub.entries import Entry, encode
from chatroom.hub.guessing import CHANGES, FOR_A_NAME, IN_ALL, MINUTE
from chatroom.hub.hashing import MOST
from chatroom.hub.house import Asked
from chatroom.hub.hub import EXPIRY, NEW_IDLE, PAUSE
from chatroom.hub.ports import Order
from chatroom.hub.replay import MOST_WAITING as SHOWN
from chatroom.protocol import names
from fakes import FakeChat, FakeClient, FakeHasher, FakeStore
from stored import Disk

PASSWORD, OTHER = "correct horse", "battery staple"
DAY = 86_400
FAR = "192.0.2.7"
"""From where nothing is private."""


def order(what: str, name: str, password: str = "", *, is_set: bool = False) -> Order:
    hashed = FakeHasher.hashed(password) if password else ""
    return Order(1, what, name, hashed, 0, is_set, "")


class Town(FakeChat):
    """A chat with a store, which does at once what it is asked for."""

    def __init__(self, store: FakeStore | None = None, **limits: Any) -> None:
        self.disk = store or FakeStore()
        super().__init__(store=self.disk, **limits)
        self.loop.settle = self.disk.work

    def come(self, name: str, *features: str, host: str = "127.0.0.1", **extra: object) -> FakeClient:
        """Connect somebody; what it is told first is its `welcome`, or why not."""
        client = self.connect(host)
        self.greet(client, name, *features, **extra)
        return client

    def greet(self, client: FakeClient, name: str, *features: str, **extra: object) -> None:
        if features:
            extra["features"] = features
        client.ask(code="hello", name=name, **extra)
        self.loop.turn()

    def account(self, name: str, password: str = PASSWORD, *features: str) -> FakeClient:
        """Return somebody who has registered."""
        client = self.come(name, *(features or ("resume", "notices")))
        client.take()
        client.ask(code="register", password=password)
        self.loop.turn()
        [client.welcome] = client.take()  # type: ignore[attr-defined]
        assert client.welcome["code"] == "registered"  # type: ignore[attr-defined]
        return client

    def drop(self, client: FakeClient) -> None:
        client.transport.vanish(ConnectionResetError())
        self.loop.turn()

    def users(self) -> list[str]:
        return self.hub.users()

    def again(self, days: float = 0.0, **limits: Any) -> "Town":
        """Return the same after a crash, and so many days."""
        self.disk.work()
        town = Town(self.disk, now=self.loop.now + days * DAY, **limits)
        town.loop.turn()
        return town


def secret(client: FakeClient) -> str:
    welcome: dict[str, Any] = client.welcome  # type: ignore[attr-defined]
    return str(welcome["session"])


def told(client: FakeClient) -> dict[str, Any]:
    """Return the one thing that it was told."""
    client.loop.turn()
    [reply] = client.take()
    return reply


def error_of(client: FakeClient) -> str:
    reply = told(client)
    assert reply["code"] == "error", reply
    return str(reply["error"])


def contents(client: FakeClient) -> list[str]:
    """Return what was said that it has got."""
    client.loop.turn()
    return [one["content"] for one in client.take() if one["code"].startswith("incoming")]


# Registering


def test_register() -> None:
    """The name is one's own from then on: `registered` says so once it is stored, as a hash."""
    town = Town()
    ann = town.come("ann")
    ann.take()
    ann.ask(code="register", password=PASSWORD, ref="r")
    assert ann.take() == []
    town.loop.turn()

    assert ann.take() == [{"code": "registered", "ref": "r"}]
    [account] = town.disk.accounts.values()
    assert (account.name, account.hashed, account.version) == ("ann", town.hasher.hashed(PASSWORD), 1)
    assert account.number == town.hub.house.spelled["ann"].number
    assert town.users() == ["ann"]


def test_registered_comes_behind_the_store() -> None:
    """Who is told `registered` owns the name after a crash, too; if it cannot be stored, one is told that."""
    town = Town()
    ann, bob = town.come("ann"), town.come("bob")
    town.loop.settle = lambda: None
    for client in (ann, bob):
        client.take()
        client.ask(code="register", password=PASSWORD)
    town.loop.turn()
    assert ann.take() == []

    town.disk.work(1)
    town.loop.turn()
    assert ann.take() == [{"code": "registered"}]
    town.disk.work(is_full=True)
    assert error_of(bob) == "not_stored"


@pytest.mark.parametrize("password", ["", "1234567", "x" * 129, "x" * 60_000])
def test_passwords_that_are_none(password: str) -> None:
    """8 to 128 characters; others are not hashed."""
    town = Town()
    ann = town.come("ann")
    ann.take()
    ann.ask(code="register", password=password)
    assert error_of(ann) == "bad_password"
    assert town.hasher.hashes == 0


def test_who_may_not_register() -> None:
    """Not without a store, not where others could read it, not if it is set so, and not twice."""
    chat = FakeChat()
    client = chat.join("ann")
    client.ask(code="register", password=PASSWORD)
    assert error_of(client) == "not_allowed"

    town = Town(register=False)
    far = Town()
    for client in (town.come("ann"), far.come("ann", host=FAR)):
        client.take()
        client.ask(code="register", password=PASSWORD)
        assert error_of(client) == "not_allowed"
    ann = far.account("bob")
    ann.ask(code="register", password=PASSWORD)
    assert error_of(ann) == "not_allowed"
    full = Town(max_accounts=1)
    full.account("ann")
    client = full.come("bob")
    client.take()
    client.ask(code="register", password=PASSWORD)
    assert error_of(client) == "not_allowed"
    assert [one.name for one in full.hub.house.accounts.values()] == ["ann"]


def test_the_connection_ends_while_its_password_is_hashed() -> None:
    """Nothing comes of it, for nobody."""
    town = Town()
    town.account("eve")
    town.hasher.is_held = True
    ann, eve = town.come("ann"), town.connect()
    ann.ask(code="register", password=PASSWORD)
    eve.ask(code="hello", name="eve", password=PASSWORD)
    for client in (ann, eve):
        town.drop(client)
    town.hasher.work()

    [account] = town.hub.house.accounts.values()
    assert (account.name, len(account.devices)) == ("eve", 1)


def test_too_many_hashes() -> None:
    """Then one is told to come again, and nothing is hashed."""
    town = Town()
    ann = town.account("ann")
    town.hasher.fails = True
    ann.ask(code="register", password=OTHER, old=PASSWORD)
    reply = told(ann)
    assert (reply["error"], reply["temporary"]) == ("slow_down", True)
    assert reply["retry_after"] > 0
    bob = town.come("ann", password=PASSWORD)
    assert error_of(bob) == "slow_down"
    town.hasher.fails = False
    town.greet(bob, "ann", password=PASSWORD)
    assert told(bob)["code"] == "welcome"


def test_who_waits_for_a_hash_is_not_read() -> None:
    """What comes behind is done behind it; others are served meanwhile."""
    town = Town()
    town.hasher.is_held = True
    ann, bob = town.come("ann"), town.come("bob")
    for client in (ann, bob):
        client.take()
    ann.ask(code="register", password=PASSWORD)
    ann.ask(code="outgoing_broadcast", content="behind")
    town.loop.turn()
    assert bob.take() == []
    bob.ask(code="ping")
    assert told(bob) == {"code": "pong"}

    town.hasher.work()
    assert told(ann) == {"code": "registered"}
    assert contents(bob) == ["behind"]


def test_passwords_not_in_ascii_wait_for_their_turn() -> None:
    """To check one takes longer: all connections together have an allowance for that."""
    town = Town()
    town.account("ann", "пароль ann")
    bob, ann = town.come("bob"), town.connect()
    bob.take()
    town.hub.effort.left = 0
    bob.ask(code="register", password="пароль bob")
    ann.ask(code="hello", name="ann", password="пароль ann")
    town.loop.turn()
    assert bob.take() == ann.take() == []

    town.hub.effort._renew()
    assert told(bob) == {"code": "registered"}
    assert told(ann)["code"] == "welcome"


@pytest.mark.parametrize("closes", [False, True])
def test_a_hash_may_take_its_time(*, closes: bool) -> None:
    """While one waits for a hash, no time passes for it; who closes its side meanwhile is answered, too."""
    town = Town()
    town.account("ann")
    town.hasher.is_held = True
    right, wrong = town.connect(), town.connect()
    for client, password in (right, PASSWORD), (wrong, OTHER):
        client.ask(code="hello", name="ann", password=password)
        assert not closes or client.connection.eof_received()
    town.loop.pass_time(100)
    town.hasher.work()

    assert told(right)["code"] == "welcome"
    assert told(wrong)["error"] == "bad_password"
    town.loop.pass_time(59)
    assert [client.transport.is_gone for client in (right, wrong)] == [closes, closes]
    assert not wrong.transport.eof_written
    town.loop.pass_time(2)
    assert [client.transport.eof_written for client in (right, wrong)] == [False, not closes]


def test_another_password() -> None:
    """With the old one; the other sessions end, also those that are away; a wrong one changes nothing."""
    town = Town()
    ann = town.account("ann")
    away = town.come("ann", "resume", password=PASSWORD)
    away_secret = away.take()[0]["session"]
    town.drop(away)
    phone = town.come("ann", "resume", "notices", password=PASSWORD)
    phone_secret = phone.take()[0]["session"]

    ann.ask(code="register", password=OTHER, old="wrong password")
    assert error_of(ann) == "bad_password"
    assert town.users() == ["ann"]
    ann.ask(code="register", password=OTHER, old=PASSWORD)
    assert told(ann)["code"] == "registered"
    why = "the password of this account has changed"
    assert phone.take() == [{"code": "closing", "reason": "kicked", "reconnect": False, "message": why}]
    assert town.users() == ["ann"]
    for session in (away_secret, phone_secret):
        assert error_of(town.come("ann", "resume", session=session)) == "name_reserved"
    assert error_of(town.come("ann", password=PASSWORD)) == "bad_password"
    assert told(town.come("ann", password=OTHER))["code"] == "welcome"
    [stored] = town.disk.accounts.values()
    assert (stored.version, stored.hashed) == (2, town.hasher.hashed(OTHER))


@pytest.mark.parametrize("sets_another", [False, True])
def test_a_secret_from_before(*, sets_another: bool) -> None:
    """What others may have read in clear, or stolen before a new password, opens no account; the new one does.

    And so it is behind a restart.
    """
    town = Town()
    ann = town.come("ann", "resume")
    before = ann.take()[0]["session"]
    if sets_another:
        ann.ask(code="register", password=PASSWORD)
        before = told(ann)["session"]
        ann.ask(code="register", password=OTHER, old=PASSWORD)
    else:
        ann.ask(code="register", password=PASSWORD)
    after = told(ann)["session"]

    for here in (town, town.again()):
        assert error_of(here.come("ann", "resume", session=before)) == "name_reserved"
        welcome = told(here.come("ann", "resume", session=after))
        assert (welcome["code"], welcome["session"]) == ("welcome", after)


def test_who_has_no_account_has_no_old_password() -> None:
    """It cannot set another's."""
    town = Town()
    town.drop(town.account("ann"))
    bob = town.come("bob")
    bob.take()
    bob.ask(code="register", password=OTHER, old=PASSWORD)
    assert error_of(bob) == "not_allowed"


def test_two_change_the_password_at_once() -> None:
    """The one whose old password is old by then is refused, and ends nobody's session."""
    town = Town()
    ann = town.account("ann")
    phone = town.come("ann", "resume", password=PASSWORD)
    phone.take()
    town.hasher.is_held = True
    for client, password in ((ann, OTHER), (phone, "a third password")):
        client.ask(code="register", password=password, old=PASSWORD)
        town.loop.turn()
    town.hasher.work()
    town.loop.turn()

    assert [one["code"] for one in ann.take()] == ["registered"]
    [account] = town.hub.house.accounts.values()
    assert account.hashed == town.hasher.hashed(OTHER)
    assert len(account.sessions) == 1


# Coming to an account


def test_a_login_does_not_look_like_an_attack_in_the_log() -> None:
    """That a name is reserved is how the owner's program is told to ask for a password; the next is logged."""
    town = Town()
    town.drop(town.account("ann"))
    ann = town.come("ann")
    lines = town.observer.lines
    assert (error_of(ann), lines.count("refused name_reserved")) == ("name_reserved", 0)
    for times, (password, error) in enumerate([(OTHER, "bad_password"), (None, "name_reserved")], 1):
        town.greet(ann, "ann", **({} if password is None else {"password": password}))
        assert error_of(ann) == error
        assert len([line for line in lines if line.startswith("refused")]) == times
    town.greet(ann, "ann", password=PASSWORD)
    assert told(ann)["code"] == "welcome"


def test_logging_in() -> None:
    """A password gives the name, spelled as it was registered, however it is spelled now."""
    town = Town()
    town.drop(town.account("Ann"))
    assert town.users() == []

    ann = town.come("ａｎｎ", "resume", password=PASSWORD)

    welcome = told(ann)
    assert (welcome["name"], welcome["rooms"]) == ("Ann", [])
    assert "operator" not in welcome
    assert town.users() == ["Ann"]


def test_who_is_told_that_the_name_is_an_accounts() -> None:
    """Whoever comes to an account, by password or session; and nobody else."""
    town = Town()
    assert told(town.come("base")) == {"code": "welcome"}
    guest = town.come("bob", "resume")
    guest.welcome = told(guest)  # type: ignore[attr-defined]
    town.drop(guest)
    back = town.come("bob", "resume", session=secret(guest))
    assert "account" not in guest.welcome | told(back)  # type: ignore[attr-defined]
    back.ask(code="register", password=PASSWORD)
    session = told(back)["session"]
    town.drop(back)

    assert told(town.come("bob", "resume", session=session))["account"] is True
    assert told(town.come("bob", password=PASSWORD))["account"] is True
    assert told(town.come("bob2", "resume", "stamps")).get("account") is None


def test_a_plain_client_logs_in() -> None:
    """It needs no features, and is told its rooms all the same."""
    town = Town()
    town.drop(town.account("ann"))
    assert told(town.come("ann", password=PASSWORD)) == {"code": "welcome", "rooms": [], "account": True}


@pytest.mark.parametrize("name", ["ann", "Ann", "аnn", "ＡＮＮ"])
def test_guests_are_refused_the_name(name: str) -> None:
    """And its like: for good, as programs see it; with a name that is free. Nothing is hashed."""
    town = Town()
    town.drop(town.account("ann"))
    hashes = town.hasher.hashes
    reply = told(town.come(name))
    assert (reply["error"], reply["temporary"]) == ("name_reserved", False)
    assert told(town.come(reply["suggestion"]))["code"] == "welcome"
    assert town.hasher.hashes == hashes


def test_suggestions_are_not_reserved() -> None:
    """Where names with a number are reserved, too, another is suggested."""
    town = Town()
    for name in ("ann", "ann2"):
        town.drop(town.account(name))
    assert told(town.come("ann"))["suggestion"] == "ann3"
    town.come("bob")
    assert town.hub.free_name("ann") == "ann3"


def test_wrong_passwords() -> None:
    """`bad_password`, temporary or not the same for all: of an unknown account, too, but without a hash."""
    town = Town()
    town.drop(town.account("ann"))
    hashes = town.hasher.hashes
    for password in ("", "short", "x" * 129):
        assert error_of(town.come("ann", password=password)) == "bad_password"
    assert error_of(town.come("eve", password=PASSWORD)) == "bad_password"
    assert error_of(town.come("аnn", password=PASSWORD)) == "bad_password"  # never by looks
    assert town.hasher.hashes == hashes
    client = town.come("ann", password=OTHER)
    assert error_of(client) == "bad_password"
    assert town.hasher.hashes == hashes + 1
    town.greet(client, "ann", password=PASSWORD)
    assert told(client)["code"] == "welcome"


def test_passwords_need_a_private_connection() -> None:
    """And so do sessions of accounts; neither is looked at where others could read it."""
    town = Town()
    ann = town.account("ann")
    town.drop(ann)
    hashes = town.hasher.hashes
    for extra in ({"password": PASSWORD}, {"password": OTHER}, {"session": secret(ann)}):
        assert error_of(town.come("ann", "resume", host=FAR, **extra)) == "not_allowed"
    assert error_of(town.come("bob", password=PASSWORD, host=FAR)) == "not_allowed"
    assert town.hasher.hashes == hashes


def test_without_guests() -> None:
    """`guests` off: who has no account is not let in; a reserved name says so, that one may be asked for it."""
    town = Town(guests=False)
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    assert error_of(town.come("bob")) == "not_allowed"
    assert error_of(town.come("ann")) == "name_reserved"
    assert told(town.come("ann", password=PASSWORD))["code"] == "welcome"


def test_guesses_are_counted() -> None:
    """Who has guessed too often is refused without a hash; what is right counts for nothing."""
    town = Town()
    town.drop(town.account("ann"))
    for number in range(FOR_A_NAME):
        assert error_of(town.come("ANN", password=OTHER)) == "bad_password"
        if number == 1:
            for _ in range(MOST_DEVICES):
                assert told(town.come("ann", password=PASSWORD))["code"] == "welcome"
    hashes = town.hasher.hashes

    reply = told(town.come("ann", password=PASSWORD))

    assert (reply["error"], reply["temporary"]) == ("slow_down", True)
    assert 0 < reply["retry_after"] <= MINUTE
    assert town.hasher.hashes == hashes
    town.loop.pass_time(reply["retry_after"])
    assert told(town.come("ann", password=PASSWORD))["code"] == "welcome"


def test_no_guess_is_counted_that_was_not_made() -> None:
    """Because too many hashes wait, or the password is none."""
    town = Town()
    ann = town.account("ann")
    town.hasher.fails = True
    for _ in range(2 * FOR_A_NAME):
        assert error_of(town.come("ann", password=PASSWORD)) == "slow_down"
        assert error_of(town.come("ann", password="short")) == "bad_password"
    town.hasher.fails = False
    for _ in range(FOR_A_NAME):
        ann.ask(code="register", password=OTHER, old="wrong password")
        assert error_of(ann) == "bad_password"
    ann.ask(code="register", password=OTHER, old=PASSWORD)
    assert error_of(ann) == "slow_down"


def test_registrations_are_counted() -> None:
    """As many as may be from an address; refused without a hash."""
    town = Town(register_burst=2, exempt=("192.0.2.0/24",))
    for name in ("ann", "bob"):
        town.account(name)
    eve = town.come("eve")
    eve.take()
    eve.ask(code="register", password=PASSWORD)
    reply = told(eve)
    assert reply["error"] == "slow_down"
    assert reply["message"] == "too many accounts were registered from your address"
    assert DAY / 5 - 1 < reply["retry_after"] <= DAY / 5
    assert town.hasher.hashes == 2


def test_abandoned_registrations_are_counted() -> None:
    """Each hash counts, though nobody is there when it is made; none is begun for who has gone by then."""
    town = Town(register_burst=4, exempt=("192.0.2.0/24",))
    town.hasher.is_held = True
    for _ in range(3):
        eve, other = town.come("eve"), town.come("other")
        for client in (eve, other):
            client.ask(code="register", password=PASSWORD)
        for client in (eve, other):
            town.drop(client)
        town.hasher.work()
        town.loop.turn()
    assert town.hasher.hashes == 3
    assert not town.hub.house.accounts

    town.hasher.is_held = False
    town.account("ann")
    bob = town.come("bob")
    bob.take()
    bob.ask(code="register", password=PASSWORD)
    assert error_of(bob) == "slow_down"
    assert town.hasher.hashes == 4


def test_changes_are_counted() -> None:
    """A few passwords are set at once, then one a minute: from exempt addresses, too, and if one hangs up."""
    town = Town()
    ann = town.account("ann")
    hashes = town.hasher.hashes
    for _ in range(CHANGES - 1):
        ann.ask(code="register", password=PASSWORD, old=PASSWORD)
        assert told(ann)["code"] == "registered"
    phone = town.come("ann", password=PASSWORD)
    assert town.hasher.hashes == hashes + 2 * CHANGES - 1
    town.hasher.is_held = True
    phone.ask(code="register", password=PASSWORD, old=PASSWORD)
    town.drop(phone)
    town.hasher.work()
    town.hasher.is_held = False
    hashes = town.hasher.hashes

    ann.ask(code="register", password=PASSWORD, old=PASSWORD)

    reply = told(ann)
    assert (reply["error"], "wrong" in reply["message"]) == ("slow_down", False)
    assert town.hasher.hashes == hashes
    town.loop.pass_time(reply["retry_after"])
    ann.take()
    ann.ask(code="register", password=PASSWORD, old=PASSWORD)
    assert told(ann)["code"] == "registered"


def test_right_passwords_at_once() -> None:
    """They wait for each other, and count for nothing: all devices of an account, and a class, come in."""
    town = Town()
    names = ["ann"] * MOST_DEVICES + [f"pupil{number}" for number in range(IN_ALL + 5)]
    for name in dict.fromkeys(names):
        assert town.hub.obey(order("add", name, PASSWORD)) == ""
    town.hasher.is_held = True

    clients = [town.come(name, password=PASSWORD) for name in names]
    town.hasher.work()

    assert [told(client)["code"] for client in clients] == ["welcome"] * len(names)


def test_wrong_passwords_at_once() -> None:
    """Of a hundred that are sent before the first is known to be wrong, five are hashed."""
    town = Town()
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    town.hasher.is_held = True

    clients = [town.come("ann", password=OTHER) for _ in range(MOST)]
    town.hasher.work()

    assert town.hasher.hashes == FOR_A_NAME
    refused = ["bad_password"] * FOR_A_NAME + ["slow_down"] * (MOST - FOR_A_NAME)
    assert [error_of(client) for client in clients] == refused


def test_addresses_take_turns() -> None:
    """An owner from elsewhere waits for two hashes and its own, whoever else asks for how many."""
    town = Town()
    for name in ("ann", "eve"):
        assert town.hub.obey(order("add", name, PASSWORD)) == ""
    town.hasher.is_held = True
    for _ in range(MOST):
        town.come("eve", password=PASSWORD)
    ann = town.come("ann", host="::1", password=PASSWORD)

    town.hasher.work(3)

    assert told(ann)["code"] == "welcome"


# Sessions


def test_sessions_outlive_restarts() -> None:
    """30 days beyond the connection, over restarts, without a hash."""
    town = Town()
    ann = town.account("ann")
    town.drop(ann)
    later = town.again(SESSION_DAYS - 1)
    ann2 = later.come("ann", "resume", session=secret(ann))
    assert told(ann2)["session"] == secret(ann)
    assert later.hasher.hashes == 0
    later.drop(ann2)
    assert error_of(later.again(SESSION_DAYS + 1).come("ann", "resume", session=secret(ann))) == "name_reserved"


def test_sessions_outlive_a_crash() -> None:
    """One that was here when the server crashed has its time from then."""
    town = Town()
    ann = town.account("ann")
    later = town.again(SESSION_DAYS + 1)  # as if it had crashed only now: nobody knows better
    assert told(later.come("ann", "resume", session=secret(ann)))["session"] == secret(ann)


def test_sessions_expire() -> None:
    """Those that have are swept, with what the store has of them, and count as unknown before."""
    town = Town(account_idle=400)
    ann = town.account("ann")
    again = town.come("ann", "resume", password=PASSWORD)
    again.take()
    for client in (ann, again):
        town.drop(client)
    [account] = town.hub.house.accounts.values()
    town.late = -SESSION_DAYS * DAY
    assert len(account.sessions) == 2
    assert error_of(town.come("ann", "resume", session=secret(ann))) == "name_reserved"
    town.loop.pass_time(EXPIRY + PAUSE)

    assert account.sessions == {}
    assert town.hub.house.sessions == {}
    town.disk.work()
    assert town.disk.known == {}


def test_so_many_sessions() -> None:
    """Beyond 20, the one that was made first ends, of those that are away."""
    town = Town(max_per_address=100)
    ann = town.account("ann")
    secrets = []
    for _ in range(MOST_SESSIONS):
        client = town.come("ann", "resume", password=PASSWORD)
        secrets.append(client.take()[0]["session"])
        town.drop(client)
    [account] = town.hub.house.accounts.values()
    assert len(account.sessions) == MOST_SESSIONS
    assert ann.transport.is_gone is False
    assert error_of(town.come("ann", "resume", session=secrets[0])) == "name_reserved"
    assert told(town.come("ann", "resume", session=secrets[1]))["session"] == secrets[1]


def test_quit_ends_one_session() -> None:
    """Of an account, that one; the others can come back."""
    town = Town()
    ann = town.account("ann")
    phone = town.come("ann", "resume", password=PASSWORD)
    kept = phone.take()[0]["session"]
    ann.ask(code="quit")
    town.loop.turn()
    town.drop(phone)
    assert error_of(town.come("ann", "resume", session=secret(ann))) == "name_reserved"
    assert told(town.come("ann", "resume", session=kept))["session"] == kept


def test_session_and_password() -> None:
    """The session counts if it is known, without a hash; else the password; an expired one alone does not."""
    town = Town()
    ann = town.account("ann")
    town.drop(ann)
    hashes = town.hasher.hashes
    back = town.come("ann", "resume", session=secret(ann), password="wrong password")
    assert told(back)["session"] == secret(ann)
    assert town.hasher.hashes == hashes
    back = town.come("ann", "resume", session="unknown", password=PASSWORD)
    assert told(back)["session"] not in {secret(ann), "unknown"}
    assert town.hasher.hashes == hashes + 1
    assert error_of(town.come("ann", "resume", session="unknown")) == "name_reserved"


@pytest.mark.parametrize("name", ["ann", "Ann", "аnn"])
def test_guests_resume_until_the_owner_comes(name: str) -> None:
    """A guest whose name, or its like, was reserved keeps it, over restarts; but takes no other like it."""
    town = Town(now=5 * DAY)
    guest = town.come(name, "resume")
    session = guest.take()[0]["session"]
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    assert error_of(town.come("ANN")) == "name_reserved"
    for _ in range(2):
        town.drop(guest)
        guest = town.come(name, "resume", session=session, host=FAR)
        welcome = told(guest)
        assert (welcome["session"], welcome["name"], town.users()) == (session, name, [name])
    town.drop(guest)
    town = town.again(1 / DAY)
    other = "ann" if name == "аnn" else "аnn"
    assert error_of(town.come(other, "resume", session=session)) == "name_reserved"
    guest = town.come(name, "resume", session=session)
    assert told(guest)["session"] == session
    town.drop(guest)

    town.drop(town.come("ann", password=PASSWORD))  # the owner
    assert error_of(town.come(name, "resume", session=session)) == "name_reserved"
    assert error_of(town.again(1 / DAY).come(name, "resume", session=session)) == "name_reserved"


def test_a_guests_session_is_not_an_accounts() -> None:
    """With the password, who was a guest of that name comes to the account; without, only as a guest."""
    town = Town(now=5 * DAY)
    guest = town.come("ann", "resume")
    session = guest.take()[0]["session"]
    town.drop(guest)
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    closed = town.again(guests=False)
    assert error_of(closed.come("ann", "resume", session=session)) == "not_allowed"

    other = town.come("ann", "resume", session=session, password=PASSWORD)
    assert told(other)["session"] != session
    assert error_of(town.come("ann", "resume", session=session)) == "name_reserved"
    assert told(town.come("bob", "resume", session=session))["session"] == session


# Hijacking


def test_the_next_holder_reads_nothing() -> None:
    """A name that was freed is another's: nothing that was said to or by the first is read by the second."""
    town = Town()
    ann, bob = town.account("ann"), town.account("bob")
    bob.ask(code="outgoing", to="ann", content="for the first")
    ann.ask(code="outgoing", to="bob", content="from the first")
    town.drop(ann)
    bob.ask(code="outgoing", to="ann", content="while away")
    town.loop.turn()
    assert town.hub.obey(order("remove", "ann", is_set=True)) == ""
    town.loop.turn()

    second = town.account("ann")
    second.ask(code="history", **{"with": "*"})
    assert told(second)["messages"] == []
    town.drop(second)
    again = town.come("ann", "resume", password=PASSWORD)
    assert [one["code"] for one in again.take()] == ["welcome"]
    bob.take()
    bob.ask(code="history", **{"with": "ann"})
    assert len(told(bob)["messages"]) == 3  # its other end keeps all


@pytest.mark.parametrize("kind", ["guessed", "foreign", "replayed"])
def test_sessions_that_are_not_ones_own(kind: str) -> None:
    """A secret that was guessed, is another account's, or has ended, gives nobody the name."""
    town = Town()
    ann, bob = town.account("ann"), town.account("bob")
    session = {"guessed": "secret 0", "foreign": secret(bob), "replayed": secret(ann)}[kind]
    for client in (ann, bob):
        client.ask(code="quit") if kind == "replayed" else town.drop(client)
    town.loop.turn()

    assert error_of(town.come("ann", "resume", session=session)) == "name_reserved"
    if kind == "foreign":  # it still is what it was
        assert told(town.come("bob", "resume", session=session))["name"] == "bob"


def test_a_stolen_session_sets_no_password() -> None:
    """Without the old one, nobody does."""
    town = Town()
    ann = town.account("ann")
    thief = town.come("ann", "resume", session=secret(ann))
    thief.take()
    for extra in ({}, {"old": "wrong password"}, {"old": ""}):
        thief.ask(code="register", password=OTHER, **extra)
        assert error_of(thief) in {"not_allowed", "bad_password"}
    assert told(town.come("ann", password=PASSWORD))["code"] == "welcome"


def test_a_look_alike() -> None:
    """Who looks like an account cannot be one, by whatever way."""
    town = Town()
    assert town.hub.obey(order("add", "paypal", PASSWORD)) == ""
    assert error_of(town.come("pаypаl")) == "name_reserved"
    assert "registered" in town.hub.obey(order("add", "pаypаl", PASSWORD))
    guest = town.come("bob", "resume")
    session = guest.take()[0]["session"]
    town.drop(guest)
    assert error_of(town.come("pаypаl", "resume", session=session)) == "name_reserved"


@pytest.mark.parametrize(("name", "what"), [("Ann", "the name"), ("аnn", "a name that looks like yours")])
def test_guests_hear_why_they_make_room(name: str, what: str) -> None:
    """A guest whose name, or its like, the command line has registered stays until its owner comes."""
    town = Town()
    guest = town.come(name, "notices")
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    guest.take()
    town.come("ann", password=PASSWORD)

    why = f"{what} is registered, and its owner has come"
    assert told(guest) == {"code": "closing", "reason": "replaced", "reconnect": False, "message": why}


def test_register_against_account_add() -> None:
    """Whoever is first owns the name; the other is told so, also if it happens while a hash is made."""
    town = Town()
    ann = town.come("ann")
    ann.take()
    town.hasher.is_held = True
    ann.ask(code="register", password=OTHER)
    town.loop.turn()
    assert town.hub.obey(order("add", "Ann", PASSWORD)) == ""
    town.hasher.work()
    assert error_of(ann) == "name_reserved"
    ann.ask(code="register", password=OTHER)
    assert error_of(ann) == "name_reserved"
    assert town.users() == ["ann"]  # it stays

    owner = town.connect()
    town.hasher.is_held = False
    town.greet(owner, "ann", password=PASSWORD)
    assert told(owner)["code"] == "welcome"
    assert town.users() == ["Ann"]
    assert ann.transport.eof_written


def test_a_login_while_the_password_changes() -> None:
    """What was checked against the old one is refused, though it was right."""
    town = Town()
    town.drop(town.account("ann"))
    town.hasher.is_held = True
    ann = town.connect()
    ann.ask(code="hello", name="ann", password=PASSWORD)
    town.loop.turn()
    assert town.hub.obey(order("password", "ann", OTHER)) == ""
    town.hasher.work()
    assert error_of(ann) == "bad_password"
    assert town.users() == []


def test_a_login_while_the_account_is_removed() -> None:
    """And registered anew by somebody else: the number and the version are of the first."""
    town = Town()
    town.drop(town.account("ann"))
    town.hasher.is_held = True
    ann = town.connect()
    ann.ask(code="hello", name="ann", password=PASSWORD)
    town.loop.turn()
    assert town.hub.obey(order("remove", "ann", is_set=True)) == ""
    assert town.hub.obey(order("add", "ann", OTHER)) == ""
    town.hasher.work()
    assert error_of(ann) == "bad_password"


def test_passwords_are_nowhere() -> None:
    """In no entry, no line of the log, no answer, and not in the store."""
    town = Town()
    entries: list[bytes] = []
    append = town.hub.append

    def spy(entry: Entry, asked: Asked | None) -> None:
        entries.append(encode(entry))  # type: ignore[arg-type]
        append(entry, asked)

    town.hub.append = spy
    ann = town.account("ann")
    ann.ask(code="register", password=OTHER, old=PASSWORD)
    answers = [*ann.take()]
    for password in (PASSWORD, OTHER, "another one"):
        client = town.come("ann", "resume", password=password)
        answers += client.take()
        client.ask(code="register", password=password)
        town.loop.turn()
        answers += client.take()
    everything = repr((entries, town.observer.lines, answers, town.disk.accounts, town.disk.known))
    assert len(entries) >= 5
    for password in (PASSWORD, OTHER, "another one"):
        assert password not in everything


# Devices


def test_devices_are_one_in_who() -> None:
    """One name, where the first was; it stays as long as one of them is here; and so in rooms."""
    town = Town()
    ann = town.account("ann")
    bob = town.come("bob", "presence")
    town.loop.pass_time(2)
    bob.take()
    phone = town.come("ann", "stamps", password=PASSWORD)
    for client in (ann, phone, bob):
        client.ask(code="join", room="a")
    town.loop.pass_time(2)
    bob.take()
    assert town.users() == ["ann", "bob"]
    bob.ask(code="who", room="a")
    bob.ask(code="rooms")
    town.loop.turn()
    assert [one.get("users") or one["rooms"][0]["users"] for one in bob.take()] == [["ann", "bob"], 2]

    town.drop(ann)
    town.loop.pass_time(2)
    assert town.users() == ["ann", "bob"]
    bob.ask(code="who", room="a")
    assert told(bob)["users"] == ["ann", "bob"]
    phone.ask(code="leave", room="a")
    town.loop.pass_time(2)
    assert told(bob) == {"code": "presence", "room": "a", "joined": [], "left": ["ann"]}
    town.drop(phone)
    town.loop.pass_time(2)
    assert told(bob) == {"code": "presence", "joined": [], "left": ["ann"]}
    assert town.users() == ["bob"]


def test_a_ninth_device_replaces_the_oldest() -> None:
    """It is told why, if it wants to know; its session can come back."""
    town = Town(max_per_address=100)
    ann = town.account("ann")
    phones = [town.come("ann", "resume", "notices", password=PASSWORD) for _ in range(MOST_DEVICES - 1)]
    assert ann.take() == []
    ninth = town.come("ann", password=PASSWORD)
    assert told(ninth)["code"] == "welcome"

    assert told(ann) == {"code": "closing", "reason": "replaced", "reconnect": False}
    assert ann.transport.eof_written
    [account] = town.hub.house.accounts.values()
    assert len(account.devices) == MOST_DEVICES
    phones[0].take()
    assert told(town.come("ann", "resume", session=secret(ann)))["session"] == secret(ann)
    assert phones[0].take()[-1]["reason"] == "replaced"


def test_direct_messages_go_to_all_devices() -> None:
    """Of the receiver; with stamps or without, as each has asked."""
    town = Town()
    ann = town.account("ann")
    plain = town.come("ann", password=PASSWORD)
    plain.take()
    bob = town.come("bob")
    bob.take()
    bob.ask(code="outgoing", to="ANN", content="1")
    for _ in range(20):
        bob.ask(code="outgoing", to="ann", content="x")
    town.loop.turn()
    first = ann.take()
    assert [one["content"] for one in first] == ["1"] + 20 * ["x"]
    assert all("id" in one and "to" not in one for one in first)
    assert plain.take() == [
        {"code": "incoming", "from": "bob", "content": content} for content in ["1"] + 20 * ["x"]
    ]


def test_what_another_device_sent() -> None:
    """Comes only with stamps: from oneself, and `to` somebody if direct; never back to who sent it."""
    town = Town()
    ann = town.account("ann")
    stamped = town.come("ann", "stamps", password=PASSWORD)
    plain = town.come("ann", password=PASSWORD)
    bob = town.come("bob")
    for client in (ann, stamped, plain):
        client.ask(code="join", room="a")
    town.loop.turn()
    for client in (stamped, plain, bob, ann):
        client.take()
    ann.ask(code="outgoing_broadcast", content="1")
    bob.ask(code="outgoing_broadcast", content="2")
    ann.ask(code="outgoing_broadcast", content="3", room="a")
    ann.ask(code="outgoing", to="bob", content="4")
    ann.ask(code="outgoing", to="ann", content="5")
    bob.ask(code="outgoing_broadcast", content="6")
    town.loop.turn()

    assert contents(ann) == ["2", "5", "6"]
    assert contents(plain) == ["2", "6"]
    assert contents(bob) == ["1", "4"]
    heard = {one["content"]: one for one in stamped.take()}
    assert sorted(heard) == ["1", "2", "3", "4", "5", "6"]
    assert [heard[one].get("to") for one in "123456"] == [None, None, None, "bob", "ann", None]
    assert {heard[one]["from"] for one in "1345"} == {"ann"}


def test_a_burst_of_another_device() -> None:
    """Many messages at once are as many alone."""
    town = Town()
    ann = town.account("ann")
    stamped = town.come("ann", "stamps", password=PASSWORD)
    plain = town.come("ann", password=PASSWORD)
    bob = town.come("bob")
    for client in (stamped, plain, bob):
        client.take()
    for line in (
        b'{"code":"outgoing","to":"bob","content":"%d"}\n',
        b'{"code":"outgoing_broadcast","content":"%d"}\n',
    ):
        ann.send(b"".join(line % number for number in range(20)))
        town.loop.turn()
    heard = stamped.take()
    assert [one["content"] for one in heard] == [*map(str, range(20))] * 2
    assert [one.get("to") for one in heard] == ["bob"] * 20 + [None] * 20
    ids = [one["id"] for one in heard]
    assert ids == sorted(set(ids))
    assert contents(bob) == [*map(str, range(20))] * 2
    assert plain.take() == []
    assert ann.take() == []


def test_rooms_of_an_account() -> None:
    """`welcome` lists those that any of its connections was in, until it leaves them; over restarts too."""
    town = Town(max_rooms_each=3)
    ann = town.account("ann")
    phone = town.come("ann", password=PASSWORD)
    for client, room in ((ann, "a"), (phone, "B"), (phone, "a"), (ann, "c")):
        client.ask(code="join", room=room)
    ann.ask(code="leave", room="c")
    ann.ask(code="leave", room="a")
    town.loop.turn()
    assert told(town.come("ann", password=PASSWORD))["rooms"] == ["B", "a"]
    for client in (ann, phone):
        town.drop(client)
    later = town.again(1, max_rooms_each=3)
    third = later.come("ann", password=PASSWORD)
    assert told(third)["rooms"] == ["B", "a"]
    for room in ("x", "y", "z"):
        third.ask(code="join", room=room)
    later.loop.turn()
    [account] = later.hub.house.accounts.values()
    assert [*account.rooms.values()] == ["x", "y", "z"]


def test_history_is_the_accounts() -> None:
    """Whatever device wrote it, and what the session wrote before it registered; each may take it back."""
    town = Town()
    ann = town.come("ann", "resume")
    bob = town.come("bob", "stamps")
    ann.ask(code="outgoing", to="bob", content="before")
    ann.ask(code="register", password=PASSWORD)
    town.loop.turn()
    bob.take()
    phone = town.come("ann", "resume", password=PASSWORD)
    phone.take()
    phone.ask(code="outgoing", to="bob", content="after")
    phone.ask(code="outgoing_broadcast", content="in the lobby")
    town.loop.turn()
    ann.take()

    ann.ask(code="history", **{"with": "bob"})
    page = told(ann)["messages"]
    assert [one["content"] for one in page] == ["before", "after"]
    ids = [one["id"] for one in bob.take()]
    for ident, device in zip(ids, (phone, ann, ann), strict=False):
        device.ask(code="forget", id=ident)
        town.loop.turn()
        assert device.take()[-1] == {"code": "forgotten", "id": ident}
    bob.take()
    bob.ask(code="forget", id=ids[0])
    assert error_of(bob) == "not_allowed"


# What waits


def test_what_waits() -> None:
    """Messages to an account that is away follow its `welcome`, once, as they would have come."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    bob.take()
    town.drop(ann)
    bob.ask(code="outgoing", to="Ann", content="1", ref="r")
    bob.ask(code="outgoing", to="ann", content="2")
    town.loop.turn()
    assert [one["code"] for one in bob.take()] == ["sent"]
    first = town.come("ann", password=PASSWORD)
    assert first.take()[1:] == [
        {"code": "incoming", "from": "bob", "content": "1"},
        {"code": "incoming", "from": "bob", "content": "2"},
    ]
    second = town.come("ann", "resume", password=PASSWORD)
    assert [one["code"] for one in second.take()] == ["welcome"]


def test_what_waits_for_who_was_added() -> None:
    """Before its owner ever came, too."""
    town = Town()
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    bob = town.come("bob")
    bob.ask(code="outgoing", to="ann", content="1")
    town.loop.turn()
    ann = town.come("ann", "stamps", password=PASSWORD)
    _, message = ann.take()
    assert (message["content"], "id" in message) == ("1", True)


def test_what_waits_over_a_restart() -> None:
    """It is read from the store; what comes while it is read comes once, and behind it."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    town.drop(ann)
    for number in range(3):
        bob.ask(code="outgoing", to="ann", content=f"{number}")
    town.loop.turn()
    later = town.again(1)
    bob = later.come("bob")
    later.loop.settle = lambda: None
    ann = later.connect()
    ann.ask(code="hello", name="ann", features=["stamps"], password=PASSWORD)
    later.loop.turn()
    assert ann.take() == []
    bob.ask(code="outgoing", to="ann", content="3")
    later.loop.turn()
    later.disk.work()
    bob.ask(code="outgoing", to="ann", content="4")
    later.loop.turn()

    _, *messages = ann.take()
    assert [one["content"] for one in messages] == ["0", "1", "2", "3", "4"]
    ids = [one["id"] for one in messages]
    assert ids == sorted(set(ids))


def test_two_devices_come_while_it_is_read() -> None:
    """The first gets it; nobody gets it twice."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    town.drop(ann)
    bob.ask(code="outgoing", to="ann", content="1")
    town.loop.turn()
    later = town.again(1)
    later.loop.settle = lambda: None
    devices = [later.connect() for _ in range(2)]
    for device in devices:
        device.ask(code="hello", name="ann", password=PASSWORD)
    later.loop.turn()
    later.disk.work()
    later.loop.turn()
    assert [contents(device) for device in devices] == [["1"], []]


def test_the_newest_of_what_waits() -> None:
    """200 follow, the rest is read by `history`; beyond 1,000 nothing is kept."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    bob.take()
    town.drop(ann)
    bob.send(
        b"".join(b'{"code":"outgoing","to":"ann","content":"%d"}\n' % number for number in range(MOST_WAITING))
    )
    town.loop.pass_time(1)
    assert bob.take() == []
    bob.ask(code="outgoing", to="ann", content="too much")
    reply = told(bob)
    assert (reply["error"], reply["temporary"]) == ("not_stored", True)

    later = town.again(1)
    ann = later.come("ann", password=PASSWORD)
    assert contents(ann) == [str(number) for number in range(MOST_WAITING - SHOWN, MOST_WAITING)]
    bob = later.come("bob")
    bob.take()
    later.drop(ann)
    bob.ask(code="outgoing", to="ann", content="again")
    later.loop.turn()
    assert bob.take() == []


def test_a_plain_client_reads_what_waits_one_by_one() -> None:
    """However many messages wait for one who sends no line breaks, each comes by itself; the next too."""
    town = Town()
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    bob = town.come("bob")
    for number in range(SHOWN):
        bob.ask(code="outgoing", to="ann", content=str(number))
    town.loop.turn()
    ann = town.connect()
    ann.ask_bare(code="hello", name="ann", password=PASSWORD)
    town.loop.turn()
    ann.ask_bare(code="who")
    bob.ask(code="outgoing_broadcast", content="next")
    segments, counts = ann.transport.segments, []
    for _ in range(SHOWN + 3):
        counts.append(len(segments))
        town.loop.pass_time(PACE)

    assert max(after - before for before, after in pairwise(counts)) == 1
    replies = [json.loads(segment) for segment in segments]
    assert [reply["code"] for reply in replies[:2]] == ["welcome", "users"]
    assert [reply["content"] for reply in replies[2:]] == [*map(str, range(SHOWN)), "next"]


def test_with_after_gaps_are_filled() -> None:
    """As a session's are, also for who comes with a password: what was said in the lobby, too."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    bob.ask(code="outgoing_broadcast", content="0")
    town.loop.turn()
    last = ann.take()[-1]["id"]
    town.drop(ann)
    bob.ask(code="outgoing_broadcast", content="1")
    bob.ask(code="outgoing", to="ann", content="2")
    town.loop.turn()
    for extra in ({"session": secret(ann)}, {"password": PASSWORD}):
        client = town.come("ann", "resume", after=last, **extra)
        welcome, *messages = client.take()
        assert welcome["recovered"]
        assert [one["content"] for one in messages] == ["1", "2"]
        town.drop(client)


def test_gaps_have_what_other_devices_sent() -> None:
    """And not what one sent oneself; in the lobby, in rooms, and to somebody."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    phone = town.come("ann", "resume", password=PASSWORD)
    for client in (ann, phone):
        client.ask(code="join", room="a")
    town.loop.turn()
    bob.ask(code="outgoing_broadcast", content="0")
    town.loop.turn()
    last = ann.take()[-1]["id"]
    for client, number in ((ann, 1), (phone, 2)):
        client.ask(code="outgoing_broadcast", content=f"{number}")
        client.ask(code="outgoing_broadcast", content=f"{number}", room="a")
        client.ask(code="outgoing", to="bob", content=f"{number}")
        client.ask(code="outgoing", to="ann", content=f"{number}")
        town.drop(ann)

    back = town.come("ann", "resume", session=secret(ann), after=last)
    back.ask(code="join", room="a", after=last)
    town.loop.turn()

    welcome, *messages = back.take()
    assert welcome["recovered"]
    shown = [(one["content"], one["from"], one.get("to")) for one in messages if "content" in one]
    assert shown == [("2", "ann", None), ("2", "ann", "bob"), ("2", "ann", "ann"), ("2", "ann", None)]


def test_a_session_without_after() -> None:
    """Gets what waits as well."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    town.drop(ann)
    bob.ask(code="outgoing", to="ann", content="1")
    town.loop.turn()
    client = town.come("ann", "resume", session=secret(ann))
    welcome, message = client.take()
    assert (welcome["recovered"], message["content"]) == (False, "1")


def test_without_a_history_nothing_waits() -> None:
    """`history_days` of 0: who is away is not found."""
    town = Town(history_days=0)
    ann, bob = town.account("ann"), town.come("bob")
    bob.take()
    town.drop(ann)
    bob.ask(code="outgoing", to="ann", content="1")
    assert error_of(bob) == "unknown_user"


def test_messages_to_who_is_removed() -> None:
    """Nobody is there."""
    town = Town()
    town.account("ann")
    bob = town.come("bob")
    bob.take()
    assert town.hub.obey(order("remove", "ann")) == ""
    bob.ask(code="outgoing", to="ann", content="1")
    assert error_of(bob) == "unknown_user"


def test_in_a_real_file(disk: Disk) -> None:
    """All of this over restarts: password, session, rooms, what waits, and that the name is reserved."""

    def hello(chat: FakeChat, name: str, **extra: object) -> list[dict[str, Any]]:
        client = chat.connect()
        client.ask(code="hello", name=name, features=["resume"], **extra)
        chat.loop.turn()
        return client.take()

    chat = disk.chat()
    ann, bob = chat.connect(), chat.join("bob")
    ann.ask(code="hello", name="Ann", features=["resume"])
    ann.ask(code="join", room="a")
    ann.ask(code="register", password=PASSWORD)
    chat.loop.turn()
    *_, registered = ann.take()
    assert registered["code"] == "registered"
    ann.ask(code="outgoing", to="ann", content="while here")
    chat.loop.turn()
    ann.transport.vanish(None)
    chat.loop.turn()
    for number in range(3):
        bob.ask(code="outgoing", to="ann", content=f"{number}", ref=f"{number}")
    chat.loop.turn()
    assert [one["code"] for one in bob.take()] == ["sent"] * 3

    later = disk.chat(disk.crash(), now=chat.loop.now + DAY)
    [refused] = hello(later, "ann")
    assert refused["error"] == "name_reserved"
    back, *messages = hello(later, "ann", session=registered["session"])
    assert (back["session"], back["rooms"]) == (registered["session"], ["a"])
    assert [one["content"] for one in messages] == ["0", "1", "2"]
    assert later.hub.obey(order("password", "ann", OTHER)) == ""
    assert later.hub.obey(order("operator", "ann", is_set=True)) == ""
    later.loop.turn()

    last = disk.chat(disk.crash("crashed.db", "again.db"), now=later.loop.now + DAY)
    [refused] = hello(last, "ann", session=registered["session"])
    assert refused["error"] == "name_reserved"
    [refused] = hello(last, "ann", password=PASSWORD)
    assert refused["error"] == "bad_password"
    [back] = hello(last, "ann", password=OTHER)
    assert (back["rooms"], back["operator"]) == (["a"], True)
    assert last.hub.obey(order("remove", "ann", is_set=True)) == ""
    last.loop.turn()
    [welcome, *messages] = hello(last, "ann")
    assert (welcome["code"], messages) == ("welcome", [])


# The end of accounts


@pytest.mark.parametrize(("days", "is_there"), [(NEW_IDLE - 1, True), (NEW_IDLE + 1, False)])
def test_who_never_came_back(days: float, *, is_there: bool) -> None:
    """Is removed after 30 days, and the name is free."""
    town = Town()
    town.drop(town.account("ann"))
    town.late = -days * DAY
    town.loop.pass_time(EXPIRY + PAUSE)
    assert bool(town.hub.house.accounts) is is_there
    assert (told(town.come("ann"))["code"] == "welcome") is not is_there
    town.disk.work()
    assert bool(town.disk.accounts) is is_there


@pytest.mark.parametrize(("days", "is_there"), [(NEW_IDLE - 1, True), (NEW_IDLE + 1, False)])
def test_who_was_added_and_never_came(days: float, *, is_there: bool) -> None:
    """Is said to have been seen never, and is removed after 30 days."""
    town = Town(now=5 * DAY)
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    town.disk.work()
    assert [account.seen for account in town.disk.accounts.values()] == [0]
    later = town.again(days)
    later.loop.pass_time(EXPIRY + PAUSE)
    assert bool(later.hub.house.accounts) is is_there


@pytest.mark.parametrize(("days", "is_there"), [(364, True), (366, False)])
@pytest.mark.parametrize("is_operator", [False, True])
def test_who_has_not_come_for_a_year(days: float, *, is_there: bool, is_operator: bool) -> None:
    """Is removed, unless it is an operator; over restarts."""
    town = Town()
    town.drop(town.account("ann"))
    town.drop(town.come("ann", password=PASSWORD))
    if is_operator:
        assert town.hub.obey(order("operator", "ann", is_set=True)) == ""
    later = town.again(days)
    later.loop.pass_time(EXPIRY + PAUSE)
    assert bool(later.hub.house.accounts) is (is_there or is_operator)


def test_who_is_here_is_not_idle() -> None:
    """However long."""
    town = Town()
    town.account("ann")
    town.late = -400 * DAY
    town.loop.pass_time(EXPIRY + PAUSE)
    assert town.hub.house.accounts


def test_removed() -> None:
    """Its connections end, its sessions too; the name stays reserved until it is freed."""
    town = Town()
    ann = town.account("ann")
    assert town.hub.obey(order("remove", "ANN")) == ""
    why = "the account was removed"
    assert told(ann) == {"code": "closing", "reason": "kicked", "reconnect": False, "message": why}
    assert town.users() == []
    for client in (town.come("ann"), town.come("ann", "resume", session=secret(ann))):
        assert error_of(client) == "name_reserved"
    later = town.again(1)
    gone = 'the account "ann" was removed, and its name is kept reserved'
    refused = [
        later.come("ann"),
        later.come("ann", "resume", session=secret(ann)),
        later.come("Ann", password=PASSWORD),
        later.come("аnn"),
    ]
    assert [(one["error"], one["message"]) for one in map(told, refused)] == [
        ("name_reserved", gone),
        ("name_reserved", gone),
        ("bad_password", gone),
        ("name_reserved", f'"аnn" looks like "ann": {gone}'),
    ]
    for what in ("remove", "password", "operator"):
        assert later.hub.obey(order(what, "ANN")).startswith(f"{gone}: `account remove --free` frees it")
    assert later.hub.obey(order("remove", "ANN", is_set=True)) == ""
    assert told(later.come("ann"))["code"] == "welcome"


def test_an_account_in_the_place_of_a_removed_one() -> None:
    """The command line adds it; it reads nothing of what was written to the last. A look-alike is refused."""
    town = Town()
    town.account("ann")
    bob = town.come("bob")
    bob.ask(code="outgoing", to="ann", content="for the first ann")
    assert town.hub.obey(order("remove", "ann")) == ""
    assert "was removed" in town.hub.obey(order("add", "аnn", PASSWORD))
    assert town.hub.obey(order("add", "Ann", OTHER)) == ""

    later = town.again()
    ann = later.come("ann", "notices", password=OTHER)
    assert told(ann)["name"] == "Ann"
    ann.ask(code="history", **{"with": "*"})
    assert told(ann)["messages"] == []
    assert [one.name for one in later.disk.accounts.values()] == ["Ann"]


def test_an_account_that_nobody_has_used_yet() -> None:
    """Was last seen on no day, unlike one that was registered; it is removed 30 days after it was added."""
    town = Town(now=1_800_000_000.0)
    town.drop(town.account("ann"))
    assert town.hub.obey(order("add", "bob", PASSWORD)) == ""
    town.disk.work()
    assert {one.name: one.seen > 0 for one in town.disk.accounts.values()} == {"ann": True, "bob": False}

    for days, is_there in ((NEW_IDLE - 1, True), (NEW_IDLE + 1, False)):
        later = town.again(days)
        later.loop.pass_time(EXPIRY + PAUSE)
        assert ("bob" in [one.name for one in later.hub.house.accounts.values()]) is is_there


def test_orders_that_fail() -> None:
    """The text says why, for the command line."""
    town = Town()
    assert town.hub.obey(order("add", "ann", PASSWORD)) == ""
    for bad in (
        order("add", "ann", PASSWORD),
        order("add", "a|b", PASSWORD),
        order("password", "bob", PASSWORD),
        order("operator", "bob"),
        order("remove", "bob"),
        order("forget", "bob"),
        order("remove", "x" * 40),
        order("forget", "x" * 40),
    ):
        assert town.hub.obey(bad)
    full = Town(max_accounts=1)
    assert full.hub.obey(order("add", "ann", PASSWORD)) == ""
    assert "accounts" in full.hub.obey(order("add", "bob", PASSWORD))


def test_operators() -> None:
    """`welcome` says so to an operator."""
    town = Town()
    town.account("ann")
    assert town.hub.obey(order("operator", "ann", is_set=True)) == ""
    assert told(town.come("ann", password=PASSWORD))["operator"] is True
    assert told(town.again(1).come("ann", password=PASSWORD))["operator"] is True
    assert town.hub.obey(order("operator", "ann")) == ""
    assert "operator" not in told(town.come("ann", password=PASSWORD))


def test_forgetting_what_somebody_wrote() -> None:
    """In memory and in the store; of others nothing."""
    town = Town()
    ann, bob = town.account("ann"), town.come("bob")
    ann.ask(code="join", room="a")
    for client, content in ((ann, "of ann"), (bob, "of bob")):
        client.ask(code="outgoing_broadcast", content=content)
        client.ask(code="outgoing", to="ann", content=content)
    ann.ask(code="outgoing_broadcast", content="of ann", room="a")
    town.loop.turn()
    assert town.hub.obey(order("forget", "ann")) == ""
    town.loop.turn()
    ann.take()
    found = []
    for query in ({}, {"with": "*"}, {"room": "a"}):
        ann.ask(code="history", **query)
        found += [one["content"] for one in told(ann)["messages"]]
    assert found == ["of bob", "of bob"]
    assert len(town.disk.erased) == 1
    past = town.hub.house.past
    assert past.size == sum(line.size + 1200 * bool(key) for key, line in past.rooms.items())


def test_alike_after_unicode_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts that have become alike both stay, and are found as they are spelled."""
    town = Town()
    for name, password in (("ann", PASSWORD), ("eve", OTHER)):
        assert town.hub.obey(order("add", name, password)) == ""
    keys = names.keys
    monkeypatch.setattr(names, "keys", lambda name: keys("ann") if name == "eve" else keys(name))
    later = town.again(1)
    assert told(later.come("eve", password=OTHER))["code"] == "welcome"
    assert error_of(later.come("ann", password=PASSWORD)) == "name_taken"
    fresh = later.again(1)
    assert told(fresh.come("ann", password=PASSWORD))["code"] == "welcome"
    assert later.hub.obey(order("remove", "eve", is_set=True)) == ""
    assert told(later.come("ann", password=PASSWORD))["code"] == "welcome"
