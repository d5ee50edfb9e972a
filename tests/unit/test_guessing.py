"""How often one may guess a password, and register, from one address."""

from typing import Any

import pytest

from chatroom.hub.guessing import FOR_A_NAME, IN_ALL, REMEMBERED, Guessing
from chatroom.protocol.limits import Limits
from fakes import FakeLoop

FAR, OTHER = "192.0.2.7:5000", "192.0.2.8:5000"
DAY = 86_400


def guessing(**limits: Any) -> tuple[FakeLoop, Guessing]:
    loop = FakeLoop()
    return loop, Guessing(Limits(**limits), loop)


def test_guesses_of_a_name() -> None:
    """Five wrong passwords a minute for a name from one address; other names and addresses are not affected."""
    loop, guesses = guessing()

    for _ in range(FOR_A_NAME):
        assert guesses.may_guess("ann", FAR) == 0
        guesses.guessed_wrong("ann", FAR)
        loop.pass_time(1)

    assert guesses.may_guess("ann", FAR) == 55
    assert guesses.may_guess("bob", FAR) == 0
    assert guesses.may_guess("ann", OTHER) == 0
    loop.pass_time(55)
    assert guesses.may_guess("ann", FAR) == 0
    assert guesses.may_guess("ann", FAR) == 1


def test_guesses_of_all_names() -> None:
    """Twenty wrong passwords a minute for all names together; then, those of any name wait."""
    loop, guesses = guessing()

    for number in range(IN_ALL):
        assert guesses.may_guess(f"name{number}", FAR) == 0
        guesses.guessed_wrong(f"name{number}", FAR)

    assert guesses.may_guess("ann", FAR) == 60
    assert guesses.may_guess("ann", OTHER) == 0
    loop.pass_time(60)
    assert guesses.may_guess("ann", FAR) == 0


@pytest.mark.parametrize("peer", [FAR, "127.0.0.1:5000", "[::1]:5000"])
def test_guesses_at_once(peer: str) -> None:
    """A hundred that are sent before the first is known to be wrong get five hashes, exempt or not."""
    loop, guesses = guessing()

    assert [guesses.may_guess("ann", peer) for _ in range(100)].count(0) == FOR_A_NAME
    loop.pass_time(5)
    for _ in range(FOR_A_NAME):
        guesses.guessed_wrong("ann", peer)

    assert guesses.may_guess("ann", peer) == 60


def test_right_ones_do_not_count() -> None:
    """Who knows the password comes as often as it likes; those that were wrong before still count."""
    loop, guesses = guessing()

    for _ in range(100):
        assert guesses.may_guess("ann", FAR) == 0
        guesses.guessed_right("ann", FAR)
        loop.pass_time(0.1)
    assert not guesses._guesses
    for right in (False, True, False, True, False, False, True, False):
        assert guesses.may_guess("ann", FAR) == 0
        (guesses.guessed_right if right else guesses.guessed_wrong)("ann", FAR)

    assert guesses.may_guess("ann", FAR) > 0


def test_networks_guess_as_one() -> None:
    """IPv6 is counted by networks of 64 bits; IPv4 in IPv6 is IPv4."""
    _, guesses = guessing()

    for number in range(FOR_A_NAME):
        guesses.may_guess("ann", f"[2001:db8::{number}]:5000")
        guesses.may_guess("ann", f"[::ffff:192.0.2.7]:{number}")

    assert guesses.may_guess("ann", "[2001:db8::ffff]:5000") > 0
    assert guesses.may_guess("ann", "[2001:db8:0:1::1]:5000") == 0
    assert guesses.may_guess("ann", FAR) > 0


def test_a_late_verdict_counts() -> None:
    """A guess whose hash took longer than a minute counts for a minute from then."""
    loop, guesses = guessing()

    for _ in range(FOR_A_NAME):
        guesses.may_guess("ann", FAR)
    loop.pass_time(100)
    for _ in range(FOR_A_NAME):
        guesses.guessed_wrong("ann", FAR)

    assert guesses.may_guess("ann", FAR) == 60


def test_registrations_of_an_address() -> None:
    """A class registers at once, then five a day; from other addresses as many, and from exempt ones any."""
    loop, guesses = guessing(register_burst=40, register_per_day=5)

    for _ in range(40):
        assert guesses.may_register(FAR) == 0
        guesses.registered(FAR)

    assert guesses.may_register(FAR) == pytest.approx(DAY / 5)
    assert guesses.may_register(OTHER) == 0
    loop.pass_time(DAY + 1)
    for _ in range(5):
        assert guesses.may_register(FAR) == 0
        guesses.registered(FAR)
    assert guesses.may_register(FAR) > 0
    for _ in range(1000):
        guesses.registered("127.0.0.1:5000")
    assert len(guesses._registered) == 1
    assert guesses.may_register("127.0.0.1:5000") == 0


def test_registrations_at_once_are_owed() -> None:
    """Those that were let through while hashes were waited for count all the same."""
    _, guesses = guessing(register_burst=2, register_per_day=1)

    assert [guesses.may_register(FAR) for _ in range(4)] == [0, 0, 0, 0]
    for _ in range(4):
        guesses.registered(FAR)

    assert guesses.may_register(FAR) == pytest.approx(3 * DAY)


def test_memory_is_bounded() -> None:
    """Ten thousand addresses are remembered; of more, those that were heard of last."""
    _, guesses = guessing(register_burst=1)

    for number in range(REMEMBERED + 2):
        peer = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:5000"
        for _ in range(FOR_A_NAME):
            guesses.may_guess("ann", peer)
        guesses.registered(peer)
        if number == 2:
            guesses.guessed_wrong("ann", "10.0.0.0:5000")
            guesses.registered("10.0.0.0:5000")

    assert len(guesses._guesses) == len(guesses._registered) == REMEMBERED
    for known in ("10.0.0.0:5000", peer):
        assert guesses.may_guess("ann", known) > 0
        assert guesses.may_register(known) > 0
    for forgotten in ("10.0.0.1:5000", "10.0.0.2:5000"):
        assert guesses.may_guess("ann", forgotten) == guesses.may_register(forgotten) == 0
