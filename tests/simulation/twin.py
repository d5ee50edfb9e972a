"""A second house that does the same entries: what does not follow from them alone shows as a difference."""

import random

from chatroom.hub.client import Client
from chatroom.hub.deeds import DEEDS
from chatroom.hub.delivery import Delivery
from chatroom.hub.entries import AnyEntry, Entry, Turned, decode, encode
from chatroom.hub.house import Asked, House
from chatroom.hub.hub import Hub
from chatroom.hub.past import Past
from chatroom.hub.refusal import Refusal
from chatroom.protocol.messages import Request
from fakes import FakeLoop, FakeObserver


class Twin:
    """The house of a machine with nobody connected, which is told nothing but the bytes of another's entries.

    Its turns end when they will: what it has must not depend on that.
    """

    def __init__(self, hub: Hub, chance: random.Random) -> None:
        """Follow this hub from now on; it must be new."""
        self.first = hub.house
        self.loop = FakeLoop()
        self._chance = chance
        delivery = Delivery(self.loop, Past(self.first.past.floor), later={}, nothing={})
        self.house = House(
            delivery, FakeObserver(), self.loop, None, welcome={}, limits={}, refuse=_answer_nobody, keeps=True
        )
        self._append, self._turned = hub.append, self.first.turned
        hub.append, self.first.turned = self.append, self.turned  # type: ignore[method-assign]

    def append(self, entry: Entry, asked: Asked | None) -> None:
        """Do an entry in both houses, or in neither."""
        data, error = encode(entry), None  # type: ignore[arg-type]
        try:
            self._append(entry, asked)
        except Refusal as refusal:
            error = refusal.error
            raise
        finally:
            assert self.do(data) == error, "only one of the houses refuses"
            self.compare()

    def turned(self, time: float, least: int) -> None:
        """Let it be that time in both."""
        self._turned(time, least)
        self.do(encode(Turned(time, least)))

    def do(self, data: bytes) -> object:
        """Do an entry here, as it travelled; return why not, if so."""
        entry: AnyEntry = decode(data)
        assert encode(entry) == data
        try:
            DEEDS[type(entry)](self.house, entry, None)
        except Refusal as refusal:
            return refusal.error
        finally:
            if self._chance.random() < 0.2:
                self.loop.turn()
        return None

    def compare(self) -> None:
        """Both are the same."""
        for place, (ours, theirs) in enumerate(zip(self.house.state(), self.first.state(), strict=True)):
            assert ours == theirs, f"part {place} of the state"


def _answer_nobody(client: Client, refusal: Refusal, request: Request) -> None:
    raise AssertionError("nobody is connected here")
