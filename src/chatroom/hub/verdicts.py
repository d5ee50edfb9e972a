"""Who may not write, and who is not let in: what operators decide, and what becomes of it.

Times are the log's, so that a verdict ends at the same place of it on every machine.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_network
from math import ceil
from typing import TYPE_CHECKING

from chatroom.hub.entries import NO_KEYS, Banned, Keys, Kicked, Muted, Unbanned, Unmuted
from chatroom.hub.ports import KnownBan, Store
from chatroom.hub.refusal import Refusal
from chatroom.protocol import messages, names
from chatroom.protocol.messages import Done, ErrorCode

if TYPE_CHECKING:
    from chatroom.hub.account import Account
    from chatroom.hub.house import Asked, House
    from chatroom.hub.session import Session

MOST = 10_000
"""Bans and mutes that there may be."""
LISTED = 256 * 1024
"""Bytes of them that are listed, about: the newest."""
BAN, NETWORK, MUTE = "ban", "network", "mute"
"""Kinds of verdicts; users see a ban of a network as a `ban`."""
A_DAY = 1440
"""Minutes; of more, the date is said."""
_NETWORK, _ACCOUNT = 4, 5
Then = Callable[[bool], None]
_Mark = tuple[int, str | int]
"""What a ban holds for: one of a guest's `names.keys` with its kind, a network or an account."""
_Key = tuple[str, str]
"""The kind of a ban and the name, as it was when it was banned: a guest may be called like a network."""


