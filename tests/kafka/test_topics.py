"""What the topics should be, and the sentences for those that are not."""

import pytest

from stream_app.core.events import TOPICS
from stream_app.kafka.topics import (
    CONFIGS,
    DAY_MS,
    LAG,
    TopicState,
    mismatches,
    replication,
    topic_specs,
)

NAMES = {role: f"shop.{role}" for role in TOPICS}
SPECS = topic_specs(NAMES, "shop-state-changelog", 6)
GOOD = {spec.name: TopicState(spec.partitions, 1, spec.config) for spec in SPECS}


def test_every_topic_of_the_contract_is_configured() -> None:
    assert set(CONFIGS) == {*TOPICS, "changelog"}
    assert {spec.name for spec in SPECS} == {*NAMES.values(), "shop-state-changelog"}


def test_outputs_and_state_follow_the_partitions_of_the_events() -> None:
    assert {spec.role for spec in SPECS if spec.partitions != 6} == {"items", "control"}
    assert all(spec.partitions == 1 for spec in SPECS if spec.role in {"items", "control"})


def test_topics_as_created_will_do() -> None:
    assert mismatches(SPECS, GOOD) == []
    assert mismatches(SPECS, {}) == []


@pytest.mark.parametrize("role", [role for role in CONFIGS if role not in {"items", "control"}])
def test_another_number_of_partitions_is_a_sentence(role: str) -> None:
    (spec,) = (spec for spec in SPECS if spec.role == role)
    (sentence,) = mismatches(SPECS, {**GOOD, spec.name: GOOD[spec.name]._replace(partitions=5)})
    assert sentence.startswith(f"{spec.name} has 5 partitions and needs 6: ")


@pytest.mark.parametrize(
    ("role", "key", "given"),
    [
        ("events", "message.timestamp.type", "CreateTime"),
        ("rejected", "retention.ms", "-1"),
        ("rejected", "retention.ms", "604800001"),
        ("items", "cleanup.policy", "delete"),
        ("items", "min.compaction.lag.ms", "0"),
        ("control", "cleanup.policy", "compact,delete"),
        ("control", "min.compaction.lag.ms", "1000"),
        ("profiles", "cleanup.policy", "delete"),
        ("demand", "cleanup.policy", "delete"),
        ("changelog", "cleanup.policy", "delete"),
        ("changelog", "min.compaction.lag.ms", "0"),
    ],
)
def test_a_setting_that_loses_data_is_a_sentence(role: str, key: str, given: str) -> None:
    (spec,) = (spec for spec in SPECS if spec.role == role)
    state = GOOD[spec.name]._replace(config={**spec.config, key: given})
    (sentence,) = mismatches(SPECS, {**GOOD, spec.name: state})
    assert sentence.startswith(f"{spec.name} has {key}={given}: ")
    assert sentence.endswith(f"Set it to {spec.config[key]}.")


def test_a_longer_horizon_is_for_all_that_outputs_depend_on() -> None:
    longer = topic_specs(NAMES, "shop-state-changelog", 6, 2 * DAY_MS)
    changed = {old.role for old, new in zip(SPECS, longer, strict=True) if old != new}
    assert changed == {"changelog", "items", "control"}
    assert all(s.config[LAG] == str(2 * DAY_MS) for s in longer if s.role in changed)
    assert mismatches(longer, GOOD) == []  # topics that are there keep what they have


def test_stricter_settings_will_do() -> None:
    (changelog,) = (spec for spec in SPECS if spec.role == "changelog")
    later = {**changelog.config, "min.compaction.lag.ms": "172800000"}
    assert mismatches(SPECS, {changelog.name: GOOD[changelog.name]._replace(config=later)}) == []


@pytest.mark.parametrize(
    ("brokers", "wanted", "factor", "in_sync"),
    [
        (1, None, 1, 1),
        (2, None, 2, 1),
        (3, None, 3, 2),
        (9, None, 3, 2),
        (9, 5, 5, 4),
        (9, 1, 1, 1),
    ],
)
def test_one_broker_may_be_lost_where_there_are_several(
    brokers: int, wanted: int | None, factor: int, in_sync: int
) -> None:
    copies = replication(brokers, wanted)
    assert copies == {"replication_factor": factor, "min.insync.replicas": in_sync}
