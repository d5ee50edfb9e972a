"""What operators do to others, and what is said of it."""

import time

from chatroom.client.aio import AsyncClient
from chatroom.protocol.messages import MINUTES, BanRecord
from chatroom.terminal.screen import Screen
from chatroom.terminal.shown import clock, quoted
from chatroom.terminal.text import visible
from chatroom.terminal.typed import Act, Order

DAYS = 3
"""If it is for longer, the date is said at which it ends."""


async def carry_out(client: AsyncClient, screen: Screen, order: Order) -> None:
    """Do what an operator has typed. Raises what the client raises."""
    name, minutes, why = order.name, order.minutes, order.reason
    match order.act:
        case Act.KICK:
            await client.kick(name, reason=why)
            done = "was disconnected"
        case Act.MUTE:
            await client.mute(name, minutes=minutes, reason=why)
            done = f"is muted {_for(minutes)}"
        case Act.UNMUTE:
            await client.unmute(name)
            done = "is no longer muted"
        case Act.BAN:
            others = await client.ban(name, minutes=minutes, reason=why)
            are = "1 other is" if others == 1 else f"{others} others are"
            done = f"is banned {_for(minutes)}" + (f" ({are} on the same addresses)" if others else "")
        case Act.UNBAN:
            await client.unban(name)
            done = "is no longer banned"
    screen.show([("", f"{quoted(name)} {done}{_because(why)}")])


async def list_bans(client: AsyncClient, screen: Screen) -> None:
    """Show who is banned or muted. Raises what the client raises."""
    bans = await client.bans()
    screen.show([("", "banned or muted:" if bans else "nobody is banned or muted")])
    for ban in bans:
        screen.show([("", f"  {_said(ban)}")])


def _for(minutes: int | None) -> str:
    minutes = MINUTES if minutes is None else minutes
    if minutes > DAYS * 24 * 60:
        return f"until {clock(time.time() + minutes * 60)}"
    return f"for {minutes} minute{'s' * (minutes != 1)}" if minutes else "for good"


def _because(why: str | None) -> str:
    return "" if why is None else f": {visible(why)}"


def _said(ban: BanRecord) -> str:
    did = "banned" if ban.kind == "ban" else "muted"
    by = f" by {quoted(ban.by)}" if ban.by else ""
    until = "for good" if ban.until is None else f"until {clock(ban.until)}"
    return f"{quoted(ban.name)} {did}{by} {clock(ban.time)}, {until}{_because(ban.reason)}"
