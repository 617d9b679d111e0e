"""What ``clickahead.control`` and ``clickahead.items`` order, folded record by record.

Both topics are compacted, so a record's key says which of its predecessors it replaces: see
``key_of``. What is unreadable is refused and skipped; it must not stop a worker.
"""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import msgspec

from stream_app.core.batch import Route
from stream_app.core.events import Control, Item
from stream_app.core.privacy import PSEUDONYM_BYTES

Pseudonym = Callable[[str], bytes]
"""A user id's pseudonym: `stream_app.core.privacy.pseudonymiser`."""

HISTORY = 16


class Refused(NamedTuple):
    """An order that is not applied. ``detail`` is for people; it never quotes a user id."""

    offset: int
    detail: str


class Orders(msgspec.Struct, frozen=True):
    """What the orders below offset ``as_of`` come to."""

    as_of: int = 0
    promoted: tuple[str | None, ...] = (None,)  # oldest first; None is the worker's own model
    shadow: str | None = None
    blocked: frozenset[str] = frozenset()
    erasures: tuple[tuple[int, bytes], ...] = ()  # (offset of the order, pseudonym)


class Items(msgspec.Struct, frozen=True):
    """What the catalogue's records below offset ``as_of`` forbid."""

    as_of: int = 0
    blocked: frozenset[str] = frozenset()


def apply(
    orders: Orders, offset: int, value: bytes | None, pseudonym: Pseudonym
) -> Orders | Refused:
    """``orders`` and one more record of the control topic; a tombstone orders nothing."""
    if value is None:
        return msgspec.structs.replace(orders, as_of=offset + 1)
    try:
        control = msgspec.json.decode(value, type=Control)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refused(offset, f"no order of clickahead.control: {error}")
    moved = _moved(orders, offset, control, pseudonym)
    if isinstance(moved, Refused):
        return moved
    return msgspec.structs.replace(moved, as_of=offset + 1)


def fold(
    orders: Orders, records: Iterable[tuple[int, bytes | None]], pseudonym: Pseudonym
) -> tuple[Orders, list[Refused]]:
    """``orders`` and many records (offset, value) in their order; what was refused is skipped."""
    refused = []
    for offset, value in records:
        moved = apply(orders, offset, value, pseudonym)
        if isinstance(moved, Refused):
            refused.append(moved)
            moved = msgspec.structs.replace(orders, as_of=offset + 1)
        orders = moved
    return orders, refused


def _moved(orders: Orders, offset: int, control: Control, pseudonym: Pseudonym) -> Orders | Refused:
    match control.order:
        case "promote" | "roll_back":
            return _answered_by(orders, offset, control)
        case "shadow":
            return msgspec.structs.replace(orders, shadow=control.model)
        case "erase_user":
            user = _user_of(control, pseudonym)
            if user is None:
                return Refused(offset, "erase_user needs a user_id, or a pseudonym as user")
            erasures = (*orders.erasures, (offset, user))
            return msgspec.structs.replace(orders, erasures=erasures)
        case "block_item" | "unblock_item":
            if not control.item_id:
                return Refused(offset, f"{control.order} needs an item_id")
            item = frozenset([control.item_id])
            is_block = control.order == "block_item"
            blocked = orders.blocked | item if is_block else orders.blocked - item
            return msgspec.structs.replace(orders, blocked=blocked)


def _answered_by(orders: Orders, offset: int, control: Control) -> Orders | Refused:
    if control.order == "promote":
        if not control.model:
            return Refused(offset, "promote needs a model, NAME-FINGERPRINT")
        promoted = (*orders.promoted, control.model)[-HISTORY:]
    elif control.model is not None:
        # Named, it needs no history: compaction may have taken the promotion before.
        promoted = (*orders.promoted[:-2], control.model)
    elif len(orders.promoted) > 1:
        promoted = orders.promoted[:-1]
    else:
        return Refused(offset, "roll_back finds no model before the present one; name it")
    return msgspec.structs.replace(orders, promoted=promoted)


def _user_of(control: Control, pseudonym: Pseudonym) -> bytes | None:
    if control.user is not None:
        try:
            user = bytes.fromhex(control.user)
        except ValueError:
            return None
        return user if len(user) == PSEUDONYM_BYTES else None
    return None if control.user_id is None else pseudonym(str(control.user_id))


def key_of(control: Control, pseudonym: Pseudonym) -> bytes:
    """The record key under which an order replaces the ones that it outdates."""
    match control.order:
        case "promote" | "roll_back":
            return b"model"
        case "shadow":
            return b"shadow"
        case "erase_user":
            return b"user:" + (_user_of(control, pseudonym) or b"").hex().encode()
        case _:
            return b"item:" + (control.item_id or "").encode()


def apply_item(items: Items, offset: int, key: bytes | None, value: bytes | None) -> Items:
    """``items`` and one more record of the catalogue; what is unreadable forbids nothing new."""
    as_of = offset + 1
    if value is None:
        gone = (key or b"").decode(errors="replace")
        return Items(as_of, items.blocked - {gone} if gone in items.blocked else items.blocked)
    try:
        item = msgspec.json.decode(value, type=Item)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Items(as_of, items.blocked)
    if item.blocked == (item.item_id in items.blocked):
        return Items(as_of, items.blocked)
    one = frozenset([item.item_id])
    return Items(as_of, items.blocked | one if item.blocked else items.blocked - one)


def route_of(
    orders: Orders, items: Items, own: str, known: Collection[str], degraded: int = 0
) -> tuple[Route, list[str]]:
    """The route that orders and catalogue ask for, and the versions that they name but the worker
    lacks. ``own`` is the worker's own model, ``known`` the versions that it can open: the newest
    promoted one of them answers. An item is blocked while either topic says so."""
    wanted = [own if version is None else version for version in reversed(orders.promoted)]
    live = next((version for version in wanted if version == own or version in known), own)
    missing = wanted[: wanted.index(live)] if live in wanted else wanted
    shadow = orders.shadow
    if shadow is not None and shadow != own and shadow not in known:
        missing, shadow = [*missing, shadow], None
    route = Route(
        live=live,
        as_of=orders.as_of,
        shadow=None if shadow == live else shadow,
        items_as_of=items.as_of,
        degraded=degraded,
        blocked=orders.blocked | items.blocked,
        erasures=orders.erasures,
    )
    return route, missing
