from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from stream_app.partitioning import partition_of, partitions_of

theirs = DefaultPartitioner()


@given(st.binary(max_size=40), st.integers(1, 300))
def test_a_key_goes_where_the_client_library_sends_it(key: bytes, partitions: int) -> None:
    everywhere = list(range(partitions))
    assert partition_of(key, partitions) == theirs(key, everywhere, everywhere)


@given(st.lists(st.none() | st.binary(max_size=20), max_size=50), st.integers(1, 300))
def test_many_keys_at_once_go_where_each_of_them_goes(
    keys: list[bytes | None], partitions: int
) -> None:
    found = partitions_of(keys, partitions)
    assert found.tolist() == [partition_of(key, partitions) for key in keys]


@given(st.integers(1, 300))
def test_a_record_without_a_key_has_a_place_of_its_own(partitions: int) -> None:
    assert partition_of(None, partitions) == 0
