"""How often passwords may be guessed and set, and accounts be registered.

Each guess costs a hash, for which all who give a password wait. So who guessed wrong too often is refused
without one; and as that counts by address, nobody locks another out of a name.
"""

from collections.abc import Hashable
from typing import TypeVar

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
CHANGES = 3
"""Passwords that one account may set at once; then, one a minute."""
REMEMBERED = 10_000
"""Addresses, and accounts, that are remembered; of more, the one heard of longest ago is forgotten."""
_DAY = 86_400.0

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Guessing:
    """Counts wrong passwords, and what else costs hashes. A `peer` is an address with its port: `Sink.peer`.

    What may be done is asked when its hash is about to begin, and hashes are made one at a time: so all that
    were wrong before have been counted, and what waits counts for nothing.
    """

    def __init__(self, limits: Limits, timing: Timing) -> None:
        self._timing = timing
        self._burst = limits.register_burst
        self._rate = limits.register_per_day / _DAY
        self._origin = Origins(limits.exempt).of
        # By network; the one that was heard of last stands behind the others.
        self._wrong: dict[str, list[tuple[str, float]]] = {}
        self._registered: dict[str, Bucket] = {}
        self._changed: dict[int, Bucket] = {}
        """By account."""

    def may_guess(self, name_key: str, peer: str) -> float:
        """Return the seconds until a password may be guessed; 0.0 if it may now.

        `name_key`: what the name is found by, folded.
        """
        now, recent = self._timing.time(), self._recent(network(host_of(peer)))
        same = [guess for guess in recent if guess[0] == name_key]
        wait = 0.0
        for guesses, most in (same, FOR_A_NAME), (recent, IN_ALL):
            if len(guesses) >= most:
                wait = max(wait, guesses[-most][1] + MINUTE - now)
        return wait

    def guessed_wrong(self, name_key: str, peer: str) -> None:
        """A password was wrong: that counts for a minute."""
        origin = network(host_of(peer))
        guesses = [*self._recent(origin), (name_key, self._timing.time())]
        self._wrong.pop(origin, None)
        _remember(self._wrong, origin, guesses)

    def may_register(self, peer: str) -> float:
        """Return the seconds until an account may be registered from this address: 0.0 if it is exempt."""
        bucket = self._registered.get(self._origin(host_of(peer)))
        return 0.0 if bucket is None else bucket.wait(1)

    def registers(self, peer: str) -> None:
        """A password is hashed for an account that may come of it, from this address."""
        if origin := self._origin(host_of(peer)):
            bucket = self._registered.pop(origin, None) or Bucket(self._burst, self._rate, self._timing)
            bucket.take(1)
            _remember(self._registered, origin, bucket)

    def may_change(self, account: int) -> float:
        """Return the seconds until the account of this number may have another password."""
        bucket = self._changed.get(account)
        return 0.0 if bucket is None else bucket.wait(1)

    def changes(self, account: int) -> None:
        """Who knows the account's password sets another: wrong ones count for nothing here."""
        bucket = self._changed.pop(account, None) or Bucket(CHANGES, 1 / MINUTE, self._timing)
        bucket.take(1)
        _remember(self._changed, account, bucket)

    def _recent(self, origin: str) -> list[tuple[str, float]]:
        since = self._timing.time() - MINUTE
        return [guess for guess in self._wrong.get(origin, ()) if guess[1] > since]


def _remember(table: dict[K, T], key: K, value: T) -> None:
    """Put it behind the others; forget the first of too many."""
    table[key] = value
    if len(table) > REMEMBERED:
        del table[next(iter(table))]
