"""What is stored, and what is answered when it is: `sent`, or that it could not be."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from chatroom.hub.delivery import Delivery
from chatroom.hub.entries import Said, Told
from chatroom.hub.ports import Store
from chatroom.hub.refusal import Refusal
from chatroom.hub.session import Receipt, Session
from chatroom.protocol.messages import ErrorCode, Forgotten, Reply, Request, Sent, ident

if TYPE_CHECKING:
    from chatroom.hub.client import Client
    from chatroom.hub.house import Asked


class Keeper:
    """Hands messages to the store, and answers those with a `ref` in the order in which they were stored.

    Without a store, what is in memory is kept as well as can be: the answer comes at once.
    """

    def __init__(
        self, store: Store | None, delivery: Delivery, refuse: "Callable[[Client, Refusal, Request], None]"
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._refuse = refuse

    def keep(self, session: Session, post: Said | Told, asked: "Asked | None") -> None:
        """Store a message, or a burst of them."""
        if post.ref is None:
            if self._store is not None:
                self._store.keep(post, None, session.number)
        elif self._store is None:
            self.confirm(session, post, asked)
        else:
            receipt = self._receipt(session, post)
            self._begin(session, receipt, post, asked)

    def confirm(self, session: Session, post: Said | Told, asked: "Asked | None") -> None:
        """Say that a message was sent which nobody stores."""
        receipt = self._receipt(session, post)
        receipt.is_stored = True
        if asked is not None:
            self._say_sent(asked, receipt)

    def again(self, session: Session, entry: Said | Told, asked: "Asked | None") -> None:
        """Answer a retry. What was delivered but not stored is stored now, whatever the retry says."""
        if asked is None or entry.ref is None:
            return
        receipt = session.refs[entry.ref]
        if receipt.is_stored:
            self._say_sent(asked, receipt)
        elif receipt.is_stored is None:
            self._wait(receipt, asked)
        elif (post := self._delivered(session, receipt)) is None:
            text = "it was delivered, but is not in memory any more and cannot be stored"
            self._refuse(asked.client, Refusal(ErrorCode.NOT_ALLOWED, text), asked.request)
        else:
            receipt.is_stored = None
            self._begin(session, receipt, post, asked)

    def forget(self, number: int, asked: "Asked | None") -> None:
        """Have a message forgotten by the store, too."""
        if self._store is None:
            self._say_forgotten(number, asked, is_done=True)
        else:
            if asked is not None:
                asked.client.under_way += 1
            self._store.forget(number, lambda is_done: self._forgot(number, asked, is_done=is_done))

    def when_stored(self, asked: "Asked | None", reply: Reply) -> Callable[[bool], None] | None:
        """Return what is to be told whether something is stored: then this is the answer to who asked."""
        if asked is None:
            return None
        asked.client.under_way += 1
        return partial(self._answer, asked, reply)

    def _answer(self, asked: "Asked", reply: Reply, is_done: bool) -> None:  # noqa: FBT001 - called by the store
        if is_done:
            self._delivery.reply(asked.client, reply, asked.request)
        else:
            text = "it is so, but could not be stored: it may be forgotten when the server stops"
            self._refuse(asked.client, Refusal(ErrorCode.NOT_STORED, text), asked.request)
        self._done(asked)

    def _receipt(self, session: Session, post: Said | Told) -> Receipt:
        receipt = Receipt(post.number, post.time, post.room if isinstance(post, Said) else None)
        if post.ref is not None:
            session.remember(post.ref, receipt)
        return receipt

    def _delivered(self, session: Session, receipt: Receipt) -> Said | Told | None:
        """Return what was delivered, if it is in memory; without its text if that was taken back."""
        self._delivery.remember(session.posted)
        return self._delivery.past.find(receipt.number, receipt.room)

    def _begin(self, session: Session, receipt: Receipt, post: Said | Told, asked: "Asked | None") -> None:
        assert self._store is not None  # noqa: S101 - for the type checker
        if asked is not None:
            self._wait(receipt, asked)
        self._store.keep(post, partial(self._stored, receipt), session.number)

    def _wait(self, receipt: Receipt, asked: "Asked") -> None:
        receipt.asked += (asked,)
        asked.client.under_way += 1

    def _stored(self, receipt: Receipt, is_stored: bool) -> None:  # noqa: FBT001 - called by the store
        receipt.is_stored = is_stored
        waiting, receipt.asked = receipt.asked, ()
        for asked in waiting:
            if is_stored:
                self._say_sent(asked, receipt)
            else:
                self._say_not_stored(asked)
            self._done(asked)

    def _forgot(self, number: int, asked: "Asked | None", *, is_done: bool) -> None:
        self._say_forgotten(number, asked, is_done=is_done)
        if asked is not None:
            self._done(asked)

    def _done(self, asked: "Asked") -> None:
        """Something that the client waited for has been answered; if it is leaving, it may go now."""
        client = asked.client
        client.under_way -= 1
        if client.is_leaving and not client.under_way:
            self._delivery.end(client)

    def _say_sent(self, asked: "Asked", receipt: Receipt) -> None:
        self._delivery.reply(asked.client, Sent(id=ident(receipt.number), time=receipt.time), asked.request)

    def _say_not_stored(self, asked: "Asked") -> None:
        text = "delivered, but it could not be stored: send it again with the same ref"
        self._refuse(asked.client, Refusal(ErrorCode.NOT_STORED, text), asked.request)

    def _say_forgotten(self, number: int, asked: "Asked | None", *, is_done: bool) -> None:
        if asked is None:
            return
        if is_done:
            self._delivery.reply(asked.client, Forgotten(id=ident(number)), asked.request)
        else:
            text = "it could not be taken out of the file: try again"
            self._refuse(asked.client, Refusal(ErrorCode.NOT_STORED, text), asked.request)
