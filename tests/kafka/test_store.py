"""The only copy of the state, and what Faust may do with it."""

import asyncio
from typing import Any

import pytest
from faust.types import TP

from stream_app.app import create_application
from stream_app.kafka.observer import Unobserved
from stream_app.kafka.store import Anchor, BatchStore, Partitions
from tests.kafka.counting import CORE, CountingStore, config


def store() -> BatchStore:
    app = create_application(config("nowhere:1", "a", partitions=4), CORE, Unobserved())
    data: Any = app.tables["state"].data
    return data  # type: ignore[no-any-return]


def changelog(*partitions: int) -> set[TP]:
    return {TP("a-state-changelog", partition) for partition in partitions}


def test_the_table_is_fausts_own_with_its_changelog_and_our_storage() -> None:
    data = store()
    assert isinstance(data, BatchStore)
    assert data.table.changelog_topic.get_topic_name() == "a-state-changelog"
    assert data.persisted_offset(TP("a-state-changelog", 0)) is None


def test_a_partition_that_goes_takes_its_state_along() -> None:
    data = store()
    for partition in (0, 1, 2):
        data.partitions.fresh(partition)
    data.partitions.leave(1, Anchor(50, 0))
    asyncio.run(data.on_rebalance(changelog(1, 3), changelog(0, 2), changelog(3)))
    assert list(data.partitions.stores) == [1]
    assert data.partitions.true_to(1) == 50


def test_nobody_writes_by_key_past_the_micro_batches() -> None:
    data = store()
    attempts = [
        lambda: data.__setitem__(b"k", b"v"),
        lambda: data.__getitem__(b"k"),
        lambda: data.__delitem__(b"k"),
        lambda: list(data),
        data.clear,
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match="partition by partition"):
            attempt()


def test_a_fresh_store_is_true_to_nothing() -> None:
    partitions = Partitions(CountingStore)
    first = partitions.fresh(0)
    partitions.read_to(0, 10)
    assert partitions.true_to(0) == 10
    assert 0 not in partitions.anchors
    assert partitions.fresh(0) is not first
    assert partitions.true_to(0) is None
    partitions.leave(0, Anchor(20, 7))
    assert (partitions.true_to(0), partitions.anchors) == (20, {0: Anchor(20, 7)})
    partitions.forget(0)
    assert 0 not in partitions.anchors
    assert partitions.true_to(0) is None
    assert 0 not in partitions.stores