class Verdicts:
    """All bans and mutes that have not been lifted. Those that have ended count as none, and are swept."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._mutes: dict[int, tuple[KnownBan, Keys]] = {}  # by account, or a guest's session
        self._bans: dict[_Key, tuple[KnownBan, Keys]] = {}
        self._marked: dict[_Mark, dict[_Key, None]] = {}  # the bans that hold for something
        self._wide: set[tuple[int, int]] = set()  # IP version and prefix length of networks that are no origin

    def __len__(self) -> int:
        """Return how many there are, with those that have ended and are not swept yet."""
        return len(self._mutes) + len(self._bans)

    # Mutes

    def mute(self, verdict: KnownBan, keys: Keys, now: float) -> None:
        """Let somebody write no more. Raises a `Refusal` if there are too many verdicts."""
        if verdict.account not in self._mutes:
            self._make_room(now)
        self._mutes.pop(verdict.account, None)  # the newest come last
        self._mutes[verdict.account] = verdict, keys

    def unmute(self, target: int, then: Then | None = None) -> None:
        """Let an account or a session write again, if it could not; `then` as in `know`."""
        if target in self._mutes:
            self._unmute([target], then)

    def is_muted(self, target: int) -> bool:
        """Whether it may not write, or might not until lately."""
        return target in self._mutes

    def muted(self, name: str, key: str) -> int:
        """Return who was muted under this name, as it is spelled or else as it folds; 0 if nobody was."""
        found = 0
        for target, (verdict, keys) in self._mutes.items():
            if verdict.name == name:
                return target
            if key and keys[names.ADDRESS] == key:
                found = target
        return found

    def refuse_muted(self, target: int, now: float) -> None:
        """Raise a `Refusal` if an account or a session may not write now. A mute that has ended is lifted."""
        if target in self._mutes:
            verdict, _ = self._mutes[target]
            if _holds(verdict, now):
                raise Refusal(ErrorCode.MUTED, f"you are muted{_ending(verdict, now)}")
            self.unmute(target)

    # Bans

    def ban(self, verdict: KnownBan, keys: Keys, now: float) -> KnownBan:
        """Let somebody in no more, nor guests from the networks of an earlier ban that still holds.

        Return the ban with these. Raises a `Refusal` if there are too many verdicts.
        """
        if _key(verdict) in self._bans:
            before, _ = self._take(_key(verdict))
            if _holds(before, now):
                verdict = verdict._replace(origins=tuple(dict.fromkeys(before.origins + verdict.origins)))
        else:
            self._make_room(now)
        self._put(verdict, keys)
        return verdict

    def banned(self, name: str, key: str) -> list[KnownBan]:
        """Return the bans that hold for this network, or of this name, as it is spelled or else as it folds."""
        found = {one: self._bans[one][0] for one in self._marked.get((_NETWORK, name), ())}
        return list((found | {_key(one): one for one in self.named(name, key)}).values())

    def named(self, name: str, key: str) -> list[KnownBan]:
        """Return the bans of this name, as it is spelled or else as it folds."""
        if (BAN, name) in self._bans:
            return [self._bans[BAN, name][0]]
        return [one for one, keys in self._bans.values() if key and keys[names.ADDRESS] == key]

    def is_banned(self, account: int) -> bool:
        """Whether an account is not let in, or was not until lately."""
        return (_ACCOUNT, account) in self._marked

    def is_from(self, origin: str, verdict: KnownBan) -> bool:
        """Whether guests from there are banned by this."""
        if verdict.kind == NETWORK:
            return verdict.name in self._networks(origin)
        return origin in verdict.origins

    def free(self, account: int, keys: Keys) -> None:
        """Let the ban of an account that is no more be one of its name."""
        for key in list(self._marked.get((_ACCOUNT, account), ())):
            verdict = self._take(key)[0]._replace(account=0)
            self._put(verdict, keys)
            self.know(verdict)

    def around(self, network: str, now: float) -> str:
        """Return the name of a ban in force of a network in which this one lies; nothing if there is none."""
        marks: list[_Mark] = [(_NETWORK, one) for one in self._networks(network)]
        return next((one.name for one in self._holding(marks, now)), "")

    def unban(self, verdict: KnownBan, network: str, then: Then | None = None) -> None:
        """Lift a ban; or, if it is of a name and holds for this network too, only that; `then` as in `know`."""
        _, keys = self._take(_key(verdict))
        if network in verdict.origins and network != verdict.name:
            verdict = verdict._replace(origins=tuple(one for one in verdict.origins if one != network))
            self._put(verdict, keys)
            self.know(verdict, then)
        else:
            self._lift(verdict.kind, verdict.name, then)

    def refuse_banned(self, account: int, keys: Keys, origin: str, session: int, now: float) -> None:
        """Raise a `Refusal` if an account, or (0) a guest with such a name and origin, is not let in now.

        `session`: its number. A guest's that has outlived the ban of a network may come back from there.
        """
        if not self._bans:
            return
        if account:
            self._refuse([(_ACCOUNT, account)], "you are banned", now)
            return
        self._refuse(list(enumerate(keys)), "this name is banned", now)
        for verdict in self._holding([(_NETWORK, one) for one in self._networks(origin)], now):
            if session < verdict.number:
                continue
            told = verdict if verdict.kind == NETWORK else verdict._replace(reason="")  # somebody else's
            text = "log in with an account's password, as guests from your network are banned"
            raise Refusal(ErrorCode.BANNED, text + _ending(told, now))

    # Both

    def know(self, verdict: KnownBan, then: Then | None = None) -> None:
        """Have the store know a verdict; `then` is told whether it does."""
        if self._store is not None:
            self._store.know_ban(verdict, then)
        elif then is not None:
            then(True)

    def sweep(self, now: float) -> None:
        """Forget what has ended."""
        self._unmute([target for target, (verdict, _) in self._mutes.items() if not _holds(verdict, now)])
        for verdict in [one for one, _ in self._bans.values() if not _holds(one, now)]:
            self.unban(verdict, "")

    def listed(self, now: float) -> list[messages.BanRecord]:
        """Return the newest of those in force, oldest first."""
        everything = (verdict for verdict, _ in (*self._mutes.values(), *self._bans.values()))
        found: list[messages.BanRecord] = []
        size = 0
        for one in sorted(everything, key=lambda verdict: verdict.time, reverse=True):
            if _holds(one, now):
                size += 100 + len(json.dumps([one.name, one.by, one.reason]))
                if size > LISTED:
                    break
                until = one.until or None
                kind = MUTE if one.kind == MUTE else BAN
                found.append(messages.BanRecord(kind, one.name, one.by, one.time, until, one.reason or None))
        return found[::-1]

    def restore(self, bans: Sequence[KnownBan], find: "Callable[[int], Account | Session | None]") -> None:
        """Go on with what a store knew; `find` tells who has a number.

        Mutes of guests who have gone end; a ban of an account that is not there is one of its name.
        """
        gone = []
        for known in bans:
            who, keys = find(known.account), NO_KEYS
            if who is not None:
                keys = who.keys
            elif known.kind == MUTE:
                gone.append(known.account)
            elif known.kind == BAN:
                with suppress(names.BadName):  # no name any more, since Unicode has changed
                    keys = names.keys(known.name)
            if known.kind == MUTE:
                self._mutes[known.account] = known, keys
            else:
                self._put(known if who is not None else known._replace(account=0), keys)
        self._unmute(gone)

    def state(self) -> list[object]:
        """Return all that must be the same on every machine."""
        return [list(self._mutes.items()), list(self._bans.items())]

    def _unmute(self, targets: Sequence[int], then: Then | None = None) -> None:
        lifted = {self._mutes.pop(target)[0].name for target in targets}
        for name in lifted:
            self._lift(MUTE, name, then)
        for other, _ in self._mutes.values() if lifted else ():  # another guest may have had the name
            if other.name in lifted:
                self.know(other)

    def _lift(self, kind: str, name: str, then: Then | None) -> None:
        if self._store is not None:
            self._store.lift(kind, name, then)
        elif then is not None:
            then(True)

    def _make_room(self, now: float) -> None:
        if len(self) >= MOST:
            self.sweep(now)
        if len(self) >= MOST:
            raise Refusal(ErrorCode.NOT_ALLOWED, f"there are {len(self)} bans and mutes, no more are allowed")

    def _put(self, verdict: KnownBan, keys: Keys) -> None:
        key = _key(verdict)
        self._bans[key] = verdict, keys
        for mark in _marks(verdict, keys):
            self._marked.setdefault(mark, {})[key] = None
        for origin in verdict.origins:
            network = ip_network(origin)
            if network.prefixlen < (32 if network.version == 4 else 64):
                self._wide.add((network.version, network.prefixlen))

    def _take(self, key: _Key) -> tuple[KnownBan, Keys]:
        verdict, keys = self._bans.pop(key)
        for mark in _marks(verdict, keys):
            marked = self._marked[mark]
            del marked[key]
            if not marked:
                del self._marked[mark]
        return verdict, keys

    def _networks(self, origin: str) -> Iterator[str]:
        """Return the networks that this one lies in, as far as such are banned."""
        if not origin:
            return
        yield origin
        if self._wide:
            network = ip_network(origin)
            for version, length in self._wide:
                if version == network.version and length <= network.prefixlen:
                    yield str(network.supernet(new_prefix=length))

    def _holding(self, marks: list[_Mark], now: float) -> Iterator[KnownBan]:
        """Return the bans in force that hold for one of these."""
        for mark in marks:
            for key in self._marked.get(mark, ()):
                if _holds(verdict := self._bans[key][0], now):
                    yield verdict

    def _refuse(self, marks: list[_Mark], text: str, now: float) -> None:
        for verdict in self._holding(marks, now):
            raise Refusal(ErrorCode.BANNED, text + _ending(verdict, now))


def _key(verdict: KnownBan) -> _Key:
    return verdict.kind, verdict.name


def _marks(verdict: KnownBan, keys: Keys) -> list[_Mark]:
    """Return what a ban holds for."""
    marks: list[_Mark] = [(_NETWORK, origin) for origin in verdict.origins]
    if verdict.account:
        return [*marks, (_ACCOUNT, verdict.account)]
    return [*marks, *((kind, key) for kind, key in enumerate(keys) if key)]


def _holds(verdict: KnownBan, now: float) -> bool:
    return not verdict.until or now < verdict.until


def _ending(verdict: KnownBan, now: float) -> str:
    """Return how long a verdict holds, and why, as the end of a sentence."""
    text = ""
    if verdict.until:
        minutes = ceil((verdict.until - now) / 60)
        text = f" for {minutes} more minute{'s' * (minutes != 1)}"
        if minutes > A_DAY:
            text = f" until {datetime.fromtimestamp(verdict.until, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{text}: {verdict.reason}" if verdict.reason else text


# What the entries do


def kicked(house: "House", entry: Kicked, asked: "Asked | None") -> None:
    """End all connections of an account, or a guest's session."""
    _check(house, entry.by, entry.target)
    sessions = house.devices(entry.target)
    if not sessions:
        raise Refusal(ErrorCode.UNKNOWN_USER, "this user is not here")
    for session in sessions:
        house.turn_out(session, "kicked", entry.reason)
    if asked is not None:
        house.delivery.reply(asked.client, Done(), asked.request)


