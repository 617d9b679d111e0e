"""Before a worker starts: is Kafka there, and is everything in it that the worker needs?

What is wrong is said in sentences, all at once, instead of a worker that waits for ever.
"""

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic
from typing import ClassVar, NamedTuple

from stream_app.kafka.connection import Connection, KafkaUnreachable
from stream_app.kafka.topic_admin import TopicReport, ensure_topics

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0
"""How long a worker waits for a Kafka that is still starting."""

RETRY_SECONDS = 1.0


class PreflightFailed(RuntimeError):
    """The topics will not do; the message says which and why."""

    exit_code: ClassVar[int] = 2


class Ground(NamedTuple):
    """What a worker stands on."""

    partitions: int  # of the source, the changelog and the outputs
    max_record_bytes: dict[str, int]  # by topic


async def inspect(
    connection: Connection,
    topics: Mapping[str, str],
    changelog: str,
    partitions: int,
    needed: frozenset[str],
    connect_seconds: float = CONNECT_SECONDS,
) -> Ground:
    """Look at the topics in the roles ``needed`` and at the changelog.

    Args:
        topics: role to name.
        partitions: what the settings say; the source topic's own number counts.

    Raises:
        KafkaUnreachable: nobody answered within ``connect_seconds``.
        PreflightFailed: a topic is missing or will not do.
    """
    report = await _answered(connection, topics, changelog, partitions, connect_seconds)
    roles = {spec.name: spec.role for spec in report.specs if spec.role in {*needed, "changelog"}}
    missing = [name for name in roles if name not in report.states]
    problems = [sentence for sentence in report.mismatches if sentence.split(" ", 1)[0] in roles]
    if missing:
        problems.insert(
            0,
            f"{', '.join(missing)} {'does' if len(missing) == 1 else 'do'} not exist."
            " Run `clickahead topics` to create what is missing.",
        )
    if problems:
        raise PreflightFailed(" ".join(problems))
    states = {name: report.states[name] for name in roles}
    return Ground(
        partitions=states[topics["events"]].partitions,
        max_record_bytes={
            name: int(state.config["max.message.bytes"])
            for name, state in states.items()
            if "max.message.bytes" in state.config
        },
    )


async def _answered(
    connection: Connection,
    topics: Mapping[str, str],
    changelog: str,
    partitions: int,
    connect_seconds: float,
) -> TopicReport:
    deadline = monotonic() + connect_seconds
    said = False
    while True:
        try:
            return await ensure_topics(connection, topics, changelog, partitions, create=False)
        except KafkaUnreachable:
            if monotonic() + RETRY_SECONDS > deadline:
                raise
            if not said:
                log.warning(
                    "No Kafka answers at %s yet; waiting up to %.0f s.",
                    ", ".join(connection.bootstrap_servers), connect_seconds,
                )  # fmt: skip
                said = True
            await asyncio.sleep(RETRY_SECONDS)
