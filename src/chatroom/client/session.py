"""What of a client outlives its connection: its name, its rooms, and messages that were under way."""

import itertools
from typing import cast

from msgspec import UNSET

from chatroom.client.calls import Call
from chatroom.client.errors import OutcomeUnknown
from chatroom.client.gaps import Place, Stamped, is_direct
from chatroom.client.inbox import MAX_CHARACTERS, MAX_MESSAGES, Gap, Message, OwnMessage, Unconfirmed
from chatroom.protocol import names
from chatroom.protocol.messages import (
    Hello,
    Incoming,
    IncomingBroadcast,
    Joined,
    Outgoing,
    OutgoingBroadcast,
    Sent,
    Welcome,
)

FEATURES = ("notices", "ping", "stamps")
"""What a client asks for that wants more than the base protocol."""
ATTEMPTS = 5
"""Connections over which a message is sent that each of them breaks behind."""


class Session:
    """One client, over all its connections.

    Where the server goes on with the session, messages that were under way are sent again with the same `ref`,
    so that they are delivered once. Where it does not, and whenever more was missed than it sends by itself,
    places are held until what was missed has been read back.
    """

    def __init__(self, *, resumes: bool = False, presence: bool = False) -> None:
        """`resumes`: one connection may follow another. `presence`: ask who comes and goes."""
        self.resumes = resumes
        self.features = [*FEATURES, *["presence"] * presence]
        self.numbers = itertools.count(1)
        """Of requests; no two of a session have the same."""
        self.last_ref = ""
        """What tells the program's latest request from all others: its `ref`, if the server knows that."""
        self.lobby = Place(None)
        self.rooms: dict[str, Place] = {}
        """Those it is in, by name as the maker spelled it."""
        self.unsure: list[Call[Sent]] = []
        """Messages that were under way when the connection broke, in order; at most as many as may be."""
        self.is_continued = False
        """Whether the server knew the session when the client came back."""
        self.name = ""
        """What it was called by the last welcome."""
        self.names: set[str] = set()
        """What it has been called, under this session."""
        self.secret: str | None = None
        """What the server knows the session by, if it has promised to know it again."""
        self.is_account = False
        """Whether the name is an account's, as the server has said."""
        self.is_operator = False
        """Whether it was an operator when it was welcomed."""
        self.is_holding = False
        """Whether a place may be held."""

    @property
    def can_continue(self) -> bool:
        """Whether the server has promised to know the session again, over another connection of this client."""
        return self.resumes and self.secret is not None

    @property
    def is_known(self) -> bool:
        """Whether the server knows what was said to it alone while it was away."""
        return self.is_continued or self.is_account

    @property
    def places(self) -> list[Place]:
        """The lobby and the rooms."""
        return [self.lobby, *self.rooms.values()]

    def hello(self, name: str, password: str | None = None, session: str | None = None) -> Hello:
        """Return what to say, to come or to come back; with a session that another client has left, as that."""
        hello = Hello(name=name, features=self.features)
        if self.resumes or password is not None or session is not None:
            hello.features = [*self.features, "resume"]
        if password is not None:
            hello.password = password
        if session is not None:
            hello.session = session
        elif self.secret is not None:
            hello.session = self.secret
            if self.lobby.last:
                hello.after = self.lobby.last
        return hello

    def welcome(self, welcome: Welcome, hello: Hello, *, has_history: bool) -> list[Message]:
        """Begin, or go on; return what has got lost. `has_history`: the server has rooms and a history."""
        is_return = self.can_continue or bool(self.rooms)
        was_known = welcome.session is not None and welcome.session == hello.session
        is_ours = hello.session == self.secret  # and not one that another client has left
        self.is_account, self.is_operator = bool(welcome.account), bool(welcome.operator)
        self.is_continued = was_known and is_ours
        self.secret = welcome.session
        self.name = hello.name if welcome.name is None else welcome.name
        self.names = {*self.names, self.name} if self.is_continued else {self.name}
        if not (is_return and self.resumes):
            return []
        lost: list[Message] = []
        if not self.is_continued:
            lost += self.give_up("the connection was lost, and the server does not know the session any longer")
        if not self.is_known:
            self.lobby.forget_direct()
        self.is_holding = True
        for place in self.places:
            place.begin(is_held=has_history and not (place is self.lobby and welcome.recovered is True))
        if not has_history:
            lost += [Gap(place.room) for place in self.places]
            self.rooms.clear()
        return lost

    # Rooms

    def spelled(self, room: str) -> str:
        """Return the name of a room that it is in as its maker spelled it; of another, as it is."""
        if room in self.rooms:
            return room
        return next((name for name in self.rooms if _are_same(name, room)), room)

    def joined(self, reply: Joined, asked: str) -> Place | None:
        """It is in a room; return the place if it is new. A room that was made anew may be spelled anew."""
        place = self.rooms.pop(self.spelled(asked), None)
        is_new = place is None
        place = place or Place(reply.room)
        self.rooms[reply.room] = place
        place.rename(reply.room)
        if reply.recovered is True:
            place.held = None
        return place if is_new else None

    def left(self, room: str) -> list[Message]:
        """It is in a room no more; return what was held of it."""
        place = self.rooms.pop(self.spelled(room), None)
        return [] if place is None or place.held is None else place.release([], is_whole=False)

    # Messages

    def take(self, message: Incoming | IncomingBroadcast) -> list[Message]:
        """Return a message that has come, unless it is held; then nothing."""
        said = self.attributed(message)
        if not self.resumes or said.id is None:
            return [said]
        place: Place | None = self.lobby
        if not isinstance(said, Incoming) and said.room is not None:
            place = self.rooms.get(said.room)
        if place is None:
            return [said]
        if place.held is None:
            place.had(said.id, is_direct=is_direct(said))
            return [said]
        place.hold(said)
        return []

    def attributed(self, message: Incoming | IncomingBroadcast) -> Stamped:
        """Return the message; if another connection of this account has sent it, as one's own.

        A direct message that does not say to whom it is has been sent to this client.
        """
        to, room = (message.to, None) if isinstance(message, Incoming) else (None, message.room)
        is_own = self.is_account and message.from_ == self.name
        if not is_own or message.id is None or (isinstance(message, Incoming) and to is None):
            return message
        return OwnMessage(message.from_, message.content, to, room, message.id, message.time)

    @property
    def holds_too_much(self) -> bool:
        """Whether more is held than an inbox may have."""
        places = self.places
        return (
            sum(place.held_messages for place in places) >= MAX_MESSAGES
            or sum(place.held_characters for place in places) >= MAX_CHARACTERS
        )

    def held(self) -> Place | None:
        """Return a place that is held, if there is one."""
        place = None
        if self.is_holding:
            place = next((place for place in self.places if place.held is not None), None)
            self.is_holding = place is not None
        return place

    def release(self) -> list[Message]:
        """Return all that is held, each place's behind the mark of a gap."""
        released: list[Message] = []
        while (place := self.held()) is not None:
            released += place.release([], is_whole=False)
        return released

    def sent(self, call: Call[Sent], ident: str) -> None:
        """A message of its own has this id."""
        if not self.resumes:
            return
        request, place = call.request, None
        if isinstance(request, Outgoing):
            place = None if request.to in self.names else self.lobby  # what it says to itself comes back
        elif isinstance(request, OutgoingBroadcast):
            place = self.lobby if request.room is UNSET else self.rooms.get(self.spelled(request.room))
        if place is not None:
            place.said(ident, is_direct=isinstance(request, Outgoing))

    def forgotten(self, ident: str) -> None:
        """A message was taken back."""
        for place in self.places:
            place.forgotten(ident)

    # The end of a connection

    def keep(self, calls: list[Call[Sent]], reason: str) -> list[Message]:
        """Keep messages of which it is not known whether they arrived; return those that are given up."""
        for call in calls:
            call.losses += call.left_at is not None
            call.left_at = None
            call.is_unsure = True
        lost = [call for call in calls if not self.can_continue or call.losses >= ATTEMPTS]
        self.unsure += [call for call in calls if call not in lost]
        return _given_up(lost, reason)

    def give_up(self, reason: str) -> list[Message]:
        """Give up what was under way; return what is then to be told."""
        calls, self.unsure = self.unsure, []
        return _given_up(calls, reason)

    def end(self, reason: str) -> list[Message]:
        """Give up: there will be no other connection."""
        return self.give_up(reason) + self.release()


def _given_up(calls: list[Call[Sent]], reason: str) -> list[Message]:
    for call in calls:
        call.fail(OutcomeUnknown(reason))
    return [unconfirmed(call) for call in calls if not call.is_confirmed]


def unconfirmed(call: Call[Sent]) -> Unconfirmed:
    """Return what tells that the outcome of this message is not known."""
    message = cast("Outgoing | OutgoingBroadcast", call.request)
    return Unconfirmed(message.to if isinstance(message, Outgoing) else None, message.content, str(call.number))


def _are_same(first: str, second: str) -> bool:
    try:
        return names.address(first) == names.address(second)
    except names.BadName:
        return False
