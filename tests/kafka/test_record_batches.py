"""Batches from columns are, byte for byte, those that aiokafka builds record by record."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.batch import PackedRecords
from stream_app.core.c_library import address
from stream_app.kafka.packing import FEW, Packed, pack
from stream_app.kafka.record_batches import (
    ColumnBatch,
    Columns,
    KeyValue,
    attributes_of,
    compiled_form,
)
from stream_app.kafka.shell_config import BATCH_BYTES

FORM = compiled_form()
LAW = settings(deadline=None)
HEADERS = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=200)), max_size=3)
CONTENTS = st.binary(max_size=60) | st.integers(1, 9_000).map(bytes)
RECORDS: st.SearchStrategy[list[KeyValue]] = st.lists(
    st.tuples(st.none() | CONTENTS, st.none() | CONTENTS), min_size=1, max_size=90
)


def aiokafkas(
    records: Sequence[KeyValue], headers: list[tuple[str, bytes]], limit: int, is_transactional: int
) -> list[Any]:
    batches: list[Any] = []
    for key, value in records:
        about = {"timestamp": 1_700_000_000_123, "key": key, "value": value, "headers": headers}
        if not batches or batches[-1].append(**about) is None:
            batches.append(BatchBuilder(limit, 0, is_transactional=is_transactional))
            batches[-1].append(**about)
    return batches


def bytes_of(batches: Sequence[Any]) -> list[tuple[int, bytes]]:
    for number, batch in enumerate(batches):
        batch._set_producer_state(1 << 40, 7, 100 * number)
    return [(batch.record_count(), bytes(batch._build())) for batch in batches]


@LAW
@given(
    records=RECORDS, headers=HEADERS, limit=st.integers(200, 20_000), transactional=st.booleans()
)
def test_batches_are_aiokafkas_to_the_byte(
    records: list[KeyValue], headers: list[tuple[str, bytes]], limit: int, transactional: bool
) -> None:
    assert FORM is not None
    attributes = attributes_of(BatchBuilder(limit, 0, is_transactional=int(transactional)))
    assert attributes is not None
    about = (headers, 1_700_000_000_123, limit, attributes)
    made = FORM.batches(Columns.of(records), *about)
    assert bytes_of(made) == bytes_of(aiokafkas(records, headers, limit, int(transactional)))
    assert all(batch.closed() and batch.append() is None for batch in made)


def packed_records(count: int) -> PackedRecords:
    values = [b"v%d" % n * (n % 7) for n in range(count)]
    keys = np.frombuffer(b"".join(b"%032d" % n for n in range(count)), np.uint8).reshape(-1, 32)
    ends = np.cumsum([len(value) for value in values])
    return PackedRecords(np.arange(count), keys, np.frombuffer(b"".join(values), np.uint8), ends)


@pytest.mark.parametrize("count", [1, FEW - 1, FEW, 1000])
def test_packed_records_become_the_batches_of_their_records(count: int) -> None:
    records = packed_records(count)
    plain = [(key, value) for _, key, value in records]

    def packed(given_records: Sequence[KeyValue] | PackedRecords) -> Packed:
        return pack(lambda: BatchBuilder(BATCH_BYTES, 0), "t", given_records, 7, 1 << 20, [])

    one, other = packed(records), packed(plain)
    assert bytes_of(one.batches) == bytes_of(other.batches)
    assert one[2:] == other[2:]
    assert isinstance(one.batches[0], ColumnBatch) == (count >= FEW)


def test_a_compressed_topic_is_left_to_aiokafka() -> None:
    assert attributes_of(BatchBuilder(BATCH_BYTES, 1)) is None
    made = pack(lambda: BatchBuilder(BATCH_BYTES, 1), "t", packed_records(90), 7, 1 << 20, [])
    assert [type(batch) for batch in made.batches] == [BatchBuilder]


@LAW
@given(st.binary(max_size=200), st.integers(0, 20_000), st.integers(0, 2**32))
def test_both_checksums_are_crc32c(begin: bytes, length: int, seed: int) -> None:
    """Long contents are summed in stretches."""
    assert FORM is not None
    content = begin + np.random.default_rng(seed).bytes(length)
    held = np.frombuffer(content, np.uint8)
    for plainly in (0, 1):
        assert FORM.crc32c(address(held), len(held), plainly) == calc_crc32c(content)
