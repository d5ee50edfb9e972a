"""How often one may guess a password, and register, from one address."""

from typing import Any

import pytest

from chatroom.hub.guessing import CHANGES, FOR_A_NAME, IN_ALL, MINUTE, REMEMBERED, Guessing
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
    guesses.guessed_wrong("ann", FAR)
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


def test_networks_guess_as_one() -> None:
    """IPv6 is counted by networks of 64 bits; IPv4 in IPv6 is IPv4."""
    _, guesses = guessing()

    for number in range(FOR_A_NAME):
        guesses.guessed_wrong("ann", f"[2001:db8::{number}]:5000")
        guesses.guessed_wrong("ann", f"[::ffff:192.0.2.7]:{number}")

    assert guesses.may_guess("ann", "[2001:db8::ffff]:5000") > 0
    assert guesses.may_guess("ann", "[2001:db8:0:1::1]:5000") == 0
    assert guesses.may_guess("ann", FAR) > 0


def test_registrations_of_an_address() -> None:
    """A class registers at once, then five a day; from other addresses as many, and from exempt ones any."""
    loop, guesses = guessing(register_burst=40, register_per_day=5)

    for _ in range(40):
        assert guesses.may_register(FAR) == 0
        guesses.registers(FAR)

    assert guesses.may_register(FAR) == pytest.approx(DAY / 5)
    assert guesses.may_register(OTHER) == 0
    loop.pass_time(DAY + 1)
    for _ in range(5):
        assert guesses.may_register(FAR) == 0
        guesses.registers(FAR)
    assert guesses.may_register(FAR) > 0
    for _ in range(1000):
        guesses.registers("127.0.0.1:5000")
    assert len(guesses._registered) == 1
    assert guesses.may_register("127.0.0.1:5000") == 0


def test_changes_of_an_account() -> None:
    """An account may have three other passwords at once, then one a minute; others as many."""
    loop, guesses = guessing()

    for _ in range(CHANGES):
        assert guesses.may_change(1) == 0
        guesses.changes(1)

    assert guesses.may_change(1) == pytest.approx(MINUTE)
    assert guesses.may_change(2) == 0
    loop.pass_time(MINUTE + 1)
    assert guesses.may_change(1) == 0
    guesses.changes(1)
    assert guesses.may_change(1) > 0


def test_memory_is_bounded() -> None:
    """Ten thousand addresses are remembered; of more, those that were heard of last."""
    _, guesses = guessing(register_burst=1)

    for number in range(REMEMBERED + 2):
        peer = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:5000"
        for _ in range(FOR_A_NAME):
            guesses.guessed_wrong("ann", peer)
        guesses.registers(peer)
        guesses.changes(number)
        if number == 2:
            guesses.guessed_wrong("ann", "10.0.0.0:5000")
            guesses.registers("10.0.0.0:5000")

    for table in (guesses._wrong, guesses._registered, guesses._changed):
        assert len(table) == REMEMBERED
    for known in ("10.0.0.0:5000", peer):
        assert guesses.may_guess("ann", known) > 0
        assert guesses.may_register(known) > 0
    for forgotten in ("10.0.0.1:5000", "10.0.0.2:5000"):
        assert guesses.may_guess("ann", forgotten) == guesses.may_register(forgotten) == 0
