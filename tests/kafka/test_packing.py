"""Batches hold what was packed, in order, and none is larger than the brokers take."""

from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.packing import OVERSIZED, pack

BATCH_BYTES, RECORD_LIMIT = 4_000, 6_000

contents = st.binary(max_size=60) | st.integers(1, 9_000).map(bytes)
records = st.lists(st.tuples(st.none() | contents, st.none() | contents), max_size=40)


def create() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, 0, is_transactional=True)


def unpacked(batch: BatchBuilder) -> list[Any]:
    return list(DefaultRecordBatch(bytes(batch._build())))


@given(records)
def test_records_come_out_in_order_and_a_stub_stands_for_what_is_too_large(
    given_records: list[tuple[bytes | None, bytes | None]],
) -> None:
    headers = [("latency", b"{}")]
    packed = pack(create, "topic", given_records, 7, RECORD_LIMIT, headers, BATCH_BYTES)
    found = [row for batch in packed.batches for row in unpacked(batch)]
    assert packed.records == len(found) == len(given_records)
    stubs = 0
    for row, (key, value) in zip(found, given_records, strict=True):
        assert row.timestamp == 7
        if (row.key, row.value) == (key, value) and list(row.headers) == headers:
            continue
        stubs += 1
        assert len(key or b"") + len(value or b"") > RECORD_LIMIT - 1024
        assert row.value is None
        assert (key or b"").startswith(row.key)
        name, size = row.headers[-1]
        assert name == OVERSIZED
        assert int(size) > RECORD_LIMIT
    assert stubs == packed.oversized


@given(records)
def test_a_batch_is_over_its_size_only_for_a_single_record(
    given_records: list[tuple[bytes | None, bytes | None]],
) -> None:
    packed = pack(create, "topic", given_records, 7, RECORD_LIMIT, [], BATCH_BYTES)
    for batch in packed.batches:
        assert batch.closed()
        assert batch.size() <= BATCH_BYTES or batch.record_count() == 1
        assert batch.size() <= RECORD_LIMIT + 100


def test_nothing_makes_no_batch() -> None:
    assert pack(create, "topic", [], 7, RECORD_LIMIT, [], BATCH_BYTES).batches == []
