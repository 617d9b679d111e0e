"""Laws of the replay: the same as a worker, whatever the chunks, on any number of partitions."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import Record
from stream_app.core.config import CoreConfig
from stream_app.core.events import REASONS, Prediction, RejectedRecord
from stream_app.files import FileEvent
from stream_app.partitioning import partition_of
from stream_app.replay import OUTPUTS, InputRecord, Replay, from_files, write_replay
from tests.core.streams import CONFIG, KEY, START_MS, TOPIC, flows, hostile, records

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Outputs = dict[str, list[Record]]


@st.composite
def inputs(draw: st.DrawFn) -> list[InputRecord]:
    """Records of a file on three partitions."""
    values = draw(st.one_of(flows(), st.lists(records(), max_size=60)))
    events = [FileEvent(key_of(value), value or b"") for value in values]
    return [*from_files(events, 3)]


def key_of(value: bytes | None) -> bytes | None:
    try:
        return str(json.loads(value or b"")["user_id"]).encode()
    except (ValueError, KeyError, TypeError):
        return None


def fed(replay: Replay, rows: list[InputRecord], cuts: list[int]) -> Outputs:
    """Outputs of rows that are fed in chunks, ``row`` counting from the first chunk on."""
    found: Outputs = {name: [] for name in OUTPUTS}
    for start, end in pairwise([0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]):
        for name, kept in replay.feed(rows[start:end]).items():
            found[name] += [record._replace(row=record.row + start) for record in kept]
    return found


@RELAXED
@given(rows=inputs(), cuts=st.lists(st.integers(0, 80), max_size=6))
def test_chunks_change_nothing_and_nothing_is_lost(
    rows: list[InputRecord], cuts: list[int], tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    whole, cut = Replay(TOPIC, engine, CONFIG), Replay(TOPIC, engine, CONFIG)
    found = fed(whole, rows, [])
    assert fed(cut, rows, cuts) == found
    assert whole.totals == cut.totals
    assert whole.totals.records == len(rows)
    assert whole.totals.is_conserved


@RELAXED
@given(rows=inputs())
def test_outputs_come_in_input_order_and_name_their_record(
    rows: list[InputRecord], tiny_engine_with: Make
) -> None:
    found = fed(Replay(TOPIC, tiny_engine_with(), CONFIG), rows, [])
    for records_ in found.values():
        assert [record.row for record in records_] == sorted(record.row for record in records_)
    for record in found["predictions"]:
        prediction = msgspec.json.decode(record.value, type=Prediction)
        if (
            prediction.revision
        ):  # names the user's newest event, and comes with the one that was late
            continue
        source = prediction.source
        row = rows[record.row]
        assert (source.topic, source.partition, source.offset) == (TOPIC, row.partition, row.offset)
    for record in found["rejected"]:
        letter = msgspec.json.decode(record.value, type=RejectedRecord)
        row = rows[record.row]
        assert (letter.partition, letter.offset, letter.value) == (
            row.partition,
            row.offset,
            row.value,
        )


@RELAXED
@given(rows=inputs())
def test_a_partition_does_not_know_of_the_others(
    rows: list[InputRecord], tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    together = fed(Replay(TOPIC, engine, CONFIG), rows, [])
    for partition in range(3):
        places = [place for place, row in enumerate(rows) if row.partition == partition]
        alone = fed(Replay(TOPIC, engine, CONFIG), [rows[place] for place in places], [])
        for name in OUTPUTS:
            expected = [record for record in together[name] if record.row in set(places)]
            found = [record._replace(row=places[record.row]) for record in alone[name]]
            assert found == expected


@RELAXED
@given(rows=inputs())
def test_closing_is_what_the_next_day_would_do(
    rows: list[InputRecord], tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    replay, next_day = Replay(TOPIC, engine, CONFIG), Replay(TOPIC, engine, CONFIG)
    fed(replay, rows, [])
    fed(next_day, rows, [])
    beats = []
    for partition, store in sorted(next_day.stores.items()):
        if store.users:
            at_ms = store.watermark_ms + 86_400_000 - 3_600_000
            beat = json.dumps({"event_type": "_heartbeat", "timestamp": at_ms}).encode()
            beats.append(InputRecord(partition, store.next_offset, -1, None, beat))
    assert replay.close() == next_day.feed(beats)
    assert replay.totals.closed_sessions == next_day.totals.closed_sessions
    for store in replay.stores.values():
        rows_ = store.occupied()
        assert not store.columns["session_open"][rows_].any()
        assert not (store.columns["alert_offset"][rows_] >= 0).any()
    closed = replay.totals.closed_sessions
    assert replay.close() == {name: [] for name in OUTPUTS}
    assert replay.totals.closed_sessions == closed
    assert replay.totals.is_conserved


@RELAXED
@given(keys=st.lists(st.none() | st.binary(max_size=6), max_size=40), partitions=st.integers(1, 9))
def test_file_events_lie_where_a_producer_puts_them(
    keys: list[bytes | None], partitions: int
) -> None:
    events = [FileEvent(key, str(n).encode(), n) for n, key in enumerate(keys)]
    rows = [*from_files(events, partitions)]
    assert [(row.key, row.value, row.received_ms) for row in rows] == events
    assert [row.partition for row in rows] == [partition_of(key, partitions) for key in keys]
    for partition in range(partitions):
        offsets = [row.offset for row in rows if row.partition == partition]
        assert offsets == [*range(len(offsets))]


# --- records at the places that a dump names


def click(at_ms: int, user: str = "u", **fields: Any) -> bytes:
    return msgspec.json.encode({"user_id": user, "timestamp": at_ms} | fields)


def test_a_dump_keeps_its_places_arrivals_and_headers(tiny_engine_with: Make) -> None:
    rows = [
        InputRecord(7, 100, START_MS, b"u", click(START_MS)),
        InputRecord(2, 5, START_MS, b"v", click(START_MS + 60_001, "v"), (("h", b"1"),)),
        InputRecord(7, 103, START_MS, b"u", click(START_MS + 60_000)),  # markers lie between
    ]
    replay = Replay(TOPIC, tiny_engine_with(), CONFIG)
    found = replay.feed(rows)
    sources = [msgspec.json.decode(r.value, type=Prediction).source for r in found["predictions"]]
    assert [(source.partition, source.offset) for source in sources] == [(7, 100), (7, 103)]
    (letter,) = [msgspec.json.decode(r.value, type=RejectedRecord) for r in found["rejected"]]
    assert (letter.reason, letter.partition, letter.offset) == ("future", 2, 5)
    assert (letter.key, letter.timestamp_ms, letter.headers[0].value) == (b"v", START_MS, b"1")
    assert replay.stores[7].next_offset == 104


def test_a_record_that_was_played_already_is_refused(tiny_engine_with: Make) -> None:
    replay = Replay(TOPIC, tiny_engine_with(), CONFIG)
    replay.feed([InputRecord(0, 5, -1, None, click(START_MS))])
    with pytest.raises(ValueError, match="begins at offset 5, the state already holds everything"):
        replay.feed([InputRecord(0, 5, -1, None, click(START_MS))])


# --- files


def test_the_files_hold_every_output_once_and_appear_whole(
    tiny_engine_with: Make, tmp_path: Path
) -> None:
    engine, out = tiny_engine_with(), tmp_path / "made" / "here"
    values = [click(START_MS + n * 60_000, f"u{n % 5}") for n in range(300)] + [b"rubbish"]
    rows = [*from_files([FileEvent(None, value) for value in values], 1)]
    progress: list[int] = []
    replay = Replay(TOPIC, engine, CONFIG)
    totals = write_replay(iter(rows), replay, out, True, progress.append)
    other = Replay(TOPIC, engine, CONFIG)
    found, closing = other.feed(rows), other.close()
    for name in OUTPUTS:
        lines = [record.value for record in found[name] + closing[name]]
        assert (out / f"{name}.jsonl").read_bytes() == b"".join(line + b"\n" for line in lines)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}.jsonl" for name in OUTPUTS
    )
    assert sum(progress) == len(rows)
    assert totals.outcomes == {"predicted": 300, "rejected": 1, "duplicate": 0, "heartbeat": 1}
    assert totals.is_conserved
    assert totals.closed_sessions == 5


def test_a_replay_that_breaks_leaves_the_results_of_the_last_one(
    tiny_engine_with: Make, tmp_path: Path
) -> None:
    engine = tiny_engine_with()
    row = InputRecord(0, 0, -1, None, click(START_MS))

    def broken() -> Iterator[InputRecord]:
        yield row
        raise OSError("the disk is gone")

    write_replay([row], Replay(TOPIC, engine, CONFIG), tmp_path)
    before = {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in OUTPUTS}
    assert before["predictions"]
    with pytest.raises(OSError, match="the disk is gone"):
        write_replay(broken(), Replay(TOPIC, engine, CONFIG), tmp_path)
    assert {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in OUTPUTS} == before


# --- bad input


def without_places(records_: list[Record]) -> list[dict[str, Any]]:
    found = []
    for record in records_:
        value = json.loads(record.value)
        del value["source"]
        found.append(value)
    return found


def test_ten_thousand_hostile_messages_change_no_prediction_and_are_all_kept(
    tiny_engine_with: Make,
) -> None:
    engine = tiny_engine_with(features=("hour_sin", "burst", "share_view"))
    config = CoreConfig(pseudonym_key=KEY, alert_rate=0.4)  # its reservoir does not fill up here
    valid = [
        click(
            START_MS + n * 7_000,
            f"u{n * 31 % 50}",
            event_id=f"e{n}",
            item_id=f"i{n * n % 37}",
            event_type=("view", "cart", "purchase")[n % 3],
        )
        for n in range(2000)
    ]
    valid += valid[-10:]
    bad = hostile(10_000, 7)
    rng = np.random.default_rng(3)
    is_bad = rng.permutation(np.arange(len(valid) + len(bad)) < len(bad))
    queues = {True: iter(bad), False: iter(valid)}
    mixed = [next(queues[bool(one)]) for one in is_bad]
    rows = [InputRecord(0, offset, -1, None, value) for offset, value in enumerate(mixed)]

    alone = Replay(TOPIC, engine, config)
    expected = fed(alone, [InputRecord(0, n, -1, None, value) for n, value in enumerate(valid)], [])
    replay = Replay(TOPIC, engine, config)
    found = fed(replay, rows, [*range(0, len(rows), 1000)])

    assert without_places(found["predictions"]) == without_places(expected["predictions"])
    assert replay.totals.is_conserved
    assert replay.totals.outcomes["rejected"] == len(bad)
    assert replay.totals.outcomes["duplicate"] == alone.totals.outcomes["duplicate"] == 10
    assert {*replay.totals.reject_reasons} == {*REASONS} - {"empty", "future", "late"}
    letters = [json.loads(record.value) for record in found["rejected"]]
    for letter, value in zip(letters, bad, strict=True):
        assert b64decode(letter["value"]) == value[:65_536]
        assert letter["value_size"] == len(value)
        assert letter["value_blake2b"] == blake2b(value, digest_size=16).hexdigest()
    assert max(letter["value_size"] for letter in letters) > 1_000_000
