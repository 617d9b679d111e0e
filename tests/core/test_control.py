"""Orders folded in pieces are orders folded at once, and a compacted topic orders the same."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.control import (
    Items,
    Orders,
    Refused,
    apply,
    apply_item,
    fold,
    key_of,
    route_of,
)
from stream_app.core.events import Control, Item
from stream_app.core.privacy import pseudonymiser

PSEUDONYM = pseudonymiser(b"0123456789abcdef")
VERSIONS = ["a-1", "b-2", "c-3"]
Value = bytes | None


def order(what: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"order": what} | fields)


ORDERS: st.SearchStrategy[Value] = st.one_of(
    st.sampled_from(VERSIONS).map(lambda v: order("promote", model=v)),
    st.sampled_from(VERSIONS).map(lambda v: order("roll_back", model=v)),
    st.just(order("roll_back")),
    st.sampled_from([*VERSIONS, None]).map(lambda v: order("shadow", model=v)),
    st.integers(0, 3).map(lambda n: order("erase_user", user_id=f"u{n}")),
    st.integers(0, 3).map(lambda n: order("block_item", item_id=f"i{n}")),
    st.integers(0, 3).map(lambda n: order("unblock_item", item_id=f"i{n}")),
    st.sampled_from([None, b"", b"\xff", b"{}", order("dance"), order("promote")]),
    st.binary(max_size=20),
)


@given(values=st.lists(ORDERS, max_size=30), cut=st.integers(0, 30))
def test_orders_folded_in_pieces_are_orders_folded_at_once(values: list[Value], cut: int) -> None:
    whole, refused = fold(Orders(), enumerate(values), PSEUDONYM)
    first, refused_first = fold(Orders(), [*enumerate(values)][:cut], PSEUDONYM)
    both, refused_then = fold(first, [*enumerate(values)][cut:], PSEUDONYM)
    assert (both, refused_first + refused_then) == (whole, refused)
    assert whole.as_of == len(values)
    assert all(offset < whole.as_of for offset, _ in whole.erasures)


@given(values=st.lists(ORDERS.filter(lambda v: v != order("roll_back")), max_size=30))
def test_what_compaction_leaves_orders_the_same(values: list[Value]) -> None:
    whole, _ = fold(Orders(), enumerate(values), PSEUDONYM)
    newest: dict[bytes, tuple[int, Value]] = {}
    for offset, value in enumerate(values):
        if not isinstance(apply(Orders(), offset, value, PSEUDONYM), Refused) and value:
            newest[key_of(msgspec.json.decode(value, type=Control), PSEUDONYM)] = offset, value
    left, _ = fold(Orders(), sorted(newest.values()), PSEUDONYM)
    assert left.promoted[-1] == whole.promoted[-1]
    assert (left.shadow, left.blocked) == (whole.shadow, whole.blocked)
    assert {user for _, user in left.erasures} == {user for _, user in whole.erasures}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{", "no order of clickahead.control"),
        (b"\xff\xfe", "no order of clickahead.control"),
        (order("dance"), "no order of clickahead.control"),
        (order("promote"), "promote needs a model"),
        (order("roll_back"), "no model before the present one"),
        (order("erase_user"), "needs a user_id"),
        (order("erase_user", user="zz"), "needs a user_id"),
        (order("erase_user", user="00" * 15), "needs a user_id"),
        (order("block_item"), "block_item needs an item_id"),
        (order("unblock_item"), "unblock_item needs an item_id"),
    ],
)
def test_what_is_no_order_is_refused_with_a_reason(value: bytes, why: str) -> None:
    refused = apply(Orders(), 7, value, PSEUDONYM)
    assert isinstance(refused, Refused)
    assert refused.offset == 7
    assert why in refused.detail
    assert fold(Orders(), [(7, value)], PSEUDONYM) == (Orders(as_of=8), [refused])


def test_a_user_is_erased_by_id_or_by_pseudonym() -> None:
    pseudonym = PSEUDONYM("u1")
    by_id, _ = fold(Orders(), [(3, order("erase_user", user_id="u1"))], PSEUDONYM)
    by_hash, _ = fold(Orders(), [(3, order("erase_user", user=pseudonym.hex()))], PSEUDONYM)
    assert by_id == by_hash == Orders(as_of=4, erasures=((3, pseudonym),))


def test_rolling_back_returns_to_what_was_before() -> None:
    values = [order("promote", model="b-2"), order("promote", model="c-3"), order("roll_back")]
    orders, _ = fold(Orders(), enumerate(values), PSEUDONYM)
    assert orders.promoted == (None, "b-2")
    orders, _ = fold(orders, [(3, order("roll_back"))], PSEUDONYM)
    assert orders.promoted == (None,)
    named, _ = fold(Orders(), [(9, order("roll_back", model="b-2"))], PSEUDONYM)
    assert named.promoted[-1] == "b-2"


def test_the_newest_promoted_model_that_is_there_answers() -> None:
    orders = Orders(promoted=(None, "b-2", "c-3"), shadow="d-4", as_of=5)
    route, missing = route_of(orders, Items(), "a-1", {"a-1", "b-2"})
    assert (route.live, route.shadow, missing) == ("b-2", None, ["c-3", "d-4"])
    route, missing = route_of(orders, Items(), "a-1", {"b-2", "c-3", "d-4"})
    assert (route.live, route.shadow, missing) == ("c-3", "d-4", [])
    route, missing = route_of(orders, Items(), "a-1", ())
    assert (route.live, missing) == ("a-1", ["c-3", "b-2", "d-4"])
    route, _ = route_of(Orders(shadow="a-1"), Items(), "a-1", ())
    assert route.shadow is None  # beside itself a model shows nothing


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([True, False, None, "rubbish"])), max_size=30
    )
)
def test_a_catalogue_blocks_what_its_newest_records_say(
    changes: list[tuple[int, bool | str | None]],
) -> None:
    items, told = Items(), set[str]()
    for offset, (number, change) in enumerate(changes):
        item_id = f"i{number}"
        value: Value = None
        if change == "rubbish":
            value = b"\xffrubbish"
        elif isinstance(change, bool):
            value = msgspec.json.encode(Item(item_id=item_id, blocked=change))
        items = apply_item(items, offset, item_id.encode(), value)
        if change is True:
            told.add(item_id)
        elif change != "rubbish":
            told.discard(item_id)
    assert items == Items(len(changes), frozenset(told))


def test_an_item_is_blocked_while_either_topic_says_so() -> None:
    route, _ = route_of(
        Orders(blocked=frozenset("x")), Items(3, frozenset("y")), "a-1", (), degraded=2
    )
    assert route.blocked == frozenset("xy")
    assert (route.items_as_of, route.degraded) == (3, 2)
