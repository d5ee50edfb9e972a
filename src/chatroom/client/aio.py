"""The asyncio client."""

import asyncio
import ssl
from types import TracebackType
from typing import Self

from chatroom.client.core import Core
from chatroom.client.errors import ChatroomError, TimedOut
from chatroom.client.inbox import Message
from chatroom.client.link import Link
from chatroom.protocol.messages import BanRecord, HistoryReply, RoomSize, Sent


class AsyncClient:
    """A connection to a chatroom, for asyncio.

    >>> async def main():
    ...     async with await AsyncClient.connect("127.0.0.1", 7777, "robot") as client:
    ...         print(await client.users())
    ...         await client.send("robot", "note to self")
    ...         async for message in client:
    ...             print(message.content)
    ...             break
    >>> asyncio.run(main())
    ['robot']
    note to self

    Its methods may be called from many tasks of one event loop; iterate in one. At most 10,000 messages, or 16
    million characters, wait to be iterated over: beyond that nothing is read from the server, which closes
    the connection of a client that does not read; and answers that stand behind them do not come either
    (`InboxFull`).

    A connection on which nothing comes back any longer is given up within 30 seconds.
    """

    def __init__(self, link: object = None, *_: object, **__: object) -> None:
        """Call `connect()` or `open()` instead."""
        if not isinstance(link, Link):
            raise TypeError(f"call {type(self).__name__}.connect(host, port, name)")
        self._link = link
        self._has_news = asyncio.Event()
        link.on_news = self._has_news.set

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        reconnect: bool = False,
        presence: bool = False,
    ) -> Self:
        """Connect, without a name yet: `hello()` comes next.

        All parameters are as for `connect()`; `reconnect` takes effect once `hello()` has succeeded.
        Raises `CannotConnect`; `BadArgument` for a port outside 1 to 65535.
        """
        link = Link(host, port, timeout=timeout, tls=tls, reconnect=reconnect, presence=presence)
        await link.open()
        return cls(link)

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        name: str,
        *,
        password: str | None = None,
        session: str | None = None,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        reconnect: bool = False,
        presence: bool = False,
    ) -> Self:
        """Connect and say hello.

        - `host`: a name or an address; `port`: 1 to 65535.
        - `name`: 1 to 32 characters, without a `|`, and not `*`.
        - `password`: that of the account which owns the name. `session`: what `session` was for a client that
          was closed with `close(stay=True)`, or that has crashed; if it is not known any longer, the password
          counts. Both are sent only over TLS, or to 127.0.0.1.
        - `timeout`: seconds for the connection, and for each answer later.
        - `tls`: a context, as `ssl.create_default_context()` makes it; the server's certificate must be for
          `host`. None: no TLS.
        - `reconnect`: whether a lost connection is made anew, with the same name, for as long as it takes;
          calls wait for it. Messages tell of it: `Disconnected`, an `ErrorReply` if somebody has the name
          meanwhile, and `Reconnected`. The client joins its rooms again, and what it missed comes in its place,
          each message once; `Gap` marks where messages may be missing. If the server does not want us back,
          that is raised in place of a message: `NameTaken` if somebody has had the name for 30 seconds,
          another `Refused` (`NameReserved`, `BadPassword`, `Banned`, …), `ConnectionLost`.
        - `presence`: whether `Presence` messages tell who comes into the lobby and the rooms, and who leaves.

        On servers that grant it, messages have an `id` and a `time`, and `Forgotten` messages come; and to an
        account, as an `OwnMessage`, what other connections of it have sent.

        `hello` asks for more than the base protocol has. If the server does not answer that in 5 seconds, or
        not with a welcome, the client connects once more, as the base protocol has it.
        A server that grants nothing is sent only what the base protocol has, one message at a time, 20 ms
        apart.
        Raises `CannotConnect`; `NotAChatroom` if what answers is something else, `ConnectionLost` or `TimedOut`
        if nothing does; `NameTaken` or `NameReserved` (both with a free `suggestion`), `BadPassword`, `Banned`
        or another `Refused` (`bad_name`, …); `BadArgument` for a port outside 1 to 65535, a lone surrogate, or
        a `password` or `session` without `tls` to any host but 127.0.0.1.
        """
        client = await cls.open(host, port, timeout=timeout, tls=tls, reconnect=reconnect, presence=presence)
        try:
            await client.hello(name, password=password, session=session)
        except BaseException:
            client._link.abort()
            raise
        return client

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at present."""
        return self._link.is_connected

    @property
    def session(self) -> str | None:
        """A secret by which the server knows this client again, for `connect()` in the same or another program.

        A guest's is known for 60 seconds after the connection, an account's for 30 days; one that is in use is
        taken over. None unless `reconnect`, `password` or `session` was given, and if the server knows none.
        """
        return self._link.session

    @property
    def is_account(self) -> bool:
        """Whether one owns one's name: the server has said so at the last welcome, or when one registered."""
        return self._link.is_account

    @property
    def is_operator(self) -> bool:
        """Whether one may use `kick()` and the like, as the last welcome said."""
        return self._link.is_operator

    @property
    def is_private(self) -> bool:
        """Whether a password may be sent: over TLS, or to 127.0.0.1."""
        return self._link.is_private

    @property
    def last_ref(self) -> str:
        """The `ref` of the latest request: an `ErrorReply` or `Unconfirmed` about it has the same.

        A server that knows only the base protocol gives no errors a `ref`.
        """
        return self._link.last_ref

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next attempt to reconnect; None while none is waited for."""
        return self._link.retry_in

    def retry_now(self) -> None:
        """Make the next attempt to reconnect at once, if one is waited for; the pauses begin small again."""
        self._link.retry_now()

    async def hello(self, name: str, *, password: str | None = None, session: str | None = None) -> None:
        """Ask for a name, as for `connect()`; after a refusal another may be tried, or another password.

        With `reconnect`, also while the connection is lost, and when the iteration has raised: the client
        connects anew, with this name. Raises what `connect()` does.
        """
        await self._link.hello(name, password, session)

    async def register(self, password: str, old: str | None = None) -> None:
        """Own the name that one has: from now on only the password, or a `session`, opens it.

        `password`: 8 to 128 characters. `old`: the present one, to change it, which ends all other sessions.
        Raises `BadPassword` (too short or too long, or `old` is wrong), `Refused` (`not_allowed`: the server
        keeps no accounts, nobody may register, or `old` is missing; `slow_down`), `OutcomeUnknown` if the
        connection was lost meanwhile, `BadArgument` without TLS but to 127.0.0.1, and what `users()` does.
        """
        await self._link.register(password, old)

    async def users(self, room: str | None = None) -> list[str]:
        """Return the names of all who are connected, one's own too; or of those in a room.

        With `reconnect` it is asked again if the connection breaks, once.
        Raises `Refused` (before `hello`, if there is no such room, or if the list is not understood),
        `ConnectionLost`, `TimedOut`, `InboxFull`.
        """
        return await self._link.users(room)

    async def join(self, room: str) -> str:
        """Join a room, which is made if there is none; return its name, as its maker spelled it.

        `room`: 1 to 32 characters, as a user's name. Its messages have the returned name as their `room`; for
        those of the lobby, in which everybody is, it is None.
        Raises `Refused` (`bad_name`; `not_allowed`: one may be in 100 rooms; `unknown_code`: the server has no
        rooms, and was not asked), and what `users()` does.
        """
        return await self._link.join(room)

    async def leave(self, room: str) -> None:
        """Leave a room. Raises `Refused` (`not_in_room`), and what `users()` does."""
        return await self._link.leave(room)

    async def rooms(self) -> list[RoomSize]:
        """Return the 1,000 largest rooms (`room`, `users`), the largest first; raises what `users()` does."""
        return await self._link.ask(Core.rooms)

    async def history(
        self,
        *,
        room: str | None = None,
        with_: str | None = None,
        before: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        find: str | None = None,
    ) -> HistoryReply:
        """Return what was said, oldest first: `messages`, each with `id`, `time`, `from_`, `content`, `to`.

        - `room`: a room that one is in; `with_`: the direct messages with somebody, or `"*"` with anybody.
          Neither: the lobby. Direct messages are kept only if a client with `reconnect=True` sent or got them:
          otherwise `messages` is empty.
        - `before`, `after`: an `id`. Neither: the newest.
        - `limit`: 1 to 200 messages; 50 if None.
        - `find`: a text of 1 to 256 characters that they contain. Case is ignored for ASCII letters only.
          A search that was broken off says where to go on: with `before`.

        `complete` says that there is no more in that direction.
        Raises `Refused` (`not_in_room`, `bad_request`, `unknown_code`), and what `users()` does.
        """
        return await self._link.history(
            room=room, with_=with_, before=before, after=after, limit=limit, find=find
        )

    async def forget(self, id: str) -> None:  # noqa: A002 - as the protocol calls it
        """Take back one's own message with this `id`: it is not in the history any longer.

        Others who have had it get a `Forgotten` message. Raises `Refused` (`not_allowed`: it is not one's own),
        and what `users()` does.
        """
        return await self._link.forget(id)

    async def kick(self, name: str, *, reason: str | None = None) -> None:
        """End all connections of a user, who is told the `reason`, of at most 256 characters.

        This and what follows, up to `bans()`, is for operators.
        Raises `Refused` (`not_allowed`, `unknown_user`), and what `users()` does.
        """
        await self._link.kick(name, reason)

    async def mute(self, name: str, *, minutes: int | None = None, reason: str | None = None) -> None:
        """Let a user read, but not write, for so many `minutes` (60 if None; 0: for good); else as `kick()`."""
        await self._link.mute(name, minutes, reason)

    async def unmute(self, name: str) -> None:
        """Let a user write again; else as `kick()`."""
        await self._link.unmute(name)

    async def ban(self, name: str, *, minutes: int | None = None, reason: str | None = None) -> int:
        """Let a user in no more, for so many `minutes`, as `mute()`.

        Return how many others are on the addresses that a guest is banned from.
        """
        return await self._link.ban(name, minutes, reason)

    async def unban(self, name: str) -> None:
        """Let a user in again; else as `kick()`."""
        await self._link.unban(name)

    async def bans(self) -> list[BanRecord]:
        """Return who is banned or muted.

        Each has a `kind` (`ban` or `mute`), the `name`, `by` whom, the `time`, `until` when (None: for good),
        both in seconds since 1970, and a `reason` or None. Raises as `kick()`.
        """
        return await self._link.bans()

    async def send(self, to: str, content: str, *, confirm: bool = True) -> Sent | None:
        """Send a message to one; return its `id` and `time` once the server has taken it.

        `to`: a name, spelled as in `users()` or in another case. `content`: any text; our server takes 16 KiB
        of UTF-8 by default, other servers have limits of their own.
        With `confirm=False`, and always if the server knows only the base protocol, wait only until it has left
        and return None; a refusal then comes as an `ErrorReply` among the messages.
        Of messages that the server confirms, 8 are under way at a time, or 16 KiB; one that is refused with
        `slow_down` is sent again when the server says so, for a minute, and so is one that could not be stored.

        Raises `Refused` (`unknown_user`, `too_big`, …); `OutcomeUnknown`, `TimedOut` or `InboxFull` if it
        cannot be known whether it was taken (if it is not confirmed: it was not sent); `ConnectionLost`: it was
        not sent; `BadArgument` for an empty name, `*`, or a lone surrogate.
        """
        return await self._link.send(to, content, confirm=confirm)

    async def broadcast(self, content: str, *, room: str | None = None, confirm: bool = True) -> Sent | None:
        """Send a message to everybody else, in the lobby or in a room; all else is as for `send()`.

        Raises `Refused` (`not_in_room`, `unknown_code`) for a room that one is not in, or the server not known.
        """
        return await self._link.say(None, content, room=room, confirm=confirm)

    async def receive(self, timeout: float | None = None) -> Message:
        """Return the next message; wait for it at most this many seconds (0: not at all, None: for ever).

        Raises `TimedOut`; once all that came before has been returned, what ended the connection:
        `ConnectionLost`, with `reconnect` also `Refused`.
        """
        link = self._link
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while not link.inbox:
            if link.end is not None:
                raise link.end.with_traceback(None)
            self._has_news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._has_news.wait()
            except TimeoutError:
                raise TimedOut("nothing came from the server in time") from None
        message = link.inbox.take()
        link.read_on()
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except ChatroomError:
            if self._link.is_closed:
                raise StopAsyncIteration from None
            raise

    async def close(self, *, stay: bool = False) -> None:
        """Say quit, and take what was still on its way; it can be iterated over, now and later.

        With `stay`, say nothing instead, so that the server keeps the `session`.

        Waits until all that was sent is confirmed, where the server does that, and until the server has closed
        the connection; `timeout` seconds at most without progress. May be called again.
        """
        await self._link.close(stay=stay)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
