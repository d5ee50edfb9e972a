"""What the command line asks for: accounts are added and removed, while the server runs or without it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chatroom.hub import operators
from chatroom.hub.account import Account
from chatroom.hub.entries import Appointed, Changed, Erased, Registered, Removed
from chatroom.hub.ports import DONE, Order
from chatroom.hub.refusal import Refusal
from chatroom.protocol import names
from chatroom.protocol.messages import ErrorCode

if TYPE_CHECKING:
    from chatroom.hub.hub import Hub


def obey(hub: "Hub", order: Order) -> str:
    """Do what is ordered; return why not, or nothing, or what else there is to know, if it is done."""
    try:
        note = ORDERS[order.what](hub, order)
    except Refusal as refusal:
        return str(refusal)
    except names.BadName as error:
        return str(error)
    hub.house.observer.decided(order.what, order.name, None)
    return DONE + note if note else ""


def _add(hub: "Hub", order: Order) -> None:
    """Add an account; in the place of one of this name that was removed, whose past it does not get."""
    name = names.checked(order.name)
    keys, reserved = names.keys(name), hub.house.reserved
    removed = reserved.removed(keys[names.ADDRESS])
    if removed is not None and all(account is removed for _, account in reserved.claims(keys)):
        hub.append(Removed(removed.number, frees=True), None)
    hub.append(Registered(0, name, keys, order.hashed, hub.limits.max_accounts), None)


def _password(hub: "Hub", order: Order) -> None:
    hub.append(Changed(_account(hub, order).number, 0, order.hashed), None)


def _operator(hub: "Hub", order: Order) -> None:
    hub.append(Appointed(_account(hub, order).number, order.is_set), None)


def _remove(hub: "Hub", order: Order) -> None:
    account = _account(hub, order, may_be_removed=order.is_set)  # its name can still be freed
    hub.append(Removed(account.number, order.is_set), None)


def _forget(hub: "Hub", order: Order) -> None:
    """Forget all that an account wrote; or, if there is none, a guest who is here or may come back."""
    house = hub.house
    address = names.address(order.name)
    reserved = house.reserved
    account = reserved.named(order.name) or reserved.addressed(address) or reserved.removed(address)
    one = account or house.claimed[names.ADDRESS].get(address) or house.away.get(address)
    if one is None:
        why = f"there is no account {names.quoted(order.name)}, and no guest of this name is here"
        raise Refusal(ErrorCode.UNKNOWN_USER, why)
    hub.append(Erased(one.number), None)


def _account(hub: "Hub", order: Order, *, may_be_removed: bool = False) -> Account:
    """Return the account that is meant: by its name as given, or else folded. Raises a `Refusal`."""
    reserved = hub.house.reserved
    account = reserved.named(order.name)
    if account is not None and (account.hashed or may_be_removed):
        return account
    address = names.address(order.name)
    account, removed = reserved.addressed(address), reserved.removed(address)
    if account is not None:
        return account
    if removed is None:
        raise Refusal(ErrorCode.UNKNOWN_USER, f"there is no account {names.quoted(order.name)}")
    if not may_be_removed:
        hint = "`account remove --free` frees it, `account add` gives it a new account"
        raise Refusal(ErrorCode.UNKNOWN_USER, f"{removed.removal}: {hint}")
    return removed


ORDERS: dict[str, Callable[["Hub", Order], str | None]] = {
    "add": _add,
    "password": _password,
    "operator": _operator,
    "remove": _remove,
    "forget": _forget,
    "ban": operators.order_ban,
    "unban": operators.order_unban,
}
