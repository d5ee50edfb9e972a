"""Names and passwords: how one comes to a name, and how one makes it one's own."""

import os

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import BadPassword, ConnectionLost, NameReserved, Refused
from chatroom.protocol.messages import ErrorCode, ErrorReply
from chatroom.terminal import typed
from chatroom.terminal.kept import Sessions
from chatroom.terminal.reasons import reason
from chatroom.terminal.screen import Screen
from chatroom.terminal.text import visible

VARIABLE = "CHATROOM_PASSWORD"
"""What a password is taken from where nobody can be asked for it, or need be."""
_OF_THE_NAME = {ErrorCode.NAME_TAKEN, ErrorCode.BAD_NAME, ErrorCode.NAME_RESERVED, ErrorCode.BAD_PASSWORD}
_NOT_FOR_THE_NAME = set(ErrorCode) - _OF_THE_NAME  # a server's own code may be


class Introduction:
    """Saying hello, with as many names and passwords as it takes."""

    def __init__(self, client: AsyncClient, screen: Screen, sessions: Sessions | None) -> None:
        self._client, self._screen, self._sessions = client, screen, sessions
        self._password: str | None = None
        self._given = typed.as_unicode(os.environ.get(VARIABLE, ""))

    async def introduce(self, name: str | None) -> str | None:
        """Return the name that was accepted; None if there is none.

        A password is sent only for a name that is reserved.
        """
        while name is not None:
            name = typed.as_unicode(name)
            try:
                await self._hello(name)
            except Refused as refusal:
                if refusal.code in _NOT_FOR_THE_NAME:
                    self._screen.complain(f"the server refused: {visible(refusal.message)}")
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
        is_open = isinstance(refusal, BadPassword) or (isinstance(refusal, NameReserved) and not self._password)
        if is_open and self._client.is_private:
            if self._given:
                self._password, self._given = self._given, ""
                return name
            if not self._screen.is_interactive:
                self._screen.complain(f"{refused(refusal, name)}; its password is taken from {VARIABLE}")
                return None
            password = await self._screen.read_password(
                "password (Enter for another name): ", refused(refusal, name)
            )
            if password is None:
                return None
            if password:
                self._password = password
                return name
        self._password = None
        hint = "; its password needs TLS" if is_open and not self._client.is_private else ""
        return await self._screen.read_name(f"{refused(refusal, name)}{hint}", offered(refusal.error))


async def register(client: AsyncClient, screen: Screen) -> None:
    """Make the name one's own, or change its password. Raises what the client raises."""
    if not client.is_private:
        screen.complain("a password is sent only with TLS: connect with --tls")
        return
    password = await screen.read_password("new password: ")
    if not password:
        return
    if await screen.read_password("once more: ") != password:
        screen.complain("the two passwords differ: nothing was changed")
        return
    if not client.is_connected:  # a wait for the next connection could not be broken off
        screen.complain("not sent: you are offline")
        return
    try:
        await client.register(password)
    except Refused as refusal:
        if refusal.code != ErrorCode.NOT_ALLOWED or not client.is_account:
            raise
        if old := await screen.read_password("the password up to now: "):
            await client.register(password, old)
            screen.show([("", "the password has been changed; your other sessions have ended")])
    else:
        screen.show([("", "the name is yours now: only its password opens it")])


def refused(refusal: Refused, name: str) -> str:
    """Say that a name was refused, and why."""
    return f'the name "{visible(name)}" was refused: {visible(refusal.message)}'


def offered(error: ErrorReply) -> str:
    """Return the name that the server suggests, if it is one that can be shown and typed."""
    offer = error.suggestion if isinstance(error.suggestion, str) else ""
    return offer if offer == visible(offer) else ""