def muted(house: "House", entry: Muted, asked: "Asked | None") -> None:
    """Let an account, or a guest's session, write no more."""
    _check(house, entry.by, entry.target)
    who = house.accounts.get(entry.target) or house.sessions.get(entry.target)
    if who is None:
        raise Refusal(ErrorCode.UNKNOWN_USER, "this user has just gone")
    verdict = KnownBan(MUTE, entry.target, who.name, *_terms(house, entry), (), entry.reason)
    house.verdicts.mute(verdict, who.keys, house.time)
    house.verdicts.know(verdict, house.keeper.when_stored(asked, Done()))
    for session in house.devices(entry.target):
        session.may_write = False


def unmuted(house: "House", entry: Unmuted, asked: "Asked | None") -> None:
    """Let it write again: it finds that out when it does."""
    _check(house, entry.by)
    if not house.verdicts.is_muted(entry.target):
        raise Refusal(ErrorCode.UNKNOWN_USER, "this user is not muted")
    house.verdicts.unmute(entry.target, house.keeper.when_stored(asked, Done()))


def banned(house: "House", entry: Banned, asked: "Asked | None") -> None:
    """Let an account, or guests of a name, in no more, nor guests from these networks."""
    _check(house, entry.by, entry.account)
    account = entry.account if entry.account in house.accounts else 0  # which may just have been freed
    kind = BAN if account or entry.keys != NO_KEYS else NETWORK
    terms = _terms(house, entry)
    verdict = KnownBan(kind, account, entry.name, *terms, entry.origins, entry.reason, house.next)
    verdict = house.verdicts.ban(verdict, entry.keys, house.time)
    for session in list(house.sessions.values()):
        if _must_go(house, session, verdict, entry.keys):
            house.turn_out(session, "banned", entry.reason)
    others = sum(one.is_here and house.verdicts.is_from(one.origin, verdict) for one in house.sessions.values())
    house.verdicts.know(verdict, house.keeper.when_stored(asked, Done(others=others)))


