"""Everything that both side inputs have said so far, and what it comes to as of any offset.

A worker is at the newest offset; a partition that was served until an earlier one has to be played
as of there first, so the records are kept: orders are few, and of the catalogue only what blocks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream_app.core.control import Items, Orders, Pseudonym, Refused, fold

MAX_ORDER_BYTES = 16_384
"""No order needs more; a larger record is refused unread."""

CONTROL, ITEMS = "control", "items"
"""Roles of the side inputs."""

Erasures = tuple[tuple[int, bytes], ...]

SideRecord = tuple[int, bytes | None, bytes | None]
"""Offset, key and value of a side input's record."""


class _Blocking(msgspec.Struct, frozen=True):
    """What the stream needs of an `Item`. The other fields may hold thousands of numbers."""

    item_id: str
    blocked: bool = False


class _Change(NamedTuple):
    """The catalogue's record at ``offset`` blocks an item, or blocks it no longer."""

    offset: int
    item_id: str
    blocked: bool


class Ledger:
    """Records of both topics, folded as they come. Any bytes are borne."""

    def __init__(self, pseudonym: Pseudonym) -> None:
        self.orders = Orders()
        self._pseudonym = pseudonym
        self._records: list[tuple[int, bytes | None]] = []
        self._changes: list[_Change] = []
        self._blocked: set[str] = set()
        self._items: Items | None = Items()
        self._items_as_of = 0

    @property
    def items(self) -> Items:
        """The catalogue up to its newest record."""
        if self._items is None:
            self._items = Items(self._items_as_of, frozenset(self._blocked))
        return self._items

    def take(self, role: str, records: Sequence[SideRecord]) -> list[Refused]:
        """Add records in their order; those that cannot be applied."""
        if role == CONTROL:
            return self._take_orders(records)
        return [refused for record in records if (refused := self._take_item(record)) is not None]

    def at(self, as_of: int, items_as_of: int) -> tuple[frozenset[str], Erasures]:
        """Blocked items and erasures as both topics had them below these offsets."""
        orders, items = self.orders, self.items
        if as_of < orders.as_of:
            past = [record for record in self._records if record[0] < as_of]
            orders, _ = fold(Orders(), past, self._pseudonym)
        blocked = items.blocked
        if items_as_of < items.as_of:
            blocked = blocked_by(self._changes, items_as_of)
        return orders.blocked | blocked, orders.erasures

    def _take_orders(self, records: Sequence[SideRecord]) -> list[Refused]:
        # A fold of an oversized value as an empty one refuses it without reading it.
        values = [
            (offset, value if len(value or b"") <= MAX_ORDER_BYTES else b"")
            for offset, _, value in records
        ]
        self._records += values
        self.orders, refused = fold(self.orders, values, self._pseudonym)
        return refused

    def _take_item(self, record: SideRecord) -> Refused | None:
        offset, key, value = record
        self._items, self._items_as_of = None, offset + 1
        if value is None:
            self._change(offset, _Blocking((key or b"").decode(errors="replace")))
            return None
        try:
            item = msgspec.json.decode(value, type=_Blocking)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Refused(offset, f"no item of clickahead.items: {error}")
        self._change(offset, item)
        return None

    def _change(self, offset: int, item: _Blocking) -> None:
        if item.blocked == (item.item_id in self._blocked):
            return
        (self._blocked.add if item.blocked else self._blocked.discard)(item.item_id)
        self._changes.append(_Change(offset, item.item_id, item.blocked))


def blocked_by(changes: Sequence[_Change], as_of: int) -> frozenset[str]:
    """Items that the changes below an offset leave blocked."""
    last = {change.item_id: change.blocked for change in changes if change.offset < as_of}
    return frozenset(item for item, is_blocked in last.items() if is_blocked)
