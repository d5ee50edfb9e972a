"""How a client goes on over a new connection: it joins its rooms, and reads back what it missed."""

import math
from collections.abc import Callable
from typing import Any

from chatroom.client.calls import Call
from chatroom.client.errors import Refused
from chatroom.client.gaps import Fill, Place
from chatroom.client.inbox import Message
from chatroom.client.session import Session
from chatroom.protocol.messages import ErrorReply, Hello, History, HistoryReply, Join, Joined, Sent, Welcome

PAGE_WITHIN = 30.0
"""Seconds for which a page of the past is waited for."""


class Resume:
    """What is still to be done after a welcome. Places are read back one after the other, and page by page.

    Messages wait until all rooms are joined, and what is read back, until those that are sent again have been
    confirmed: so the client knows its own.
    """

    def __init__(
        self,
        session: Session,
        ask: Callable[[Join | History], Call[Any]],
        forget: Callable[[Call[Any]], None],
    ) -> None:
        self.is_over = False
        """Whether the connection is lost, or is being left."""
        self.rejoining = 0
        """Rooms that the server has not let it join yet."""
        self.news: list[Message] = []
        """What came of an answer, to be handed on at once."""
        self._session = session
        self._ask = ask
        self._forget = forget
        self._again: list[Call[Sent]] = []  # what is sent again, until it is confirmed
        self._filling: tuple[Place, Fill, Call[HistoryReply]] | None = None

    def begin(self, welcome: Welcome, hello: Hello, *, has_history: bool) -> list[Message]:
        """The client is welcome; return what has got lost."""
        session = self._session
        lost = session.welcome(welcome, hello, has_history=has_history)
        if session.resumes and has_history:
            if session.can_continue and session.lobby.last is None and session.lobby.held is None:
                self._look_up(session.lobby)
            for place in session.rooms.values():
                self._rejoin(place)
        return lost

    def again(self) -> list[Call[Sent]]:
        """Return the messages to be sent again, in order."""
        self._again, self._session.unsure = self._session.unsure, []
        return self._again.copy()

    def forget(self, call: Call[Any]) -> None:
        """Nobody waits for this any longer."""
        for calls in (self._again, self._session.unsure):
            if call in calls:
                calls.remove(call)

    def joined(self, reply: Joined, join: Join) -> None:
        """It has joined a room, again or for the first time."""
        place = self._session.joined(reply, join.room)
        if place is not None and self._session.can_continue:
            self._look_up(place)

    def go_on(self) -> list[Message]:
        """Begin to read back a place, if one is held and nothing stands before it; return what is news."""
        self._again = [call for call in self._again if not call.is_done]
        session = self._session
        while not (self.is_over or self._filling or self.rejoining or self._again) and (
            place := session.held()
        ):
            fill = place.fill(
                session.names,
                session.attributed,
                is_continued=session.is_continued,
                is_account=session.is_account,
            )
            self._next_page(place, fill, None)
        news, self.news = self.news, []
        return news

    @property
    def wait_until(self) -> float:
        """When a page will have been waited for too long."""
        left_at = None if self._filling is None else self._filling[2].left_at
        return math.inf if left_at is None else left_at + PAGE_WITHIN

    def give_up(self) -> list[Message]:
        """Read nothing back any longer; return what is held, behind the marks of gaps."""
        if self._filling is not None:
            self._forget(self._filling[2])
            self._filling = None
        return self._session.release()

    def _rejoin(self, place: Place) -> None:
        join = Join(room=place.room or "")
        if place.last:
            join.after = place.last
        call: Call[str] = self._ask(join)
        self.rejoining += 1

        def changed() -> None:
            if call.is_done:
                self.rejoining -= 1
                if isinstance(call.error, Refused):
                    self.news += self._session.left(join.room)
                    self.news.append(ErrorReply(error="not_in_room", message=f"{join.room}: {call.error}"))

        call.on_change = changed

    def _look_up(self, place: Place) -> None:
        """Ask which message was the last before the client came: what is behind it, it has had."""
        call: Call[HistoryReply] = self._ask(place.lines[0].page(limit=1))

        def changed() -> None:
            if call.is_done and call.error is None:
                place.knows(call.result())

        call.on_change = changed

    def _next_page(self, place: Place, fill: Fill, page: HistoryReply | None) -> None:
        """Ask for the next page, or hand on what was missed."""
        try:
            request = fill.send(page)
        except StopIteration as end:
            self.news += end.value
            if place.last is None:
                self._look_up(place)
            return
        call: Call[HistoryReply] = self._ask(request)
        self._filling = place, fill, call

        def changed() -> None:
            if call.is_done and not self.is_over and self._filling is not None:
                self._filling = None
                if place.held is not None:  # else the client has left the room
                    self._next_page(place, fill, None if call.error is not None else call.result())

        call.on_change = changed
