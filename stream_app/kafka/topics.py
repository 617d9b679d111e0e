"""The topics that a worker needs, and whether those of a cluster will do. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

MAX_EVENT_BATCH_BYTES = 2 * 1024 * 1024
DAY_MS = 86_400_000
REJECTED_RETENTION_MS = 7 * DAY_MS
CHANGELOG_LAG_MS = DAY_MS

CLEANUP = "cleanup.policy"
TIMESTAMP = "message.timestamp.type"
RETENTION = "retention.ms"
LAG = "min.compaction.lag.ms"

COMPACTED = {CLEANUP: "compact"}
# A worker that is away for a day still finds every record that it had not read.
LAGGING = {CLEANUP: "compact", LAG: str(CHANGELOG_LAG_MS)}
CONFIGS: dict[str, dict[str, str]] = {
    "events": {TIMESTAMP: "LogAppendTime", "max.message.bytes": str(MAX_EVENT_BATCH_BYTES)},
    "predictions": {CLEANUP: "delete"},
    "anomalies": {CLEANUP: "delete"},
    "rejected": {CLEANUP: "delete", RETENTION: str(REJECTED_RETENTION_MS)},
    "items": LAGGING,
    "control": LAGGING,
    "profiles": COMPACTED,
    "demand": COMPACTED,
    "changelog": LAGGING,
}
"""What a topic is created with, by its role."""

WHOLE = frozenset({"items", "control"})
"""Side inputs: every worker reads them whole and in one order, so they have one partition."""


class TopicSpec(NamedTuple):
    """A topic as it should be."""

    role: str  # a key of CONFIGS
    name: str
    partitions: int
    config: Mapping[str, str]


class TopicState(NamedTuple):
    """A topic as a cluster has it."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


def topic_specs(
    names: Mapping[str, str], changelog: str, partitions: int, horizon_ms: int = CHANGELOG_LAG_MS
) -> tuple[TopicSpec, ...]:
    """All topics.

    Args:
        names: role to topic name, for every role but the changelog.
        changelog: name of the state's changelog.
        partitions: of the events topic, and so of everything that follows its partitions.
        horizon_ms: how long compacted topics that outputs depend on keep every record.
    """
    named = {**names, "changelog": changelog}
    return tuple(
        TopicSpec(
            role,
            named[role],
            1 if role in WHOLE else partitions,
            {**config, LAG: str(horizon_ms)} if LAG in config else config,
        )
        for role, config in CONFIGS.items()
    )


def replication(brokers: int, wanted: int | None = None) -> dict[str, int]:
    """Replicas for a topic, and how many of them must have a record before it is acknowledged."""
    replicas = min(3, brokers) if wanted is None else wanted
    return {"replication_factor": replicas, "min.insync.replicas": max(1, replicas - 1)}


def mismatches(specs: tuple[TopicSpec, ...], found: Mapping[str, TopicState]) -> list[str]:
    """What is wrong with the topics that exist, a sentence each: what is, why not, what to do."""
    return [
        sentence
        for spec in specs
        if spec.name in found
        for sentence in _wrong(spec, found[spec.name])
    ]


def _wrong(spec: TopicSpec, state: TopicState) -> list[str]:
    sentences = []
    if state.partitions != spec.partitions:
        why = (
            "every worker reads it whole and in one order"
            if spec.role in WHOLE
            else "its records keep the partition number of the event that caused them"
        )
        sentences.append(
            f"{spec.name} has {state.partitions} partitions and needs {spec.partitions}: {why}. "
            "Delete it and create it again, or name another topic."
        )
    for key, is_right, why in _CHECKS.get(spec.role, ()):
        given = state.config.get(key, "")
        if not is_right(given):
            sentences.append(
                f"{spec.name} has {key}={given or '(unset)'}: {why}. Set it to {spec.config[key]}."
            )
    return sentences


def _compacts(policy: str) -> bool:
    return policy == "compact"


def _keeps_a_day(lag_ms: str) -> bool:
    return lag_ms.isdigit() and int(lag_ms) >= CHANGELOG_LAG_MS


def _forgets(retention_ms: str) -> bool:
    return retention_ms.isdigit() and int(retention_ms) <= REJECTED_RETENTION_MS


_COMPACTION = (CLEANUP, _compacts, "it is a table, whose rows would be deleted by age")
_KEPT = (LAG, _keeps_a_day, "a worker that was away for less than a day has to find every record")
_CHECKS = {
    "events": (
        (
            TIMESTAMP,
            lambda given: given == "LogAppendTime",
            "without the broker's clock, nothing tells an event from the future",
        ),
    ),
    "rejected": ((RETENTION, _forgets, "it holds raw user ids, which are kept 7 days at most"),),
    "items": (_COMPACTION, _KEPT),
    "control": (_COMPACTION, _KEPT),
    "profiles": (_COMPACTION,),
    "demand": (_COMPACTION,),
    "changelog": (
        (CLEANUP, _compacts, "it is the only copy of the state, which would be deleted by age"),
        _KEPT,
    ),
}
