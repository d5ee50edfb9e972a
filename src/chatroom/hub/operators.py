"""What operators ask for, and the command line: who is meant is found here."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET, UnsetType

from chatroom.hub.client import Client
from chatroom.hub.effort import CLAIM
from chatroom.hub.entries import NO_KEYS, Banned, Keys, Kicked, Muted, Unbanned, Unmuted
from chatroom.hub.house import Asked, House
from chatroom.hub.ports import Order
from chatroom.hub.refusal import Refusal
from chatroom.protocol import names
from chatroom.protocol.messages import (
    MINUTES,
    Ban,
    Bans,
    BansReply,
    ErrorCode,
    Kick,
    Mute,
    Unban,
    Unmute,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatroom.hub.hub import Hub
    from chatroom.hub.session import Session

_Network = IPv4Network | IPv6Network
_LIKE_AN_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.|\d+(\.\d+)+/|[\da-f]*:[\da-f]*:", re.IGNORECASE)
"""How addresses begin, and networks; what does and is none was mistyped."""


class Target(NamedTuple):
    """Who is meant: an account, or a guest."""

    number: int
    """The account's, or the guest's session's."""
    name: str
    keys: Keys
    sessions: "Sequence[Session]"
    """An account's that are here; a guest's, wherever it is."""
    is_account: bool


def kick(hub: "Hub", client: Client, request: Kick) -> None:
    """End the connections of a user."""
    entry = Kicked(_somebody(hub, client, request.name), client.session.owner, request.reason or "")
    hub.append(entry, Asked(client, request))


def mute(hub: "Hub", client: Client, request: Mute) -> None:
    """Let a user write no more."""
    target, minutes = _somebody(hub, client, request.name), _minutes(request.minutes)
    hub.append(Muted(target, client.session.owner, minutes, request.reason or ""), Asked(client, request))


def unmute(hub: "Hub", client: Client, request: Unmute) -> None:
    """Let a user write again, who may not be here, or have another name by now."""
    house, key = hub.house, _key(hub, client, request.name)
    found = find(house, request.name, key)
    target = 0 if found is None else found.number
    if not house.verdicts.is_muted(target):
        target = house.verdicts.muted(request.name, key)
    if not target:
        raise Refusal(ErrorCode.UNKNOWN_USER, f"nobody called {names.quoted(request.name)} is muted")
    hub.append(Unmuted(target, client.session.owner), Asked(client, request))


def ban(hub: "Hub", client: Client, request: Ban) -> None:
    """Let a user in no more."""
    hub.may_take(client, 0 if request.name.isascii() else CLAIM)
    minutes = _minutes(request.minutes)
    entry = _ban(hub.house, request.name, client.session.owner, minutes, request.reason or "")
    hub.append(entry, Asked(client, request))


def unban(hub: "Hub", client: Client, request: Unban) -> None:
    """Let a user in again."""
    hub.may_take(client, 0 if request.name.isascii() else CLAIM)
    hub.append(_unban(hub.house, request.name, client.session.owner), Asked(client, request))


def bans(hub: "Hub", client: Client, request: Bans) -> None:
    """Tell who is banned or muted."""
    hub.reply(client, BansReply(bans=hub.house.verdicts.listed(hub.now())), request)


def order_ban(hub: "Hub", order: Order) -> str:
    """Ban a user, or guests from a network, for the command line; return what else it should know."""
    network = _network(order.name)
    if network is None:
        entry = _ban(hub.house, order.name, 0, order.minutes, order.reason)
        is_known = find(hub.house, entry.name, entry.keys[names.ADDRESS]) is not None
        if not is_known and _LIKE_AN_ADDRESS.match(order.name):
            why = f"{names.quoted(order.name)} is no address, no network, and nobody's name"
            raise Refusal(ErrorCode.BAD_NAME, why)
        hub.append(entry, None)
        return "" if is_known else "nobody of this name is here, and no account has it"
    if any(_is_part(network, ip_network(exempt)) for exempt in hub.limits.exempt):
        raise Refusal(ErrorCode.NOT_ALLOWED, f"{_text(network)} is exempt")
    text = _text(_widened(network))
    hub.append(Banned(0, text, NO_KEYS, 0, order.minutes, (text,), order.reason), None)
    return ""


