"""Reading the past, and taking back what one wrote: requests that may take time. Their client waits."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from chatroom.hub.client import Client
from chatroom.hub.entries import Forgot, Told
from chatroom.hub.house import Asked
from chatroom.hub.naming import room_of
from chatroom.hub.reading import MOST_DIRECT, PAGE, Page, Query, Stored, floor, in_memory
from chatroom.hub.refusal import Refusal
from chatroom.hub.replay import parsed
from chatroom.protocol import names
from chatroom.protocol.messages import MAX_PAGE, ErrorCode, Forget, History, HistoryReply, ident

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub


def read(hub: "Hub", client: Client, request: History) -> None:
    """Answer with what was said, from memory if that has it all."""
    query = _query(hub, client, request)
    _go_on(hub, client, request, query, Page(query))


def _go_on(hub: "Hub", client: Client, request: History, query: Query, page: Page) -> None:
    """Let the page take what memory has, before or after what only the store has, and answer."""
    hub.delivery.remember()
    past, store = hub.house.past, hub.house.store
    end = floor(past, query)
    if store is not None and query.after is not None and query.after < end:
        newer = query._replace(after=end)
        _fill(
            hub, client, page, query._replace(before=end + 1), lambda: _go_on(hub, client, request, newer, page)
        )
    elif not page.take(in_memory(past, query)) or query.is_forward or store is None:
        _answer(hub, client, request, page)
    else:
        before = end + 1 if query.before is None else min(end + 1, query.before)
        older = query._replace(before=before)
        _fill(hub, client, page, older, lambda: _answer(hub, client, request, page))


def take_back(hub: "Hub", client: Client, request: Forget) -> None:
    """Take back a message of the client's own session; nobody learns of what others wrote."""
    hub.delivery.remember()
    number = parsed(request.id)
    post = None if number is None else hub.house.past.find(number)
    if post is not None and number is not None:
        if isinstance(post, Told):
            stored = Stored(number, post.time, b"", post.to, post.session, None, post.receiver)
        else:
            stored = Stored(number, post.time, b"", None, post.session, post.room)
        _forget(hub, client, request, stored)
        return
    store = hub.house.store
    if number is None or store is None:
        _forget(hub, client, request, None)
        return
    found: list[Stored | None] = []

    def begin(done: Callable[[], None]) -> None:
        def then(stored: Stored | None) -> None:
            found.append(stored)
            done()

        store.find(number, then)

    wait(hub, client, begin, lambda: _forget(hub, client, request, found[0]))


def wait(
    hub: "Hub", client: Client, begin: Callable[[Callable[[], None]], None], end: Callable[[], None]
) -> None:
    """Begin something that takes time; meanwhile nothing more of this client is done, and then the end.

    It may be gone by then.
    """
    client.is_held = True
    hub.delivery.stop(client)

    def done() -> None:
        client.is_held = False
        if not client.is_leaving:
            end()
            if not client.is_held:
                client.sink.go_on()

    begin(done)


def _fill(hub: "Hub", client: Client, page: Page, query: Query, then: Callable[[], None]) -> None:
    """Let the page take what is stored."""
    store = hub.house.store
    if store is not None:
        fill = store.fill
        wait(hub, client, lambda done: fill(page, query, done), then)


def _answer(hub: "Hub", client: Client, request: History, page: Page) -> None:
    reply = HistoryReply(messages=page.oldest_first(), complete=page.complete)
    if page.go_on is not None:
        reply.before = ident(page.go_on)
    hub.reply(client, reply, request)


def _forget(hub: "Hub", client: Client, request: Forget, stored: Stored | None) -> None:
    if stored is None or stored.session != client.session.number:
        refusal = Refusal(ErrorCode.NOT_ALLOWED, "you wrote no message with this id")
        hub.refuse(client, refusal, request)
        return
    entry = Forgot(stored.session, stored.number, stored.room, stored.receiver)
    hub.append(entry, Asked(client, request))


def _query(hub: "Hub", client: Client, request: History) -> Query:
    """Return what is wanted. Raises a `Refusal`."""
    if request.room is not UNSET and request.with_ is not UNSET:
        raise Refusal(ErrorCode.BAD_REQUEST, "`room` and `with` exclude each other")
    if request.before is not UNSET and request.after is not UNSET:
        raise Refusal(ErrorCode.BAD_REQUEST, "`before` and `after` exclude each other")
    if request.find is not UNSET and request.after is not UNSET:
        raise Refusal(
            ErrorCode.BAD_REQUEST, "`find` looks from new to old: `before` goes with it, `after` does not"
        )
    room: str | None = ""
    partner, limit = None, PAGE if request.limit is UNSET else request.limit
    if request.with_ is not UNSET:
        room, limit = None, min(limit, MOST_DIRECT)
        if request.with_ != "*":
            hub.may_fold(client, request.with_)
            try:
                partner = names.address(request.with_)
            except names.BadName as error:
                raise Refusal(ErrorCode.BAD_NAME, str(error)) from None
    elif request.room is not UNSET:
        room = room_of(hub, client, request.room).key
    find = None if request.find is UNSET else request.find.encode().lower()
    before, after = _number(request.before), _number(request.after)
    return Query(room, client.session.number, partner, before, after, min(limit, MAX_PAGE), find)


def _number(ident: str | UnsetType) -> int | None:
    """Return the number of this id. Raises a `Refusal` if we gave none such."""
    if ident is UNSET:
        return None
    number = parsed(ident)
    if number is None:
        raise Refusal(ErrorCode.BAD_REQUEST, "no message has such an id")
    return number
