"""What the hub must tell each client, from its entries alone, in plain lists and dicts."""

import json
import math
from collections import defaultdict
from itertools import chain
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from chatroom.hub import past, replay
from chatroom.hub.account import MOST_DEVICES, MOST_SESSIONS, SESSION_DAYS
from chatroom.hub.client import Client
from chatroom.hub.entries import (
    Appointed,
    Banned,
    Came,
    Changed,
    Dropped,
    Entry,
    Erased,
    Forgot,
    Joined,
    Keys,
    Kicked,
    Left,
    Muted,
    Registered,
    Removed,
    Returned,
    Said,
    Told,
    Unbanned,
    Unmuted,
    Went,
)
from chatroom.hub.house import Asked
from chatroom.hub.hub import Hub
from chatroom.hub.ports import Timing
from chatroom.hub.session import hashed
from chatroom.hub.waiting import PATIENCE
from chatroom.protocol import names
from chatroom.protocol.messages import Hello, Join, ident, stamped
from fakes import FakeStore

PUSHED = b'{"code":"incoming'
PERHAPS_RETRIED = {"unknown_user", "not_in_room", "muted"}
"""Errors with which a message is refused that may have been delivered before."""


class Spoken(NamedTuple):
    """One message."""

    number: int
    time: float
    line: bytes
    session: int
    """Whose it is: an account, or a guest's session; and so the receiver."""
    receiver: int
    to: str
    room: str | None
    device: int
    """The session that said it."""

    def with_stamps(self) -> bytes:
        return stamped(self.line, self.number, self.time)

    def as_sent_to(self, client: Client) -> bytes:
        return self.with_stamps() if client.has_stamps else self.line

    def as_shown_to_sender(self) -> bytes:
        """Return what the sender's other connections get, if they want it."""
        code, rest = self.line.split(b",", 1)
        to = json.dumps(self.to).encode()
        return stamped(b'%b,"to":%b,%b' % (code, to, rest), self.number, self.time)


class Owner:
    """One account."""

    def __init__(self, number: int, name: str, hashed: str) -> None:
        self.number = number
        self.name = name
        self.hashed: str | None = hashed
        """None: it was removed, but its name is reserved."""
        self.version = 1
        self.is_operator = False
        self.rooms: list[str] = []
        self.waiting: list[Spoken] = []
        self.devices: list[Member] = []


def are_alike(keys: Keys, others: Keys) -> bool:
    return any(one == other for one, other in zip(keys, others, strict=True))


class Member:
    """One session."""

    def __init__(self, number: int, secret: bytes | None, account: Owner | None) -> None:
        self.number = number
        self.secret = secret
        self.account = account
        self.name = ""
        self.origin = ""
        self.client: Client | None = None
        self.dropped_at: float | None = None
        self.rooms: set[str] = set()
        self.refs: dict[bytes, int] = {}

    @property
    def owner(self) -> int:
        return self.number if self.account is None else self.account.number

    @property
    def is_kept(self) -> bool:
        return self.secret is not None or self.account is not None