def order_unban(hub: "Hub", order: Order) -> None:
    """Let a user in again, or guests from a network."""
    hub.append(_unban(hub.house, order.name, 0), None)


def find(house: House, name: str, key: str) -> Target | None:
    """Return who has this name, as it is spelled or else as it folds.

    That is somebody here, or else an account, or a guest who may come back.
    """
    session = house.spelled.get(name) or house.claimed[names.ADDRESS].get(key)
    if session is None:
        account = house.reserved.named(name)
        if account is None or not account.hashed:
            account = house.reserved.addressed(key)
        session = house.away.get(key) if account is None else None
    else:
        account = session.account
    if account is not None:
        return Target(account.number, account.name, account.keys, account.devices, is_account=True)
    if session is not None:
        return Target(session.number, session.name, session.keys, [session], is_account=False)
    return None


def _somebody(hub: "Hub", client: Client, name: str) -> int:
    """Return the account, or the guest's session, of this name. Raises a `Refusal`; may raise `Later`."""
    found = find(hub.house, name, _key(hub, client, name))
    if found is None:
        raise Refusal(ErrorCode.UNKNOWN_USER, hub.why_unknown(name))
    return found.number


def _key(hub: "Hub", client: Client, name: str) -> str:
    """Return what a name folds to; nothing if it is none. May raise `Later`."""
    hub.may_fold(client, name)
    try:
        return names.address(name)
    except names.BadName:
        return ""


def _minutes(minutes: int | UnsetType) -> int:
    return MINUTES if minutes is UNSET else minutes


def _ban(house: House, name: str, by: int, minutes: int, reason: str) -> Banned:
    """Return the entry that bans who has this name; if nobody has, guests are not let in with it.

    Raises a `Refusal` if it is none.
    """
    try:
        name = names.checked(name)
        keys = names.keys(name)
    except names.BadName as error:
        raise Refusal(ErrorCode.BAD_NAME, str(error)) from None
    found = find(house, name, keys[names.ADDRESS])
    if found is None:
        for before in house.verdicts.named(name, keys[names.ADDRESS]):  # it is banned again
            name, keys = before.name, names.keys(before.name)
        return Banned(0, name, keys, by, minutes, (), reason)
    origins = dict.fromkeys(session.origin for session in found.sessions if session.origin)
    number = found.number if found.is_account else 0
    return Banned(number, found.name, found.keys, by, minutes, tuple(origins), reason)


def _unban(house: House, name: str, by: int) -> Unbanned:
    """Return the entry that lets in again who was banned under this name; or guests from this network."""
    if not house.verdicts.banned(name, "") and (network := _network(name)):
        name = _text(_widened(network))
        around = house.verdicts.around(name, house.time)
        if around and not house.verdicts.banned(name, ""):
            why = f"{name} is banned as a part of {around}: that can be unbanned as a whole"
            raise Refusal(ErrorCode.UNKNOWN_USER, why)
    try:
        keys = names.keys(names.checked(name))
    except names.BadName:
        keys = NO_KEYS
    return Unbanned(name, keys, by)


def _network(text: str) -> _Network | None:
    """Return the network that is meant, if one is; IPv4 in IPv6 is IPv4."""
    try:
        network = ip_network(text[:64], strict=False)
    except ValueError:
        return None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


def _widened(network: _Network) -> _Network:
    """Return the network; one of IPv6 has 64 bits at most, as guests have them."""
    is_narrow = isinstance(network, IPv6Network) and network.prefixlen > 64
    return network.supernet(new_prefix=64) if is_narrow else network


def _is_part(network: _Network, whole: _Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(whole, IPv4Network) and network.subnet_of(whole)
    return isinstance(whole, IPv6Network) and network.subnet_of(whole)


def _text(network: _Network) -> str:
    """Return how a network is named: that of one IPv4 address as the address."""
    return str(network.network_address if network.prefixlen == 32 and network.version == 4 else network)
