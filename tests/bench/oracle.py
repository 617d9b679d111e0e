"""What the outputs have to be: the replay of the same clicks, and how a lap's outputs compare."""

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np

from model.engine import open_engine
from stream_app.core.config import CoreConfig
from stream_app.partitioning import partition_of
from stream_app.replay import InputRecord, Replay
from stream_app.settings import load
from tests.bench.course import Course
from tests.bench.race import PARTITIONS, Lap

BATCH = 8_192  # over all partitions: about as many a partition as a worker takes at once
TOLERANCE = 5e-3
"""Of probabilities: ours keep six decimals, come from half-precision memories, whose last digit
depends on the order in which a runtime adds, and their normaliser may be an estimate."""
MIN_SHARED = 0.99
"""Of the best 20, on average: items of nearly the same probability change places."""


class Truth(NamedTuple):
    topic: str
    predictions: Mapping[str, bytes]  # by event id, in the order of the clicks
    anomalies: Mapping[int, list[tuple[int, bytes]]]  # by partition, with the click behind each
    core_us: float
    """CPU per event of the whole core, engine included."""


class Agreement(NamedTuple):
    """A peer's predictions beside ours."""

    compared: int
    shared_items: float  # of the best 20, on average
    worst_probability: float  # distance, of shared items and of actions

    @property
    def holds(self) -> bool:
        return self.shared_items >= MIN_SHARED and self.worst_probability <= TOLERANCE


def core_config() -> CoreConfig:
    """As a worker has it that nobody told anything."""
    return load(None, {}).core_config()


def truth_of(course: Course, events: int, topic: str = "bench-xxxxxxxx.events") -> Truth:
    """The replay of the course's first clicks."""
    replay = Replay(topic, open_engine(course.model), core_config())
    offsets, records = [0] * PARTITIONS, []
    for key, value in course.clicks[:events]:
        partition = partition_of(key, PARTITIONS)
        records.append(InputRecord(partition, offsets[partition], -1, key, value))
        offsets[partition] += 1
    predictions: dict[str, bytes] = {}
    anomalies: dict[int, list[tuple[int, bytes]]] = {number: [] for number in range(PARTITIONS)}
    seconds = 0.0
    for start in range(0, len(records), BATCH):
        part = records[start : start + BATCH]
        begun = time.process_time()
        outputs = replay.feed(part)
        seconds += time.process_time() - begun
        for row, _, value in outputs["predictions"]:
            predictions[msgspec.json.decode(part[row].value, type=_Named).event_id] = value
        for row, _, value in outputs["anomalies"]:
            anomalies[part[row].partition].append((start + row, value))
    return Truth(topic, predictions, anomalies, seconds / events * 1e6)


class _Named(msgspec.Struct):
    event_id: str


def differences(lap: Lap, truth: Truth) -> list[str]:
    """Where our outputs are not the replay's bytes; nothing where they are."""
    mine, topic = lap.topic.encode(), truth.topic.encode()
    clicks = len(lap.predictions)
    wanted = dict(islice(truth.predictions.items(), clicks))
    wrong = [
        name
        for name, value in wanted.items()
        if lap.predictions.get(name, b"").replace(mine, topic) != value
    ]
    found = []
    if wrong or clicks > len(wanted):
        found.append(f"{len(wrong)} of {clicks} predictions are not the replay's: {wrong[:1]}")
    for partition, values in lap.anomalies.items():
        due = [value for click, value in truth.anomalies[partition] if click < clicks]
        if not _same_anomalies(values, due, mine, topic):
            found.append(f"anomalies of partition {partition} are not the replay's")
    return found


def _same_anomalies(values: list[bytes], wanted: list[bytes], mine: bytes, topic: bytes) -> bool:
    # Alert ids are hashes over the topic's name.
    def without_id(value: bytes, name: bytes) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(value.replace(name, topic))
        del found["alert_id"]
        return found

    return [without_id(v, mine) for v in values] == [without_id(v, topic) for v in wanted]


class _Ranked(msgspec.Struct):
    item_id: str
    probability: float


class _Answer(msgspec.Struct):
    items: list[_Ranked]
    actions: dict[str, float]


def agreement(lap: Lap, truth: Truth) -> Agreement:
    """Every prediction of a peer beside the replay's."""
    shared, worst = [], 0.0
    for name, value in lap.predictions.items():
        mine = msgspec.json.decode(truth.predictions[name], type=_Answer)
        theirs = msgspec.json.decode(value, type=_Answer)
        known = {item.item_id: item.probability for item in mine.items}
        both = [item for item in theirs.items if item.item_id in known]
        shared.append(len(both) / max(len(known), len(theirs.items)))
        worst = max(
            worst,
            *(abs(item.probability - known[item.item_id]) for item in both),
            *(abs(share - theirs.actions[action]) for action, share in mine.actions.items()),
        )
    return Agreement(len(shared), float(np.mean(shared)), worst)
