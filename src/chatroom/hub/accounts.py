"""Names that somebody owns: to register one, and to come to it with its password.

To hash a password takes time: the client waits for it, as for what is read from the disk, and nobody else does.
What is checked by then is checked against a version of the account, which the entry names.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec import UNSET

from chatroom.hub.account import Account
from chatroom.hub.client import Client
from chatroom.hub.effort import CLAIM
from chatroom.hub.entries import Came, Changed, Keys, Registered, Returned
from chatroom.hub.hashing import Hash, Hashing
from chatroom.hub.history import wait
from chatroom.hub.house import Asked
from chatroom.hub.reading import Page, Query
from chatroom.hub.refusal import Refusal
from chatroom.hub.replay import MOST_WAITING
from chatroom.protocol import names
from chatroom.protocol.messages import FEATURES, ErrorCode, Hello, Message, Register, Request
from chatroom.protocol.passwords import BadPassword, checked

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub

BUSY = 5.0
"""Seconds after which to try again if too many passwords wait to be hashed: by then, they are done."""

T = TypeVar("T")


def register(hub: "Hub", client: Client, request: Register) -> None:
    """Let the client own its name; or, with the old password, set another."""
    session, account, slow = client.session, client.session.account, _Slow(hub, client, request)
    slow.hashing()
    hub.may_take(client, CLAIM * sum(not text.isascii() for text in (request.password, request.old or "")))
    try:
        password = checked(request.password)
    except BadPassword as error:
        raise Refusal(ErrorCode.BAD_PASSWORD, str(error)) from None
    if request.old is not UNSET:
        if account is None:
            raise Refusal(ErrorCode.NOT_ALLOWED, "you have no account: leave `old` out to register")
        version = account.version

        def set_it() -> None:
            slow.make_hash(password, change)

        def change(hashed: str) -> None:
            secret = slow.new_secret()
            kept = hub.hashed(secret)
            slow.append(Changed(account.number, version, hashed, session.number, kept), secret)

        slow.check(account, request.old, set_it, changes=True)
        return
    if account is not None:
        raise Refusal(ErrorCode.NOT_ALLOWED, "the name is yours already: send `old` to change its password")
    if not hub.limits.register:
        raise Refusal(
            ErrorCode.NOT_ALLOWED, "registration is turned off: whoever runs this server adds accounts"
        )
    if why := hub.house.reservation(session.name, session.keys):
        raise Refusal(ErrorCode.NAME_RESERVED, why)

    def own(hashed: str) -> None:
        secret, most = slow.new_secret(), hub.limits.max_accounts
        kept = hub.hashed(secret)
        slow.append(Registered(session.number, session.name, session.keys, hashed, most, kept), secret)

    slow.make_hash(password, own, registers=True)


def hello(hub: "Hub", client: Client, request: Hello) -> None:
    """Give the client a name; or its session back, if it has one; or an account, for its password."""
    account, name, keys = _named(hub, request.name)
    hub.bury_the_dead(keys)
    slow = _Slow(hub, client, request)
    session, secret = None, ""
    if "resume" in (request.features or ()):
        session = hub.known_session(request.session or "")
        if session is not None and session.account is not account:
            is_staying = request.password is UNSET and hub.house.may_keep(session, keys)
            session = session if is_staying else None  # another's
        secret = hub.new_secret() if session is None else request.session or ""
    hashed, origin = hub.hashed(secret), client.sink.origin
    is_owner = session is not None and session.account is not None
    if request.password is not UNSET or is_owner:
        _check_private(client)
    if session is not None and account is not None and is_owner:
        returned = Returned(session.number, account.name, account.keys, origin)
        slow.read_waiting(account, partial(slow.enter, returned, secret))
    elif request.password is not UNSET and session is None:
        if account is None:
            removed = hub.house.reserved.removed(keys[names.ADDRESS])
            why = removed.removal if removed else f"nobody has registered the name {names.quoted(name)}"
            nobodys = Refusal(ErrorCode.BAD_PASSWORD, why)
            nobodys.error.suggestion = hub.free_name(name)  # no other password would do
            raise nobodys
        came = Came(account.name, account.keys, hashed, origin, account.number, account.version)
        come = partial(slow.enter, came, secret)
        slow.check(account, request.password, lambda: slow.read_waiting(account, come))
    elif not hub.limits.guests and (account is None or session is not None):
        raise Refusal(ErrorCode.NOT_ALLOWED, "this server lets nobody in without an account")
    elif session is not None:
        slow.enter(Returned(session.number, name, keys, origin), secret)
    else:
        slow.enter(Came(name, keys, hashed, origin), secret)


class _Slow(NamedTuple):
    """A request that may take time, and the steps that do."""

    hub: "Hub"
    client: Client
    request: Request

    def new_secret(self) -> str:
        """Return what the session is to come back with from now on; nothing if it cannot."""
        return "" if self.client.session.secret is None else self.hub.new_secret()

    def append(self, entry: Changed | Registered, secret: str) -> None:
        """Have an entry done. Raises a `Refusal`."""
        self.hub.append(entry, Asked(self.client, self.request, secret))

    def enter(self, entry: Came | Returned, secret: str, waiting: Sequence[Message] = ()) -> None:
        """Let the client in. Raises a `Refusal`."""
        hub, client, request = self
        assert isinstance(request, Hello)  # noqa: S101 - for the type checker
        client.ask_for(FEATURES.intersection(request.features or ()))
        try:
            hub.append(entry, Asked(client, request, secret, waiting))
        except Refusal as refusal:
            client.ask_for(frozenset())
            if refusal.error.error in {ErrorCode.NAME_TAKEN, ErrorCode.NAME_RESERVED}:
                refusal.error.suggestion = hub.free_name(entry.name)
            raise

    def check(
        self, account: Account, password: str, then: Callable[[], None], *, changes: bool = False
    ) -> None:
        """Go on if this is the account's password, to set another if it `changes`. Raises a `Refusal`."""
        hasher, guessing, peer = self.hashing().hasher, self.hub.guessing, self.client.sink.peer
        key, hashed = account.keys[names.ADDRESS], account.hashed
        wrong = Refusal(ErrorCode.BAD_PASSWORD, f"this is not the password of {names.quoted(account.name)}")
        try:
            password = checked(password)
        except BadPassword:
            raise wrong from None

        def begin(done: Callable[[bool | None], None]) -> None:
            def verified(is_right: bool | None) -> None:  # noqa: FBT001 - called by the hasher
                if is_right is False:
                    guessing.guessed_wrong(key, peer)
                elif is_right and changes:
                    guessing.changes(account.number)
                done(is_right)

            _wait_for(guessing.may_guess(key, peer), "too many wrong passwords have come from your address")
            if changes:
                why = "the password of your account has been changed too often"
                _wait_for(guessing.may_change(account.number), why)
            hasher.verify(hashed, password, verified)

        def end(is_right: bool) -> None:  # noqa: FBT001 - called by the hasher
            if not is_right:
                raise wrong
            then()

        self._hashed(begin, end)

    def make_hash(self, password: str, then: Callable[[str], None], *, registers: bool = False) -> None:
        """Go on with the hash of a new password, of a new account if it `registers`. Raises a `Refusal`."""
        hasher, guessing, peer = self.hashing().hasher, self.hub.guessing, self.client.sink.peer

        def begin(done: Callable[[str | None], None]) -> None:
            if registers:
                why = "too many accounts were registered from your address"
                _wait_for(guessing.may_register(peer), why)
                guessing.registers(peer)
            hasher.hash(password, done)

        self._hashed(begin, then)

    def read_waiting(self, account: Account, then: Callable[[Sequence[Message]], None]) -> None:
        """Go on with the messages that wait for the account, if they are to be sent and not all in memory."""
        house, request = self.hub.house, self.request
        store = house.store
        is_asked = isinstance(request, Hello) and request.after is UNSET and account.waiting
        if store is None or not is_asked or house.past.direct.floor <= account.away_since:
            then(())
            return
        query = Query(None, account.number, None, None, None, MOST_WAITING, None)
        page = Page(query)
        self._wait(partial(store.fill, page, query), lambda: then(page.messages))

    def hashing(self) -> Hashing:
        """Return where passwords wait to be hashed. Raises a `Refusal` if this client's may not."""
        if self.hub.hashing is None or self.hub.house.store is None:
            why = "this server keeps no accounts: it was started without `--data`"
            raise Refusal(ErrorCode.NOT_ALLOWED, why)
        _check_private(self.client)
        return self.hub.hashing

    def _hashed(self, begin: Callable[[Callable[[T | None], None]], None], end: Callable[[T], None]) -> None:
        """Have something hashed when its turn has come, and go on with what came of it."""
        client, hashing = self.client, self.hashing()

        def is_wanted() -> bool:
            return not (client.is_leaving or client.sink.is_dead())

        def answer(outcome: T | Refusal | None) -> None:
            if isinstance(outcome, Refusal):
                raise outcome
            if outcome is None:
                why = "too many passwords wait to be checked, or this one could not be"
                raise Refusal(ErrorCode.SLOW_DOWN, why, retry_after=BUSY)
            end(outcome)

        self._wait(lambda done: hashing.ask(client.sink.peer, Hash(is_wanted, begin, done)), answer)

    def _wait(self, begin: Callable[[Callable[..., None]], None], end: Callable[..., None]) -> None:
        """Begin something that takes time, and go on with what came of it."""

        def answer(*outcome: object) -> None:
            try:
                end(*outcome)
            except Refusal as refusal:
                self.hub.refuse(self.client, refusal, self.request)

        wait(self.hub, self.client, begin, answer)


def _named(hub: "Hub", given: str) -> tuple[Account | None, str, Keys]:
    """Return the account of this name, as it is given or else folds, if there is one; and the name as given.

    Raises a `Refusal`.
    """
    reserved = hub.house.reserved
    account = reserved.named(given)
    if account is None or not account.hashed:
        try:
            name = names.checked(given)
            keys = names.keys(name)
        except names.BadName as error:
            raise Refusal(ErrorCode.BAD_NAME, str(error)) from None
        return reserved.addressed(keys[names.ADDRESS]), name, keys
    return account, account.name, account.keys


def _wait_for(seconds: float, why: str) -> None:
    """Refuse what may be done only in so many seconds."""
    if seconds:
        raise Refusal(ErrorCode.SLOW_DOWN, why, retry_after=seconds)


def _check_private(client: Client) -> None:
    """Refuse passwords, and what can be used in their place, where others could read them."""
    if not client.sink.is_private:
        why = "passwords and accounts' sessions are taken only over TLS or from 127.0.0.1"
        raise Refusal(ErrorCode.NOT_ALLOWED, why)
