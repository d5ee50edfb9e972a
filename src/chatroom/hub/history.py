"""Reading the past, and taking back what one wrote: requests that may take time. Their client waits."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from chatroom.hub.client import Client
from chatroom.hub.effort import SEARCH
from chatroom.hub.entries import Forgot, Told
from chatroom.hub.house import Asked
from chatroom.hub.naming import room_of
from chatroom.hub.reading import MOST_DIRECT, PAGE, Page, Query, Stored, floor, in_memory
from chatroom.hub.refusal import Refusal
from chatroom.hub.replay import parsed
from chatroom.hub.room import Room
from chatroom.protocol import names
from chatroom.protocol.messages import MAX_PAGE, ErrorCode, Forget, History, HistoryReply, ident

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub

_UNREADABLE = "the history cannot be read now: try again later"


def read(hub: "Hub", client: Client, request: History) -> None:
    """Answer with what was said, from memory if that has it all."""
    query = _query(hub, client, request)
    if (room := _heard(hub, query)) is not None:
        hub.may_flush(client, room)
    if query.is_search:
        hub.may_take(client, SEARCH)
    _go_on(hub, client, request, query, Page(query))


def _go_on(hub: "Hub", client: Client, request: History, query: Query, page: Page) -> None:
    """Let the page take what memory has, before or after what only the store has, and answer."""
    if (room := _heard(hub, query)) is not None:
        hub.delivery.remember(room)
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
    """Take back a message of the client's own, or an operator anybody's; to others it is as if it were not."""
    session, past, store = client.session, hub.house.past, hub.house.store
    hub.may_flush(client, session.posted)
    hub.delivery.remember(session.posted)
    number = parsed(request.id)
    if number is None:
        _forget(hub, client, request, None)
        return
    rooms: Iterable[str | None] = (None, "", *session.spoken)  # where else, the store knows
    if session.is_operator:
        hub.may_take(client, SEARCH)
        rooms = (None, *past.rooms)
    post = next((post for room in rooms if (post := past.find(number, room))), None)
    if isinstance(post, Told):
        stored = Stored(number, post.time, b"", post.to, post.session, None, post.receiver)
        _forget(hub, client, request, stored)
    elif post is not None:
        _forget(hub, client, request, Stored(number, post.time, b"", None, post.session, post.room))
    elif store is None:
        _forget(hub, client, request, None)
    else:
        wait(hub, client, partial(store.find, number), partial(_forget, hub, client, request))


def wait(
    hub: "Hub", client: Client, begin: Callable[[Callable[..., None]], None], end: Callable[..., None]
) -> None:
    """Begin something that takes time; meanwhile nothing more of this client is done, and then the end.

    The end is given what came of it. The client may be gone by then.
    """
    client.is_held = True
    client.sink.wait()
    hub.delivery.stop(client)

    def done(*outcome: object) -> None:
        client.is_held = False
        if not client.is_leaving:
            end(*outcome)
            if not client.is_held:
                client.sink.go_on()

    begin(done)


def _fill(hub: "Hub", client: Client, page: Page, query: Query, then: Callable[[], None]) -> None:
    """Let the page take what is stored."""
    store = hub.house.store
    if store is not None:
        wait(hub, client, partial(store.fill, page, query), then)


def _heard(hub: "Hub", query: Query) -> Room | None:
    """Return the room that is asked for: something in it may still have to be handed out."""
    if query.room is None:
        return None
    return hub.house.rooms.get(query.room) if query.room else hub.house.lobby


def _answer(hub: "Hub", client: Client, request: History, page: Page) -> None:
    """Answer with what was found; not with an empty page if what is stored could not be read."""
    if page.has_failed and not page.messages:
        hub.refuse(client, Refusal(ErrorCode.UNAVAILABLE, _UNREADABLE), request)
        return
    reply = HistoryReply(messages=page.oldest_first(), complete=page.complete)
    if page.go_on is not None:
        reply.before = ident(page.go_on)
    hub.reply(client, reply, request)


def _forget(
    hub: "Hub",
    client: Client,
    request: Forget,
    stored: Stored | None,
    has_failed: bool = False,  # noqa: FBT001, FBT002 - called by the store
) -> None:
    if has_failed:
        hub.refuse(client, Refusal(ErrorCode.UNAVAILABLE, _UNREADABLE), request)
        return
    session = client.session
    if stored is None or not (stored.session == session.owner or session.is_operator):
        why = "there is no message with this id" if session.is_operator else "you wrote no message with this id"
        refusal = Refusal(ErrorCode.NOT_ALLOWED, why)
        hub.refuse(client, refusal, request)
        return
    author = hub.house.accounts.get(stored.session)
    if author is not None and author.is_operator and author is not session.account:
        why = f"{names.quoted(author.name)} is an operator: only they can take back what they wrote"
        refusal = Refusal(ErrorCode.NOT_ALLOWED, why)
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
    return Query(room, client.session.owner, partner, before, after, min(limit, MAX_PAGE), find)


def _number(ident: str | UnsetType) -> int | None:
    """Return the number of this id. Raises a `Refusal` if we gave none such."""
    if ident is UNSET:
        return None
    number = parsed(ident)
    if number is None:
        raise Refusal(ErrorCode.BAD_REQUEST, "no message has such an id")
    return number
