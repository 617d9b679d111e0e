"""The ledger agrees with the core's folds at every offset, whatever bytes it is given."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.control import Items, Orders, apply_item, fold
from stream_app.core.privacy import pseudonymiser
from stream_app.kafka.side_inputs import SideRecord
from stream_app.orders import CONTROL, ITEMS, MAX_ORDER_BYTES, Ledger

PSEUDONYM = pseudonymiser(b"0123456789abcdef")
IDS = st.integers(0, 4).map(lambda n: f"i{n}")


def order(name: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"order": name, **fields})


ORDERS = st.one_of(
    st.builds(lambda i: order("block_item", item_id=i), IDS),
    st.builds(lambda i: order("unblock_item", item_id=i), IDS),
    st.builds(lambda n: order("promote", model=f"m-{n}"), st.integers(0, 3)),
    st.builds(lambda n: order("erase_user", user_id=f"u{n}"), st.integers(0, 3)),
    st.sampled_from([order("roll_back"), order("shadow", model="m-1"), order("dance"), None]),
    st.binary(max_size=30),
)
CATALOGUE = st.tuples(
    IDS,
    st.one_of(
        st.none(),
        st.binary(max_size=20),
        st.booleans(),
    ),
)


def record_of(offset: int, item_id: str, content: bytes | bool | None) -> SideRecord:
    if isinstance(content, bool):
        vector = [0.5] * 8
        content = msgspec.json.encode(
            {"item_id": item_id, "blocked": content, "text_vector": vector}
        )
    return SideRecord(offset, item_id.encode(), content)


@given(
    values=st.lists(ORDERS, max_size=20),
    catalogue=st.lists(CATALOGUE, max_size=20),
    cut=st.integers(0, 20),
    past=st.tuples(st.integers(0, 25), st.integers(0, 25)),
)
def test_at_any_offset_the_ledger_says_what_the_folds_of_the_core_say(
    values: list[bytes | None],
    catalogue: list[tuple[str, bytes | bool | None]],
    cut: int,
    past: tuple[int, int],
) -> None:
    ledger = Ledger(PSEUDONYM)
    orders = [SideRecord(offset, b"k", value) for offset, value in enumerate(values)]
    items = [record_of(offset, *one) for offset, one in enumerate(catalogue)]
    refused = ledger.take(CONTROL, orders[:cut]) + ledger.take(CONTROL, orders[cut:])
    ledger.take(ITEMS, items[:cut])
    ledger.take(ITEMS, items[cut:])
    assert (ledger.orders, refused) == fold(Orders(), enumerate(values), PSEUDONYM)

    def items_at(as_of: int) -> Items:
        folded = Items()
        for record in items[:as_of]:
            folded = apply_item(folded, *record)
        return folded

    assert ledger.items == items_at(len(items))
    then, _ = fold(Orders(), enumerate(values[: past[0]]), PSEUDONYM)
    assert ledger.at(*past) == (then.blocked | items_at(past[1]).blocked, then.erasures)


def test_a_record_beyond_all_measure_is_refused_unread() -> None:
    ledger = Ledger(PSEUDONYM)
    bomb = order("block_item", item_id="x" * MAX_ORDER_BYTES)
    (refused,) = ledger.take(CONTROL, [SideRecord(3, b"k", bomb)])
    assert refused.offset == 3
    assert ledger.orders == Orders(as_of=4)


def test_an_item_that_is_none_is_refused() -> None:
    (refused,) = Ledger(PSEUDONYM).take(ITEMS, [SideRecord(0, b"k", b"\xff")])
    assert "no item of clickahead.items" in refused.detail
