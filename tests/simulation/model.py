"""What the hub must tell each client, from its entries alone, in plain lists and dicts."""

import json
import math
from collections import defaultdict
from itertools import chain
from typing import Any, NamedTuple

from chatroom.hub import past, replay
from chatroom.hub.client import Client
from chatroom.hub.entries import (
    Banned,
    Came,
    Dropped,
    Entry,
    Forgot,
    Joined,
    Kicked,
    Left,
    Muted,
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
    receiver: int
    to: str
    room: str | None

    def with_stamps(self) -> bytes:
        return stamped(self.line, self.number, self.time)

    def as_sent_to(self, client: Client) -> bytes:
        return self.with_stamps() if client.has_stamps else self.line


class Member:
    """One session."""

    def __init__(self, number: int, secret: bytes | None) -> None:
        self.number = number
        self.secret = secret
        self.name = ""
        self.client: Client | None = None
        self.dropped_at: float | None = None
        self.rooms: set[str] = set()
        self.refs: dict[bytes, int] = {}
        self.muted_until = -math.inf


class Model:
    """Is told of each entry when it has been done, and checks what was pushed meanwhile."""

    def __init__(self, hub: Hub, timing: Timing, *, is_tight: bool) -> None:
        """`is_tight`: bounds are so small that nobody surely gets what it missed."""
        self.hub = hub
        self.timing = timing
        self.is_tight = is_tight
        self.decided: dict[Client, list[bytes]] = defaultdict(list)
        self.members: dict[int, Member] = {}
        self.spoken: dict[str | None, list[Spoken]] = defaultdict(list)
        """By room; None: direct messages."""
        self.by_number: dict[int, Spoken] = {}
        self.forgotten: set[int] = set()
        self.views: dict[Client, dict[str, set[str]]] = {}
        """Who is where, as a client with the feature `presence` knows."""
        self.began_at: dict[tuple[Client, str], int] = {}
        """The last number given out when a client was let into a room: what is not behind it is old."""
        self.bearers: dict[str, int] = {}
        """Who had a name last, by folded name."""
        self.bans: dict[str, tuple[Banned, float]] = {}
        """By name as it was banned, with the time until which it is."""
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
        try:
            self._append(entry, asked)
            pushed = self._pushed
        finally:
            self._pushed = None
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
                member = self.members[entry.session]
                assert member.secret is not None
                member.client, member.dropped_at = None, self.timing.time()
                member.rooms.clear()
            case Went():
                member = self.members.pop(entry.session)
                if member.dropped_at is not None:
                    assert self.timing.time() - member.dropped_at >= PATIENCE - 1e-6 or self.is_tight, (
                        "too early"
                    )
            case Joined():
                return self.joined(entry, asked, pushed)
            case Left():
                self.members[entry.session].rooms.remove(entry.room)
            case Said():
                self.said(entry)
            case Told():
                return self.told(entry)
            case Forgot():
                self.forgot(entry, asked, pushed)
            case _:
                self.judged(entry)
        return {}

    def judged(self, entry: Entry) -> None:
        match entry:
            case Kicked():
                del self.members[entry.target]
            case Muted() | Unmuted():
                until = self.until(entry.minutes) if isinstance(entry, Muted) else -math.inf
                self.members[entry.target].muted_until = until
            case Banned():
                self.bans[entry.name] = entry, self.until(entry.minutes)
                key = entry.keys[names.ADDRESS]
                for member in list(self.members.values()):
                    if names.address(member.name) == key and self.bearers[key] == member.number:
                        del self.members[member.number]
            case Unbanned():
                key = entry.keys[names.ADDRESS]
                alike = [one for one, (ban, _) in self.bans.items() if ban.keys[names.ADDRESS] == key]
                for one in [entry.name] if entry.name in self.bans else alike:
                    del self.bans[one]

    def until(self, minutes: int) -> float:
        return self.hub.house.time + minutes * 60 if minutes else math.inf

    def is_muted(self, member: Member) -> bool:
        return member.muted_until > self.hub.house.time

    def writes(self, member: Member) -> None:
        """A member does what nobody may who is muted; a mute that has ended does not begin again."""
        assert not self.is_muted(member), "by one who is muted"
        member.muted_until = -math.inf

    def is_banned(self, entry: Came | Returned) -> bool:
        """Whether it must not be let in: by its name or, if it is new, by where it comes from."""
        for ban, until in self.bans.values():
            alike = any(one == other for one, other in zip(ban.keys, entry.keys, strict=True))
            from_there = isinstance(entry, Came) and entry.origin in ban.origins
            if until > self.hub.house.time and (alike or from_there):
                return True
        return False

    def let_in(
        self, entry: Came | Returned, asked: Asked | None, pushed: dict[Client, list[bytes]]
    ) -> dict[Client, list[bytes]]:
        assert asked is not None
        client, request = asked.client, asked.request
        assert isinstance(request, Hello)
        is_old = isinstance(entry, Returned) and entry.keys == names.keys(self.members[entry.session].name)
        assert is_old or not self.is_banned(entry), "let in, though banned"
        wants = "resume" in client.features
        hashed = self.hub.hashed(request.session or "")
        known = next((one for one in self.members.values() if one.secret == hashed), None)
        if isinstance(entry, Came):
            assert not (wants and hashed and known), "somebody who came back is taken for a newcomer"
            member = Member(client.session.number, entry.secret)
            assert member.number not in self.members
            assert (member.secret is not None) == wants
            self.members[member.number] = member
        else:
            member = self.members[entry.session]
            assert wants
            assert known is member, "somebody has the session of another"
        member.name, member.client, member.dropped_at = entry.name, client, None
        self.bearers[names.address(entry.name)] = member.number
        member.rooms.clear()
        welcome = json.loads(pushed[client][0])
        assert welcome["code"] == "welcome"
        assert ("session" in welcome) == wants
        assert ("recovered" in welcome) == ("rooms" in welcome) == (wants and bool(request.session))
        self.began_at[client, ""] = self.hub.house.next - 1
        if "presence" in client.features:
            self.views[client] = {"": self.names_in("")}
        if isinstance(entry, Returned) and request.after:
            missed = [
                one
                for one in (*self.spoken[""], *self.spoken[None])
                if one.receiver == member.number or (one.room == "" and one.session != member.number)
            ]
            floor = max(self.hub.house.past.rooms[""].floor, self.hub.house.past.direct.floor)
            return {client: self.missed(missed, request.after, floor, is_known=welcome["recovered"])}
        assert not welcome.get("recovered")
        return {}

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
        self.began_at[client, answer["room"]] = self.hub.house.next - 1
        if client in self.views:
            self.views[client][answer["room"]] = self.names_in(entry.room)
        if not request.after:
            return {}
        missed = [one for one in self.spoken[entry.room] if one.session != member.number]
        past = self.hub.house.past
        floor = past.rooms[entry.room].floor if entry.room in past.rooms else past.floor
        return {client: self.missed(missed, request.after, floor, is_known=answer["recovered"])}

    def missed(self, spoken: list[Spoken], after: str, floor: int, *, is_known: bool) -> list[bytes]:
        """Return what is replayed of this: all, or nothing if that is not known."""
        behind = sorted(one for one in spoken if ident(one.number) > after)
        direct = sum(one.room is None for one in behind)
        surely = len(behind) + 40 <= replay.MOST and direct + 40 <= replay.MOST_DIRECT
        surely = surely and sum(len(one.line) + 60 for one in behind) < replay.BYTES / 2
        if ident(floor) <= after < ident(self.hub.house.next) and surely and not self.is_tight:
            assert is_known, "what was missed is not replayed"
        lines = [one.with_stamps() for one in behind if one.number not in self.forgotten]
        assert not is_known or len(lines) <= replay.MOST
        return lines if is_known else []

    def said(self, entry: Said) -> None:
        member = self.members[entry.session]
        if self.is_retry(member, entry):
            return
        assert not entry.room or entry.room in member.rooms, "said in a room by somebody else"
        self.writes(member)
        for one in self.keep(entry, 0, "", entry.room):
            for other in self.members.values():
                if other.client and other is not member and (not entry.room or entry.room in other.rooms):
                    self.decided[other.client].append(one.as_sent_to(other.client))

    def told(self, entry: Told) -> dict[Client, list[bytes]]:
        member = self.members[entry.session]
        if self.is_retry(member, entry):
            return {}
        self.writes(member)
        receiver = self.members[entry.receiver]
        assert self.bearers[names.address(entry.to)] == receiver.number, "to one who has the name no more"
        spoken = self.keep(entry, receiver.number, entry.to, None)
        if receiver.client is None:
            return {}
        return {receiver.client: [one.as_sent_to(receiver.client) for one in spoken]}

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
            Spoken(entry.number + place, entry.time, line, entry.session, receiver, to, room)
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
                or (spoken.room is None and member.number in {spoken.session, spoken.receiver})
            )
        }
        me = {asked.client} if asked else set()
        assert told - me == {client for client in hear if client and client.has_stamps} - me

    def look_at(self, client: Client, lines: list[bytes]) -> None:
        """Check what is pushed that is no message."""
        for line in lines:
            assert b"secret " not in line or line.startswith(b'{"code":"welcome"')
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
                member = self.members.get(spoken.session)
                assert member is None or member.refs.get(hashed(reply["ref"]), spoken.number) == spoken.number
                store = self.hub.house.store
                if isinstance(store, FakeStore) and (spoken.room is not None or (member and member.secret)):
                    assert store.has(spoken.number), "not stored, though sent"
            case "presence":
                view = self.views[client][reply.get("room", "")]
                assert client.name not in {*reply.get("joined", ()), *reply.get("left", ())}
                view |= {*reply.get("joined", ())}
                view -= {*reply.get("left", ())}
            case "history":
                self.look_at_history(client, reply)

    def look_at_history(self, client: Client, reply: dict[str, Any]) -> None:
        """Check that it is the client's to see, as it was said, and without a gap."""
        me, query = client.session.number, self.queries[reply["ref"]]
        numbers = [int(message["id"], 16) for message in reply["messages"]]
        room = None if "with" in query else names.address(query.get("room", ""))
        assert not room or room in self.members[me].rooms
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
            ends = [self.members.get(end) for end in (one.session, one.receiver)]
            return number > past.direct.floor and any(end is not None and end.secret for end in ends)
        return number > (past.rooms[room].floor if room in past.rooms else past.floor)

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
        now = self.timing.time()
        for member in self.members.values():
            assert member.dropped_at is None or now - member.dropped_at <= PATIENCE + 1, "for too long"

    def rooms(self) -> dict[str, set[int]]:
        rooms: dict[str, set[int]] = defaultdict(set)
        for member in self.members.values():
            for key in member.rooms:
                rooms[key].add(member.number)
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
