"""A lap's outputs pass where they are the replay's, and only there."""

import msgspec
import pytest

from model.engine import open_engine
from stream_app.partitioning import partition_of
from stream_app.replay import InputRecord, Replay
from tests.bench.course import Click, Course
from tests.bench.oracle import agreement, core_config, differences, truth_of
from tests.bench.race import PARTITIONS, Lap
from tests.tiny_model import tiny_spec, write_tiny_model

CLICKS = 300


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    model = write_tiny_model(tmp_path_factory.mktemp("model"), tiny_spec())
    clicks = []
    for number in range(CLICKS):
        user = f"u{number * 7 % 13}"
        click = {
            "event_id": f"e{number}",
            "user_id": user,
            "item_id": f"i{number * 11 % 30}",
            "event_type": "view",
            "timestamp": 1_700_000_000_000 + 5_000 * number,
        }
        clicks.append(Click(user.encode(), msgspec.json.encode(click)))
    return Course(model, model, clicks)


@pytest.fixture(scope="module")
def lap(course: Course) -> Lap:
    """The outputs of a worker that reads another topic, one click at a time."""
    replay = Replay("other.topic", open_engine(course.model), core_config())
    offsets = [0] * PARTITIONS
    predictions: dict[str, bytes] = {}
    anomalies: dict[int, list[bytes]] = {number: [] for number in range(PARTITIONS)}
    for number, (key, value) in enumerate(course.clicks):
        partition = partition_of(key, PARTITIONS)
        found = replay.feed([InputRecord(partition, offsets[partition], -1, key, value)])
        offsets[partition] += 1
        predictions |= {f"e{number}": record.value for record in found["predictions"]}
        anomalies[partition] += [record.value for record in found["anomalies"]]
    return Lap("worker", CLICKS, 0, 0, 0, 0, 0, "other.topic", predictions, anomalies)


def test_what_the_replay_gives_passes(course: Course, lap: Lap) -> None:
    truth = truth_of(course, CLICKS)
    assert differences(lap, truth) == []
    found = agreement(lap, truth)
    assert (found.compared, found.shared_items, found.worst_probability) == (CLICKS, 1.0, 0.0)
    assert found.holds


def test_a_byte_too_many_or_a_prediction_too_few_is_told(course: Course, lap: Lap) -> None:
    truth = truth_of(course, CLICKS)
    changed = dict(lap.predictions)
    changed["e5"] = changed["e5"].replace(b'"revision":0', b'"revision":1')
    assert differences(lap._replace(predictions=changed), truth)
    del changed["e5"]
    assert differences(lap._replace(predictions=changed), truth)
    assert differences(lap._replace(anomalies={0: [b'{"alert_id":"a"}']}), truth)


def test_other_items_or_probabilities_are_no_agreement(course: Course, lap: Lap) -> None:
    truth = truth_of(course, CLICKS)

    def answered(name: str, value: object) -> Lap:
        changed = {
            key: msgspec.json.encode(msgspec.json.decode(one) | {name: value})
            for key, one in lap.predictions.items()
        }
        return lap._replace(predictions=changed)

    assert not agreement(answered("items", []), truth).holds
    actions = msgspec.json.decode(lap.predictions["e0"])["actions"]
    assert not agreement(answered("actions", dict.fromkeys(actions, 0.9)), truth).holds