class Model:
    """Is told of each entry when it has been done, and checks what was pushed meanwhile."""

    def __init__(self, hub: Hub, timing: Timing, *, is_tight: bool) -> None:
        """`is_tight`: bounds are so small that nobody surely gets what it missed."""
        self.hub = hub
        self.timing = timing
        self.is_tight = is_tight
        self.most_devices = 2 if is_tight else MOST_DEVICES
        self.most_sessions = 4 if is_tight else MOST_SESSIONS
        self.decided: dict[Client, list[bytes]] = defaultdict(list)
        self.members: dict[int, Member] = {}
        self.accounts: dict[int, Owner] = {}
        self.spoken: dict[str | None, list[Spoken]] = defaultdict(list)
        """By room; None: direct messages."""
        self.by_number: dict[int, Spoken] = {}
        self.muted: dict[int, float] = {}
        """Until when somebody may not write, by account or guest's session."""
        self.kept_numbers: set[int] = set()
        """Of direct messages, those that one end could read again."""
        self.forgotten: set[int] = set()
        self.views: dict[Client, dict[str, set[str]]] = {}
        """Who is where, as a client with the feature `presence` knows."""
        self.began_at: dict[tuple[Client, str], int] = {}
        """The last number given out when a client was let into a room: what is not behind it is old."""
        self.bearers: dict[str, int] = {}
        """Who had a name last, by folded name."""
        self.bans: dict[str, tuple[Banned, float, int]] = {}
        """By name as it was banned, with the time until which it is; sessions had lesser numbers by then."""
        self.queries: dict[str, dict[str, Any]] = {}
        """Of the history, by their `ref`."""
        self._pushed: dict[Client, list[bytes]] | None = None
        self._append, self._push = hub.append, hub.delivery.push
        hub.append, hub.delivery.push = self.append, self.push  # type: ignore[method-assign]

    # What the hub does

    def push(self, client: Client, frames: bytes) -> None:
        lines = frames.splitlines(keepends=True)
        self.decided[client] += lines
        if self._pushed is not None:
            self._pushed.setdefault(client, []).extend(lines)
        else:
            self.look_at(client, lines)
        self._push(client, frames)

    def append(self, entry: Entry, asked: Asked | None) -> None:
        assert self._pushed is None
        self._pushed = {}
        said_by = entry.session if isinstance(entry, Said | Told) else 0
        try:
            self._append(entry, asked)
            pushed = self._pushed
        finally:
            self._pushed = None
        if said_by:
            assert isinstance(entry, Said | Told)
            expected = self.spoke(entry, self.members[said_by])
        else:
            expected = self.done(entry, asked, pushed)
        for client, lines in pushed.items():
            self.look_at(client, lines)
        got = {
            client: incoming
            for client, lines in pushed.items()
            if (incoming := [line for line in lines if line.startswith(PUSHED)])
        }
        assert got == {client: lines for client, lines in expected.items() if lines}, type(entry)

    # What must follow from it

    def done(
        self, entry: Entry, asked: Asked | None, pushed: dict[Client, list[bytes]]
    ) -> dict[Client, list[bytes]]:
        """Return the messages that were pushed to clients."""
        match entry:
            case Came() | Returned():
                return self.let_in(entry, asked, pushed)
            case Dropped():
                assert self.members[entry.session].secret is not None
                self.drop(self.members[entry.session])
            case Went():
                member = self.members[entry.session]
                if member.dropped_at is not None:
                    patience = PATIENCE if member.account is None else SESSION_DAYS * 86_400
                    early = self.timing.time() - member.dropped_at < patience - 1e-6
                    assert not early or self.is_tight or member.account, "too early"
                self.end(member)
            case Joined():
                return self.joined(entry, asked, pushed)
            case Left():
                self.leave(self.members[entry.session], entry.room)
            case Forgot():
                self.forgot(entry, asked, pushed)
            case _:
                self.account_done(entry)
                self.judged(entry)
        return {}

    def renew(self, member: Member, entry: Registered | Changed) -> None:
        assert (member.secret is None) == (entry.secret is None)
        assert entry.secret is None or entry.secret != member.secret, "who has read the last one is in"
        member.secret = entry.secret

    def account_done(self, entry: Entry) -> None:
        match entry:
            case Registered():
                assert not self.reserved(entry.keys), "a name that is another's"
                member = self.members.get(entry.session)
                account = Owner(entry.session or self.hub.house.next - 1, entry.name, entry.hashed)
                assert account.number not in self.accounts
                self.accounts[account.number] = account
                if member is not None:
                    assert member.account is None
                    assert member.client is not None
                    member.account = account
                    self.renew(member, entry)
                    account.devices.append(member)
                    account.rooms = [*member.rooms]
            case Changed():
                account = self.accounts[entry.account]
                assert account.hashed is not None
                assert entry.version in {0, account.version}, "changed by who knew the password before the last"
                account.hashed = entry.hashed
                account.version += 1
                self.end_all(account, but=entry.session)
                if entry.session:
                    self.renew(self.members[entry.session], entry)
            case Appointed():
                self.accounts[entry.account].is_operator = entry.is_operator
            case Removed():
                account = self.accounts[entry.account]
                account.hashed, account.is_operator = None, False
                account.waiting.clear()
                self.end_all(account)
                if entry.frees:
                    self.muted.pop(entry.account, None)
                    del self.accounts[entry.account]
                    self.bearers.pop(names.address(account.name), None)
            case Erased():
                of_it = {one.number for one in self.by_number.values() if one.session == entry.owner}
                self.forgotten |= of_it

    def end_all(self, account: Owner, but: int = 0) -> None:
        for member in list(self.members.values()):
            if member.account is account and member.number != but:
                self.end(member)

    def drop(self, member: Member) -> None:
        """It has no connection any more."""
        member.client, member.dropped_at = None, self.timing.time()
        member.rooms.clear()
        if member.account is not None and member in member.account.devices:
            member.account.devices.remove(member)

    def end(self, member: Member) -> None:
        self.drop(member)
        del self.members[member.number]
        if member.account is None:
            self.muted.pop(member.number, None)

    def leave(self, member: Member, room: str) -> None:
        member.rooms.remove(room)
        account = member.account
        if account is not None and not any(room in device.rooms for device in account.devices):
            account.rooms = [one for one in account.rooms if one != room]

    def reserved(self, keys: Keys) -> list[Owner]:
        """Return whose accounts these keys are, or look like."""
        return [
            account
            for account in self.accounts.values()
            if any(one == other for one, other in zip(keys, names.keys(account.name), strict=True))
        ]

    def owned(self, name: str) -> Owner | None:
        """Return whose name this is."""
        found = None
        for account in self.accounts.values():
            if account.hashed is None:
                continue
            if account.name == name:
                return account
            if names.address(account.name) == names.address(name):
                found = account
        return found

    def judged(self, entry: Entry) -> None:
        match entry:
            case Kicked():
                self.turn_out([one for one in self.members.values() if one.owner == entry.target])
            case Muted():
                self.muted[entry.target] = self.until(entry.minutes)
            case Unmuted():
                self.muted.pop(entry.target, None)
            case Banned():
                before, until, _ = self.bans.get(entry.name, (entry, 0.0, 0))
                origins = entry.origins + (before.origins if until > self.hub.house.time else ())
                ban = replace(entry, origins=origins)
                self.bans[entry.name] = ban, self.until(entry.minutes), self.hub.house.next
                guests = [one for one in self.members.values() if one.account is None]
                self.turn_out([one for one in guests if self.is_hit(one, ban)])
            case Unbanned():
                key = entry.keys[names.ADDRESS]
                alike = [one for one, (ban, _, _) in self.bans.items() if ban.keys[names.ADDRESS] == key]
                for one in [entry.name] if entry.name in self.bans else alike:
                    del self.bans[one]

    def is_hit(self, guest: Member, ban: Banned) -> bool:
        """Whether a ban ends a guest's session: by its name, or as one from there that has lost it."""
        has_lost = guest.client is None and self.last_bearer(names.address(guest.name)) != guest.number
        return are_alike(ban.keys, names.keys(guest.name)) or (has_lost and guest.origin in ban.origins)

    def turn_out(self, members: list[Member]) -> None:
        """A guest's session ends; an account's can come back."""
        for member in members:
            if member.account is None or not member.secret:
                self.end(member)
            elif member.client is not None:
                self.drop(member)

    def until(self, minutes: int) -> float:
        return self.hub.house.time + minutes * 60 if minutes else math.inf

    def is_muted(self, member: Member) -> bool:
        return self.muted.get(member.owner, -math.inf) > self.hub.house.time

    def writes(self, member: Member) -> None:
        """A member does what nobody may who is muted; a mute that has ended does not begin again."""
        assert not self.is_muted(member), "by one who is muted"
        self.muted.pop(member.owner, None)

    def is_banned(self, entry: Came | Returned) -> bool:
        """Whether a guest must not be let in: by its name or, if it was not in, by where it comes from."""
        for ban, until, number in self.bans.values():
            was_in = isinstance(entry, Returned) and entry.session < number
            from_there = entry.origin in ban.origins and not was_in
            if until > self.hub.house.time and (are_alike(ban.keys, entry.keys) or from_there):
                return True
        return False

    def let_in(
        self, entry: Came | Returned, asked: Asked | None, pushed: dict[Client, list[bytes]]
    ) -> dict[Client, list[bytes]]:
        assert asked is not None
        client, request = asked.client, asked.request
        assert isinstance(request, Hello)
        is_old = isinstance(entry, Returned) and entry.keys == names.keys(self.members[entry.session].name)
        is_account = bool(client.session.account)
        assert is_account or not self.is_banned(entry), "let in, though banned"
        wants = "resume" in client.features
        hashed, owned = self.hub.hashed(request.session or ""), self.owned(request.name)
        known = next((one for one in self.members.values() if one.secret == hashed), None)
        is_staying = isinstance(entry, Returned) and is_old and known is not None and known.account is None
        if known is not None and known.account is not owned and not is_staying:
            known = None  # it is another's
        if isinstance(entry, Came):
            expired = known is not None and known.account is not None  # by a clock that jumps
            assert not (wants and hashed and known) or expired, "who came back is taken for a newcomer"
            member = self.newcomer(entry, client)
            assert (member.secret is not None) == wants
        else:
            member = self.members[entry.session]
            assert wants
            assert known is member, "somebody has the session of another"
        account = member.account
        if account is None:
            owners = [self.hub.house.accounts[one.number] for one in self.reserved(names.keys(entry.name))]
            assert not owners or (is_staying and not any(one.seen for one in owners)), "a guest has it"
        else:
            self.replace_guests(account)
            assert client.sink.is_private
            if member in account.devices:
                account.devices.remove(member)
            account.devices.append(member)
            if len(account.devices) > self.most_devices:
                oldest = account.devices[0]
                self.drop(oldest) if oldest.secret else self.end(oldest)
        member.name, member.client, member.dropped_at = entry.name, client, None
        member.origin = entry.origin
        self.bearers[names.address(entry.name)] = member.owner
        member.rooms.clear()
        return self.welcome(member, client, request, pushed[client], is_back=isinstance(entry, Returned))

    def newcomer(self, entry: Came, client: Client) -> Member:
        account = None
        if entry.account:
            account = self.accounts[entry.account]
            assert account.version == entry.version, "let in with a password that was changed"
            assert (account.hashed, account.name) != (None, ""), "let in to what is no account"
        member = Member(client.session.number, entry.secret, account)
        assert member.number not in self.members
        self.members[member.number] = member
        sessions = [one for one in self.members.values() if account and one.account is account]
        if len(sessions) > self.most_sessions:
            self.end(next(one for one in sessions if one.client is None and one is not member))
        return member

    def replace_guests(self, account: Owner) -> None:
        """The account comes: guests who have its name, or its like, have gone."""
        for guest in list(self.members.values()):
            if guest.account is None and guest.client is not None:
                keys = zip(names.keys(guest.name), names.keys(account.name), strict=True)
                if any(one == other for one, other in keys):
                    self.end(guest)

    def welcome(
        self, member: Member, client: Client, request: Hello, lines: list[bytes], *, is_back: bool
    ) -> dict[Client, list[bytes]]:
        welcome, account, wants = json.loads(lines[0]), member.account, member.secret is not None
        assert welcome["code"] == "welcome"
        assert ("session" in welcome) == wants
        has_past = is_back or account is not None
        asks = (wants and request.session is not UNSET) or (account and request.after is not UNSET)
        if account is None:
            assert ("rooms" in welcome) == bool(wants and request.session is not UNSET)
            assert "account" not in welcome
        else:
            assert sorted(map(names.address, welcome["rooms"])) == sorted(account.rooms)
            assert welcome["account"] is True
            assert welcome.get("operator", False) is account.is_operator
        assert ("recovered" in welcome) == bool(asks)
        self.began_at[client, ""] = self.hub.house.next - 1
        if "presence" in client.features:
            self.views[client] = {"": self.names_in("")}
        waited = [] if account is None else account.waiting
        if account is not None:
            account.waiting = []
        if has_past and client.has_stamps and request.after is not UNSET:
            missed = [
                one
                for one in (*self.spoken[""], *self.spoken[None])
                if self.is_others(one, member) and (one.room == "" or one.room is None)
            ]
            floor = max(self.hub.house.past.rooms[""].floor, self.hub.house.past.direct.floor)
            is_known = bool(welcome.get("recovered"))
            me = member.owner if account is not None else None
            return {client: self.missed(missed, request.after, floor, is_known=is_known, me=me)}
        assert not welcome.get("recovered")
        if request.after is not UNSET or account is None:
            return {}
        return {client: self.waited(waited, client, [line for line in lines if line.startswith(PUSHED)])}

    def waited(self, waited: list[Spoken], client: Client, got: list[bytes]) -> list[bytes]:
        """Return which of the messages that waited are sent: the newest of those that are kept."""
        left = [one for one in waited if one.number not in self.forgotten]
        lines = [one.as_sent_to(client) for one in left]
        if self.hub.house.store is None or not self.is_tight:
            assert got == lines[-replay.MOST_WAITING :][-len(got) :] if got else True
        assert not got or set(got) <= {one.as_sent_to(client) for one in waited}
        floor = self.hub.house.past.direct.floor
        sure = [line for one, line in zip(left, lines, strict=True) if one.number > floor]
        if not self.is_tight:
            assert got[len(got) - len(sure) :] == sure, "what waited is lost"
        return got

    def joined(
        self, entry: Joined, asked: Asked | None, pushed: dict[Client, list[bytes]]
    ) -> dict[Client, list[bytes]]:
        assert asked is not None
        client, request, member = asked.client, asked.request, self.members[entry.session]
        assert isinstance(request, Join)
        answer = json.loads(pushed[client][0])
        assert answer["code"] == "joined"
        if entry.room in member.rooms:
            assert not answer.get("recovered")
            return {}
        if entry.room not in self.rooms():
            self.writes(member)
        member.rooms.add(entry.room)
        account = member.account
        if account is not None:
            account.rooms = [room for room in account.rooms if room != entry.room] + [entry.room]
            account.rooms = account.rooms[-entry.most_of_one :]
        self.began_at[client, answer["room"]] = self.hub.house.next - 1
        if client in self.views:
            self.views[client][answer["room"]] = self.names_in(entry.room)
        if not request.after:
            return {}
        missed = [one for one in self.spoken[entry.room] if self.is_others(one, member)]
        past = self.hub.house.past
        floor = past.rooms[entry.room].floor if entry.room in past.rooms else past.floor
        return {client: self.missed(missed, request.after, floor, is_known=answer["recovered"])}

    def is_others(self, one: Spoken, member: Member) -> bool:
        """Whether a session hears it when it is said: another said it, of the same account or not."""
        if one.session == member.owner and member.account is not None:
            return one.device not in {0, member.number}
        return one.receiver == member.owner if one.room is None else one.session != member.owner

    def missed(
        self, spoken: list[Spoken], after: str, floor: int, *, is_known: bool, me: int | None = None
    ) -> list[bytes]:
        """Return what is replayed of this: all, or nothing if that is not known."""
        behind = sorted(one for one in spoken if ident(one.number) > after)
        direct = sum(one.room is None for one in behind)
        surely = len(behind) + 40 <= replay.MOST and direct + 40 <= replay.MOST_DIRECT
        surely = surely and sum(len(one.line) + 60 for one in behind) < replay.BYTES / 2
        if ident(floor) <= after < ident(self.hub.house.next) and surely and not self.is_tight:
            assert is_known, "what was missed is not replayed"
        lines = [
            one.as_shown_to_sender() if one.room is None and one.session == me else one.with_stamps()
            for one in behind
            if one.number not in self.forgotten
        ]
        assert not is_known or len(lines) <= replay.MOST
        return lines if is_known else []

    def spoke(self, entry: Said | Told, member: Member) -> dict[Client, list[bytes]]:
        if self.is_retry(member, entry):
            return {}
        assert entry.session == member.owner
        return self.said(entry, member) if isinstance(entry, Said) else self.told(entry, member)

    def said(self, entry: Said, member: Member) -> dict[Client, list[bytes]]:
        assert not entry.room or entry.room in member.rooms, "said in a room by somebody else"
        self.writes(member)
        for one in self.keep(entry, 0, "", entry.room):
            for other in self.members.values():
                if other.client is None or other is member or (entry.room and entry.room not in other.rooms):
                    continue
                if other.owner != member.owner or other.client.has_stamps:
                    self.decided[other.client].append(one.as_sent_to(other.client))
        return {}

    def told(self, entry: Told, member: Member) -> dict[Client, list[bytes]]:
        receiver = entry.receiver
        assert self.bearer(entry.to) == receiver, "to one who has the name no more"
        self.writes(member)
        spoken = self.keep(entry, receiver, entry.to, None)
        account = self.accounts.get(receiver)
        if self.kept() & {member.owner, receiver}:
            self.kept_numbers |= {one.number for one in spoken}
        if account is not None and not account.devices:
            account.waiting += spoken
        found: dict[Client, list[bytes]] = {}
        for other in self.members.values():
            client = other.client
            if client is None:
                continue
            if other.owner == receiver and (receiver != member.owner or other is member):
                found[client] = [one.as_sent_to(client) for one in spoken]
            elif other.owner == member.owner and other is not member and client.has_stamps:
                found[client] = [one.as_shown_to_sender() for one in spoken]
        return found

    def bearer(self, name: str) -> int:
        """Return whose name it is: somebody's who is here, or else an account's, or who had it last."""
        address = names.address(name)
        here = [one for one in self.members.values() if one.client and names.address(one.name) == address]
        account = self.owned(name)
        return here[0].owner if here else account.number if account else self.last_bearer(address)

    def last_bearer(self, address: str) -> int:
        return self.bearers.get(address, 0)

    def is_retry(self, member: Member, entry: Said | Told) -> bool:
        """Whether it has been said already."""
        is_retry = entry.ref is not None and entry.ref in member.refs
        is_new = entry.number > 0 and entry.number not in self.by_number
        assert is_new is not is_retry, "said twice, or never"
        if entry.ref is not None and not is_retry:
            member.refs[entry.ref] = entry.number
            if len(member.refs) > 256:
                del member.refs[next(iter(member.refs))]
        return is_retry

    def keep(self, entry: Said | Told, receiver: int, to: str, room: str | None) -> list[Spoken]:
        spoken = [
            Spoken(entry.number + place, entry.time, line, entry.session, receiver, to, room, entry.device)
            for place, line in enumerate(entry.frames.splitlines(keepends=True))
        ]
        assert len(spoken) == entry.count
        for one in spoken:
            assert one.number not in self.by_number, "a number twice"
            self.by_number[one.number] = one
        self.spoken[room] += spoken
        return spoken

    def forgot(self, entry: Forgot, asked: Asked | None, pushed: dict[Client, list[bytes]]) -> None:
        spoken = self.by_number[entry.number]
        assert entry.session == spoken.session, "taken back by somebody else"
        self.forgotten.add(entry.number)
        told = {
            client
            for client, lines in pushed.items()
            if any(line.startswith(b'{"code":"forgotten"') for line in lines)
        }
        hear = {
            member.client
            for member in self.members.values()
            if member.client
            and (
                spoken.room == ""
                or (spoken.room or "") in member.rooms
                or (spoken.room is None and member.owner in {spoken.session, spoken.receiver})
            )
        }
        me = {asked.client} if asked else set()
        assert told - me == {client for client in hear if client and client.has_stamps} - me

    def look_at(self, client: Client, lines: list[bytes]) -> None:
        """Check what is pushed that is no message."""
        for line in lines:
            assert b"secret " not in line or line.startswith((b'{"code":"welcome"', b'{"code":"registered"'))
            if not line.startswith(PUSHED):
                self.look_at_answer(client, json.loads(line))

    def look_at_answer(self, client: Client, reply: dict[str, Any]) -> None:
        match reply["code"]:
            case "welcome" if "session" in reply:
                assert client.session.secret == self.hub.hashed(reply["session"])
            case "error" if reply["error"] in PERHAPS_RETRIED and client.name is not None:
                sender = self.members[client.session.number]
                assert reply["error"] != "muted" or self.is_muted(sender), "muted no longer"
                refs = sender.refs
                ref = hashed(reply.get("ref", ""))
                assert ref not in refs, "a retry is refused, though it was delivered"
            case "sent":
                spoken = self.by_number[int(reply["id"], 16)]
                member = next((one for one in self.members.values() if one.client is client), None)
                assert member is None or member.refs.get(hashed(reply["ref"]), spoken.number) == spoken.number
                store = self.hub.house.store
                if isinstance(store, FakeStore) and (spoken.room is not None or (member and member.secret)):
                    assert store.has(spoken.number), "not stored, though sent"
            case "registered":
                assert client.is_leaving or client.session.account
                assert ("session" in reply) == ("resume" in client.features)
            case "presence":
                view = self.views[client][reply.get("room", "")]
                assert client.name not in {*reply.get("joined", ()), *reply.get("left", ())}
                view |= {*reply.get("joined", ())}
                view -= {*reply.get("left", ())}
            case "history":
                self.look_at_history(client, reply)

    def look_at_history(self, client: Client, reply: dict[str, Any]) -> None:
        """Check that it is the client's to see, as it was said, and without a gap."""
        me, query = client.session.owner, self.queries[reply["ref"]]
        numbers = [int(message["id"], 16) for message in reply["messages"]]
        room = None if "with" in query else names.address(query.get("room", ""))
        assert not room or room in self.members[client.session.number].rooms
        visible = self.visible(me, query, room)
        assert numbers == sorted(numbers)
        assert len(numbers) <= query.get("limit", 50)
        has_store = self.hub.house.store is not None
        for number, message in zip(numbers, reply["messages"], strict=True):
            spoken = visible[number]
            line = json.loads(spoken.line)
            assert (message["from"], message["content"]) == (line["from"], line["content"])
            assert message["time"] == spoken.time
            assert has_store or number not in self.forgotten, "taken back, and shown"
        there = [
            number for number in sorted(visible) if number not in self.forgotten and self.is_kept(number, room)
        ]
        if numbers:
            between = [number for number in there if numbers[0] <= number <= numbers[-1]]
            assert set(between) <= set(numbers), "a gap in the history"
        if reply["complete"]:
            end = self.hub.house.next
            if "after" in query:
                beyond = [number for number in there if number > (numbers[-1] if numbers else 0)]
            else:
                beyond = [number for number in there if number < (numbers[0] if numbers else end)]
            assert has_store or not beyond, "not all, though complete"

    def visible(self, me: int, query: dict[str, Any], room: str | None) -> dict[int, Spoken]:
        """Return all that fits a query, whether it is kept or not."""
        found = {}
        for one in self.spoken[room]:
            ends = (one.session, one.receiver)
            line = json.loads(one.line)
            if room is None:
                partner = query["with"]
                if me not in ends:
                    continue
                if partner != "*":
                    partner = names.address(partner)
                    if not (one.session == me and names.address(one.to) == partner) and not (
                        one.receiver == me and names.address(line["from"]) == partner
                    ):
                        continue
            if not query.get("after", "") < ident(one.number) < query.get("before", "g"):
                continue
            if query.get("find", "").encode().lower() in line["content"].encode().lower():
                found[one.number] = one
        return found

    def is_kept(self, number: int, room: str | None) -> bool:
        """Whether it must be in memory."""
        past = self.hub.house.past
        if room is None:
            one = self.by_number[number]
            was_kept = number > past.direct.floor and number in self.kept_numbers
            return was_kept and bool(self.kept() & {one.session, one.receiver})
        return number > (past.rooms[room].floor if room in past.rooms else past.floor)

    def kept(self) -> set[int]:
        """Return whose direct messages are kept."""
        return {member.owner for member in self.members.values() if member.is_kept} | {*self.accounts}

    # What must always hold

    def names_in(self, room: str) -> set[str]:
        return {
            member.name
            for member in self.members.values()
            if member.client and (not room or room in member.rooms)
        }

    def look(self) -> None:
        """Between turns: all that is here is as the entries say."""
        house = self.hub.house
        assert {*self.members} == {*house.sessions}
        assert {key: {*room.members} for key, room in house.rooms.items()} == self.rooms()
        for client, views in self.views.items():
            if client.name is None:
                continue
            for name, view in views.items():
                key = names.address(name)
                room = house.rooms.get(key) if key else house.lobby
                if room is not None and room not in house.presence._changes and client in room.watchers:
                    assert view == self.names_in(key), "a view that is wrong"
        assert {*self.accounts} == {*house.accounts}
        for account in self.accounts.values():
            its = house.accounts[account.number]
            assert [member.number for member in account.devices] == [one.number for one in its.devices]
            assert len(account.devices) <= self.most_devices
            assert its.waiting == (0 if account.devices else len(account.waiting))
        now = self.timing.time()
        for member in self.members.values():
            if member.account is None:
                assert member.dropped_at is None or now - member.dropped_at <= PATIENCE + 1, "for too long"

    def rooms(self) -> dict[str, set[int]]:
        rooms: dict[str, set[int]] = defaultdict(set)
        for member in self.members.values():
            for key in member.rooms:
                rooms[key].add(member.owner)
        return rooms

    def look_closely(self) -> None:
        """The past has all that is behind its floors, and no more than it may; the store has what was said."""
        if isinstance(store := self.hub.house.store, FakeStore):
            stored: list[Said | Told] = [*store.past.direct, *chain(*store.past.rooms.values())]
            for one in stored:
                for number, said in one.lines():
                    assert self.by_number[number].line == said, "stored, but not said"
        kept = self.hub.house.past
        assert kept.size == sum(line.size + past.LINE * bool(key) for key, line in kept.rooms.items())
        assert kept.size <= past.ROOMS + 300_000, kept.size
        assert kept.direct.size <= past.DIRECT_BYTES
        lines: list[tuple[str | None, past.Line[Any]]] = [*kept.rooms.items(), (None, kept.direct)]
        for room, line in lines:
            most = past.DIRECT if room is None else past.ROOM
            assert line.total == sum(post.count for post in line)
            assert line.size == sum(past.POST + len(post.frames) for post in line)
            assert not line or line.total - line[0].count < most
            if self.hub.delivery._posted:
                continue
            numbers = [number for post in line for number, _ in post.lines()]
            spoken = [one.number for one in self.spoken[room] if one.number > line.floor]
            there = {*numbers}
            missing = {number for number in spoken if self.is_kept(number, room)} - there - self.forgotten
            assert not missing, "not in memory"
            assert numbers == [number for number in spoken if number in there]
            assert not self.forgotten & {*numbers}, "taken back, and still there"
