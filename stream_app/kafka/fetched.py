"""What a fetch brought of a partition, taken a record batch at a time.

aiokafka's own way resumes a generator for each record and copies it into a ConsumerRecord, which
has the same fields and some that nobody asks for: several times the work of reading it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException


class Run(NamedTuple):
    """The records of one batch that are to be read, and the offset behind the batch."""

    rows: list[Any]  # aiokafka's DefaultRecord: offset, timestamp, key, value, headers
    end: int


class Fetches(OrderedDict[TopicPartition, Any]):
    """aiokafka's fetches by partition, which nobody has taken yet, each read by `Taking`."""

    def __setitem__(self, tp: TopicPartition, fetched: Any) -> None:
        # A failed fetch stands here too, and has no records.
        if getattr(fetched, "_partition_records", None) is not None:
            fetched.getall = Taking(fetched).getall
        super().__setitem__(tp, fetched)


class Taking:
    """``getall`` of an aiokafka `FetchResult`."""

    def __init__(self, fetched: Any) -> None:
        self._fetched = fetched
        self._runs = runs(fetched._partition_records)
        self._rest: list[Any] = []
        self._end: int = fetched._partition_records.next_fetch_offset

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records, all of them without a limit; none once the partition is not read any
        more, or from elsewhere. Raises CorruptRecordException at a batch that is broken; those
        before it come with the next call.
        """
        fetched, rows = self._fetched, self._rest
        tp, records = fetched._topic_partition, fetched._partition_records
        if records is None or not fetched.check_assignment(tp):
            return []
        is_whole = False
        while not is_whole and (max_records is None or len(rows) < max_records):
            run = next(self._runs, None)
            is_whole = run is None
            if run is not None:
                rows += run.rows
                self._end = run.end
        self._rest = [] if max_records is None else rows[max_records:]
        if self._rest:
            del rows[max_records:]
        records.next_fetch_offset = rows[-1].offset + 1 if self._rest else self._end
        fetched._update_position()
        if is_whole and not self._rest:
            fetched._partition_records = None
        return rows


def runs(records: Any) -> Iterator[Run]:
    """The batches of aiokafka's `PartitionRecords` from the fetched offset on; markers, and what a
    reader of committed records must not see, as runs without rows.

    The last offset of a batch outlives its compaction, so the position behind it is never one that
    brings the same batch again.
    """
    first: int = records.next_fetch_offset
    batches = records._records
    while batches.has_next():
        batch = batches.next_batch()
        if records._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {records._tp}")
        is_hidden = _is_aborted(records, batch) or batch.is_control_batch
        rows = [] if is_hidden else list(batch)
        if rows and rows[0].offset < first:
            rows = [row for row in rows if row.offset >= first]
        yield Run(rows, batch.next_offset)


def _is_aborted(records: Any, batch: Any) -> bool:
    """Whether a batch belongs to a transaction that a reader of committed records passes over;
    every batch has to be shown, for where such a transaction ends is told by its marker."""
    if records._isolation_level != READ_COMMITTED or batch.producer_id is None:
        return False
    records._consume_aborted_up_to(batch.base_offset)
    aborted = records._aborted_producers
    if batch.is_control_batch and records._contains_abort_marker(batch):
        aborted.discard(batch.producer_id)
    return bool(batch.is_transactional) and batch.producer_id in aborted
