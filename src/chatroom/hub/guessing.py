"""How often passwords may be guessed, and accounts be registered, from one address.

Each guess costs a hash, for which all who give a password wait. So who guessed wrong too often is refused
without one; and as that counts by address, nobody locks another out of a name.
"""

from typing import NamedTuple, TypeVar

from chatroom.hub.bucket import Bucket
from chatroom.hub.networks import Origins, host_of, network
from chatroom.hub.ports import Timing
from chatroom.protocol.limits import Limits

MINUTE = 60.0
"""Seconds in which so many wrong passwords are allowed:"""
FOR_A_NAME = 5
"""for a name from one address, or IPv6 network of 64 bits, exempt or not;"""
IN_ALL = 20
"""for all names from there."""
REMEMBERED = 10_000
"""Addresses that are remembered; of more, the one that was heard of last longest ago is forgotten."""
_DAY = 86_400.0

T = TypeVar("T")


class _Guess(NamedTuple):
    """A wrong password, or one that is being hashed."""

    name: str
    time: float
    is_wrong: bool


class Guessing:
    """Counts wrong passwords and registrations. A `peer` is an address with a port, as `Sink.peer` is.

    A guess counts as wrong from when it may be made until it turns out to be right: all that are sent at once
    may have to wait for their hashes.
    """

    def __init__(self, limits: Limits, timing: Timing) -> None:
        self._timing = timing
        self._burst = limits.register_burst
        self._rate = limits.register_per_day / _DAY
        self._origin = Origins(limits.exempt).of
        # By network; the one that was heard of last stands behind the others.
        self._guesses: dict[str, list[_Guess]] = {}
        self._registered: dict[str, Bucket] = {}

    def may_guess(self, name_key: str, peer: str) -> float:
        """Return 0.0, and count a guess; or the seconds until one may be made.

        `guessed_wrong` or `guessed_right` must hear of each that is counted. `name_key`: what the name is found
        by, folded.
        """
        now, origin = self._timing.time(), network(host_of(peer))
        recent = self._recent(origin)
        same = [guess for guess in recent if guess.name == name_key]
        wait = 0.0
        for guesses, most in (same, FOR_A_NAME), (recent, IN_ALL):
            if len(guesses) >= most:
                wait = max(wait, guesses[-most].time + MINUTE - now)
        if not wait:
            self._keep(origin, [*recent, _Guess(name_key, now, is_wrong=False)])
        return wait

    def guessed_wrong(self, name_key: str, peer: str) -> None:
        """A guess has turned out to be wrong: for a minute from now, it counts."""
        self.guessed_right(name_key, peer)
        origin = network(host_of(peer))
        wrong = _Guess(name_key, self._timing.time(), is_wrong=True)
        self._keep(origin, [*self._recent(origin), wrong])

    def guessed_right(self, name_key: str, peer: str) -> None:
        """A guess has turned out to be right, or was not made after all: it counts no longer."""
        origin = network(host_of(peer))
        guesses = self._recent(origin)
        for guess in guesses:
            if guess.name == name_key and not guess.is_wrong:
                guesses.remove(guess)
                break
        self._keep(origin, guesses)

    def may_register(self, peer: str) -> float:
        """Return the seconds until an account may be registered from this address: 0.0 if it is exempt."""
        bucket = self._registered.get(self._origin(host_of(peer)))
        return 0.0 if bucket is None else bucket.wait(1)

    def registered(self, peer: str) -> None:
        """An account has been registered from this address.

        Those that were registered while their hashes were waited for may be too many: they are owed.
        """
        if origin := self._origin(host_of(peer)):
            bucket = self._registered.pop(origin, None) or Bucket(self._burst, self._rate, self._timing)
            bucket.take(1)
            _remember(self._registered, origin, bucket)

    def _recent(self, origin: str) -> list[_Guess]:
        since = self._timing.time() - MINUTE
        return [guess for guess in self._guesses.get(origin, ()) if guess.time > since]

    def _keep(self, origin: str, guesses: list[_Guess]) -> None:
        self._guesses.pop(origin, None)
        if guesses:
            _remember(self._guesses, origin, guesses)


def _remember(table: dict[str, T], origin: str, value: T) -> None:
    """Put it behind the others; forget the first of too many."""
    table[origin] = value
    if len(table) > REMEMBERED:
        del table[next(iter(table))]
