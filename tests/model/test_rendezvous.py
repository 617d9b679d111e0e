"""The living meet under a word that no dead process knew."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store

from model.rendezvous import met


def hash_store() -> Store:
    store: Store = distributed.HashStore()
    store.set_timeout(timedelta(seconds=20))
    return store


def life(store: Store, number: int, ranks: list[int], size: int) -> list[bytes]:
    """What the processes, that come in this order, read of the first one's under their part."""

    def process(rank: int) -> bytes:
        part = met(store, rank, size, f"life-{number}-{rank}", 20.0)
        if rank == 0:
            part.set("address", f"address-{number}")
        return part.get("address")

    with ThreadPoolExecutor(size) as pool:
        return [*pool.map(process, ranks)]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4).flatmap(lambda n: st.permutations(range(n))), max_size=3))
def test_each_life_reads_its_own_first_process(orders: list[list[int]]) -> None:
    store = hash_store()
    for number, ranks in enumerate(orders):
        assert life(store, number, ranks, len(ranks)) == [f"address-{number}".encode()] * len(ranks)


def test_a_life_that_broke_off_while_it_met_is_forgotten() -> None:
    store = hash_store()
    with pytest.raises(TimeoutError):
        met(store, 1, 3, "dead-1", 0.0)
    with pytest.raises(TimeoutError):
        met(store, 0, 3, "dead-0", 0.1)
    assert store.get("answer/1") == b"dead-1 dead-0"
    assert life(store, 2, [0, 1, 2], 3) == [b"address-2"] * 3


@pytest.mark.parametrize(("rank", "missing"), [(0, "process 1, 2 of"), (2, "the first process of")])
def test_who_does_not_come_is_told(rank: int, missing: str) -> None:
    seconds = count()
    with pytest.raises(TimeoutError, match=f"{missing} the team did not come"):
        met(hash_store(), rank, 3, "word", 3.0, lambda: float(next(seconds)))


def test_one_alone_waits_for_nobody() -> None:
    store = hash_store()
    part = met(store, 0, 1, "word", 0.0)
    part.set("key", "value")
    assert PrefixStore("word", store).get("key") == b"value"
