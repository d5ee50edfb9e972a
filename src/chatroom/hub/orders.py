"""What the command line asks for: accounts are added and removed, while the server runs or without it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chatroom.hub import operators
from chatroom.hub.account import Account
from chatroom.hub.entries import Appointed, Changed, Erased, Registered, Removed
from chatroom.hub.ports import Order
from chatroom.hub.refusal import Refusal
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorCode

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub


def obey(hub: "Hub", order: Order) -> str:
    """Do what is ordered; return why not, or nothing if it is done."""
    try:
        ORDERS[order.what](hub, order)
    except Refusal as refusal:
        return str(refusal)
    except names.BadName as error:
        return str(error)
    return ""


def _add(hub: "Hub", order: Order) -> None:
    name = names.checked(order.name)
    hub.append(Registered(0, name, names.keys(name), order.hashed, hub.limits.max_accounts), None)


def _password(hub: "Hub", order: Order) -> None:
    hub.append(Changed(_account(hub, order).number, 0, order.hashed), None)


def _operator(hub: "Hub", order: Order) -> None:
    hub.append(Appointed(_account(hub, order).number, order.is_set), None)


def _remove(hub: "Hub", order: Order) -> None:
    account = hub.house.reserved.named(order.name)
    if account is None or not order.is_set:  # one that was removed can be freed
        account = _account(hub, order)
    hub.append(Removed(account.number, order.is_set), None)


def _forget(hub: "Hub", order: Order) -> None:
    """Forget all that an account, or a guest who is here or may come back, wrote."""
    house = hub.house
    address = names.address(order.name)
    account = house.reserved.named(order.name) or house.reserved.addressed(address)
    one = account or house.claimed[names.ADDRESS].get(address) or house.away.get(address)
    if one is None:
        raise Refusal(ErrorCode.UNKNOWN_USER, f"nobody is called {names.quoted(order.name)}")
    hub.append(Erased(one.number), None)


def _account(hub: "Hub", order: Order) -> Account:
    """Return the account that is meant: by its name as given, or else folded. Raises a `Refusal`."""
    reserved = hub.house.reserved
    account = reserved.named(order.name)
    if account is None or not account.hashed:
        account = reserved.addressed(names.address(order.name))
    if account is None:
        raise Refusal(ErrorCode.UNKNOWN_USER, f"there is no account {names.quoted(order.name)}")
    return account


ORDERS: dict[str, Callable[["Hub", Order], None]] = {
    "add": _add,
    "password": _password,
    "operator": _operator,
    "remove": _remove,
    "forget": _forget,
    "ban": operators.order_ban,
    "unban": operators.order_unban,
}
