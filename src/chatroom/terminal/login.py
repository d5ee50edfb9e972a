"""Names and passwords: how one comes to a name, and how one makes it one's own."""

import os

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import BadPassword, Banned, ConnectionLost, NameReserved, Refused
from chatroom.protocol.messages import ErrorCode, ErrorReply
from chatroom.protocol.passwords import MAX_PASSWORD, MIN_PASSWORD
from chatroom.terminal import typed
from chatroom.terminal.kept import Sessions
from chatroom.terminal.reasons import reason
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import explained, visible

VARIABLE = "CHATROOM_PASSWORD"
"""What a password is taken from where nobody can be asked for it, or need be."""
_OF_THE_NAME = {ErrorCode.NAME_TAKEN, ErrorCode.BAD_NAME, ErrorCode.NAME_RESERVED, ErrorCode.BAD_PASSWORD}
_NOT_FOR_THE_NAME = set(ErrorCode) - _OF_THE_NAME  # a server's own code may be


class Introduction:
    """Saying hello, with as many names and passwords as it takes."""

    def __init__(self, client: AsyncClient, screen: Screen, sessions: Sessions | None) -> None:
        self._client, self._screen, self._sessions = client, screen, sessions
        self._password: str | None = None
        self._offer = ""  # the last name that the server has suggested
        self._given = typed.as_unicode(os.environ.get(VARIABLE, ""))

    async def introduce(self, name: str | None) -> str | None:
        """Return the name that was accepted; None if there is none.

        A password is sent only for a name that is reserved, or where guests are banned.
        """
        while name is not None:
            name = typed.as_unicode(name)
            try:
                await self._hello(name)
            except Refused as refusal:
                is_banned = isinstance(refusal, Banned) and not self._password  # accounts may be let in
                if refusal.code in _NOT_FOR_THE_NAME and not (is_banned and self._client.is_private):
                    hint = "; if you have an account, connect with --tls" if is_banned else ""
                    self._screen.complain(f"the server refused: {explained(refusal.error)}{hint}")
                    return None
                name = await self._next(name, refusal)
            except (ConnectionLost, TimeoutError):
                raise
            except OSError as error:  # another connection was needed, and not made
                raise ConnectionLost(reason(error)) from error
            else:
                return name
        return None

    async def _hello(self, name: str) -> None:
        session = self._sessions.find(name) if self._sessions and self._client.is_private else None
        await self._client.hello(name, password=self._password, session=session)

    async def _next(self, name: str, refusal: Refused) -> str | None:
        """Return the name to try next: the same with a password, or another one; None for none."""
        self._offer = offered(refusal.error) or self._offer
        is_wrong = isinstance(refusal, BadPassword) and not refusal.suggestion  # else no password opens it
        is_open = is_wrong or (isinstance(refusal, NameReserved | Banned) and not self._password)
        why = explained(refusal.error) if is_open else refused(refusal, name)
        if is_open and self._client.is_private:
            if self._given:
                self._password, self._given = self._given, ""
                return name
            if not self._screen.is_interactive:
                self._screen.complain(f"{why}; {self._advice(refusal)}")
                return None
            if isinstance(refusal, Banned):
                why += "; if you have an account, enter its password"
            password = await self._screen.read_password("password (Enter for another name): ", why)
            if password is None:
                return None
            if password:
                self._password = password
                return name
            why = ""  # has been said
        elif is_open:
            why += "; passwords need TLS"
        self._password = None
        return await self._screen.read_name(why, self._offer)

    def _advice(self, refusal: Refused) -> str:
        """Return what to do where nobody can be asked."""
        if self._password:
            return f"it was taken from {VARIABLE}"
        return f"{'if you have an account, ' * isinstance(refusal, Banned)}set {VARIABLE} to its password"


async def register(client: AsyncClient, screen: Screen) -> None:
    """Make the name one's own, or change its password. Raises what the client raises."""
    if not client.is_private:
        screen.complain("a password is sent only with TLS: connect with --tls")
        return
    old = None
    if client.is_account and not (old := await screen.read_password("current password: ")):
        return
    password = await screen.read_password(f"new password ({MIN_PASSWORD} to {MAX_PASSWORD} characters): ")
    if not password:
        return
    if await screen.read_password("once more: ") != password:
        screen.complain("the two passwords differ: nothing was changed")
        return
    if not client.is_connected:  # a wait for the next connection could not be broken off
        screen.complain("not sent: you are offline")
        return
    await client.register(password, old)
    done = "the name is yours now: nobody can use it without its password"
    screen.show([("", "the password has been changed; your other sessions have ended" if old else done)])


def refused(refusal: Refused, name: str) -> str:
    """Say that a name was refused, and why."""
    return f'the name "{visible(name)}" was refused: {explained(refusal.error)}'


def offered(error: ErrorReply) -> str:
    """Return the name that the server suggests, if it is one that can be shown and typed."""
    offer = error.suggestion if isinstance(error.suggestion, str) else ""
    return offer if offer == visible(offer) else ""