def unbanned(house: "House", entry: Unbanned, asked: "Asked | None") -> None:
    """Let in again who was banned under a name, or guests from a network."""
    verdicts = house.verdicts.banned(entry.name, entry.keys[names.ADDRESS])
    for verdict in verdicts:
        _check(house, entry.by, verdict.account)
    if not verdicts:
        raise Refusal(ErrorCode.UNKNOWN_USER, f"nobody called {names.quoted(entry.name)} is banned")
    then = house.keeper.when_stored(asked, Done())
    for verdict in verdicts:  # the answer follows the last
        house.verdicts.unban(verdict, entry.name, then if verdict is verdicts[-1] else None)


def _check(house: "House", by: int, target: int = 0) -> None:
    """Refuse what is asked for by one who is no operator, or of another operator; 0 is the command line."""
    if by:
        operator, account = house.accounts.get(by), house.accounts.get(target)
        if operator is None or not operator.is_operator:
            raise Refusal(ErrorCode.NOT_ALLOWED, "you are not an operator")
        if account is not None and account.is_operator:
            why = f"{names.quoted(account.name)} is an operator: only the command line can ban operators"
            raise Refusal(ErrorCode.NOT_ALLOWED, why)


def _must_go(house: "House", session: "Session", verdict: KnownBan, keys: Keys) -> bool:
    """Whether a ban ends a session: a connection of the account, or a guest with the name, or its like.

    So does a guest's from a banned network that has lost its name while it was away: else the banned one could
    come back by an older session. One whose origin is not known any more, as behind a restart, is as one.
    """
    if session.account is not None:
        return session.is_here and session.account.number == verdict.account
    if not verdict.account and any(one == other for one, other in zip(session.keys, keys, strict=True) if one):
        return True
    address = session.keys[names.ADDRESS]
    if session.is_here or house.away.get(address) is session or not verdict.origins:
        return False
    return not address or house.verdicts.is_from(session.origin, verdict)


def _terms(house: "House", entry: Muted | Banned) -> tuple[str, float, float]:
    """Return by whom, from when and until when a verdict is."""
    by = house.accounts[entry.by].name if entry.by else ""
    return by, house.time, house.time + 60 * entry.minutes if entry.minutes else 0.0
