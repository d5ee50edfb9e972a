"""The names that accounts own, found as names are claimed: as given, folded, and by their looks."""

from collections.abc import Iterator

from chatroom.hub.account import Account
from chatroom.hub.entries import Keys
from chatroom.protocol import names


class Reserved:
    """Accounts by name. When Unicode changes, two may become alike: then both stay."""

    def __init__(self) -> None:
        self._named: dict[str, Account] = {}
        self._by_key: tuple[dict[str, tuple[Account, ...]], ...] = ({}, {}, {}, {})

    def add(self, account: Account) -> None:
        """Reserve the account's name."""
        self._named[account.name] = account
        alone = (account,)  # one for all four
        for kind, key in enumerate(account.keys):
            others = self._by_key[kind].get(key)
            self._by_key[kind][key] = alone if others is None else (*others, account)

    def free(self, account: Account) -> None:
        """Let others have the name."""
        del self._named[account.name]
        for kind, key in enumerate(account.keys):
            left = tuple(other for other in self._by_key[kind][key] if other is not account)
            if left:
                self._by_key[kind][key] = left
            else:
                del self._by_key[kind][key]

    def named(self, name: str) -> Account | None:
        """Return the account of exactly this name."""
        return self._named.get(name)

    def addressed(self, address: str) -> Account | None:
        """Return an account that was not removed whose name folds to this; looks do not count."""
        return next((one for one in self._by_key[names.ADDRESS].get(address, ()) if one.hashed), None)

    def removed(self, address: str) -> Account | None:
        """Return a removed account whose name folds to this; looks do not count."""
        return next((one for one in self._by_key[names.ADDRESS].get(address, ()) if not one.hashed), None)

    def claims(self, keys: Keys) -> Iterator[tuple[int, Account]]:
        """Return the accounts whose names are one with this, and the kind of key that says so."""
        for kind, key in enumerate(keys):
            for account in self._by_key[kind].get(key, ()):
                yield kind, account
