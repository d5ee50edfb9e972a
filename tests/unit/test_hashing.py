"""Passwords that wait to be hashed, with a fake loop and hasher."""

from collections.abc import Callable

import pytest

from chatroom.hub.hashing import MOST, Hash, Hashing
from chatroom.hub.refusal import Refusal
from chatroom.protocol.messages import ErrorCode
from fakes import FakeHasher, FakeLoop

ONE, OTHER, THIRD = "192.0.2.7:5000", "192.0.2.8:5000", "192.0.2.9:5000"


class Queue:
    """Notes who is told what."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.hasher = FakeHasher(self.loop)
        self.hasher.is_held = True
        self.hashing = Hashing(self.hasher, self.loop)
        self.told: list[tuple[str, object]] = []

    def ask(self, peer: str, name: str, *, is_wanted: bool = True, refusal: Refusal | None = None) -> None:
        def begin(done: Callable[[object], None]) -> None:
            if refusal is not None:
                raise refusal
            self.hasher.hash(name, lambda hashed: done("hashed" if hashed else None))

        self.hashing.ask(
            peer, Hash(lambda: is_wanted, begin, lambda outcome: self.told.append((name, outcome)))
        )

    def work(self) -> list[str]:
        """Do all; return who was told of a hash, in order."""
        self.hasher.work()
        self.loop.turn()
        return [name for name, outcome in self.told if outcome == "hashed"]


def test_turns() -> None:
    """Those of one address are hashed in their order; addresses take turns, an IPv6 network as one."""
    queue = Queue()
    for name in ("a1", "a2", "a3", "a4"):
        queue.ask("[2001:db8::1]:5000" if name < "a3" else "[2001:db8::2]:6000", name)
    for peer, name in (OTHER, "b1"), (THIRD, "c1"), (OTHER, "b2"):
        queue.ask(peer, name)

    assert queue.work() == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


def test_what_is_not_begun() -> None:
    """What nobody waits for any more, and what is refused when its turn has come, is not hashed."""
    queue, refusal = Queue(), Refusal(ErrorCode.SLOW_DOWN, "too many")
    queue.ask(ONE, "first")
    queue.ask(ONE, "gone", is_wanted=False)
    queue.ask(ONE, "refused", refusal=refusal)
    queue.ask(ONE, "last")

    assert queue.work() == ["first", "last"]
    assert queue.hasher.hashes == 2
    assert {("gone", None), ("refused", refusal)} < {*queue.told}


def test_many_wait() -> None:
    """A hundred wait at most; of more, the last of the address that has the most there."""
    queue = Queue()
    for number in range(MOST + 2):  # one is under way
        queue.ask(ONE, f"a{number}")
    queue.loop.turn()
    assert queue.told == [(f"a{MOST + 1}", None)]

    queue.ask(OTHER, "b")
    queue.loop.turn()
    assert queue.told[1:] == [(f"a{MOST}", None)]
    assert queue.work() == ["a0", "a1", "b", *(f"a{number}" for number in range(2, MOST))]


def test_many_addresses() -> None:
    """Where each has one, the newest does not wait; nobody loses a turn that comes soon."""
    queue = Queue()
    for number in range(MOST + 2):
        queue.ask(f"10.0.0.{number}:5000", f"{number}")
    queue.loop.turn()

    assert queue.told == [(f"{MOST + 1}", None)]


def test_a_bug_does_not_stop_it() -> None:
    """The next is hashed, whatever becomes of the outcome of the one before."""
    queue = Queue()

    def fail(outcome: object) -> None:
        raise ZeroDivisionError(outcome)

    queue.hashing.ask(ONE, Hash(lambda: True, lambda done: queue.hasher.hash("", done), fail))
    queue.ask(ONE, "next")
    with pytest.raises(ZeroDivisionError):
        queue.hasher.work()

    assert queue.work() == ["next"]
