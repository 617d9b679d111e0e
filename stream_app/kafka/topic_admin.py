"""Topics on a cluster: read them, create those that are missing. Safe to run many times at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    for_code,
)

from stream_app.kafka.connection import Connection, KafkaUnreachable, opened
from stream_app.kafka.topics import (
    CHANGELOG_LAG_MS,
    TopicSpec,
    TopicState,
    mismatches,
    replication,
    topic_specs,
)

UNKNOWN_TOPIC, NO_LEADER = 3, 5
VISIBLE_SECONDS = 30.0

ANSWER_SECONDS = 20.0
"""How long another broker is looked for; meanwhile a new controller may have to be elected."""

DOWN = (NodeNotReadyError, KafkaConnectionError, RequestTimedOutError)

T = TypeVar("T")


class TopicError(RuntimeError):
    """A topic could not be created or read; the message names it."""

    exit_code: ClassVar[int] = 1


class TopicReport(NamedTuple):
    """What `ensure_topics` found and did."""

    specs: tuple[TopicSpec, ...]
    states: dict[str, TopicState]  # by topic name; after creation
    created: tuple[str, ...]
    mismatches: list[str]  # sentences


async def ensure_topics(
    connection: Connection,
    names: Mapping[str, str],
    changelog: str,
    partitions: int,
    *,
    replicas: int | None = None,
    create: bool = True,
    horizon_ms: int = CHANGELOG_LAG_MS,
) -> TopicReport:
    """Create the topics that are missing and check the others.

    Args:
        names: role to topic name, see `topic_specs`.
        partitions: of a new events topic; one that exists sets the number for all the others.
        replicas: of new topics; None takes three, or as many as there are brokers.
        create: False only looks.
        horizon_ms: of new topics, see `topic_specs`.

    Raises:
        TopicError: the cluster refused a topic.
        KafkaUnreachable: nobody answers.
    """
    events = next(
        s for s in topic_specs(names, changelog, partitions, horizon_ms) if s.role == "events"
    )
    async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
        created: list[str] = []
        if create:
            # Alone and first: the number of its partitions decides for the others, and somebody
            # else may be creating it just now.
            created += await answered(lambda: create_missing(admin, [events], replicas))
        states = await answered(lambda: read_topics(admin, [events.name]))
        partitions = states[events.name].partitions if states else partitions
        specs = topic_specs(names, changelog, partitions, horizon_ms)
        if create:
            created += await answered(lambda: create_missing(admin, specs, replicas))
        states = await answered(lambda: read_topics(admin, [spec.name for spec in specs]))
    return TopicReport(specs, states, tuple(created), mismatches(specs, states))


async def answered(ask: Callable[[], Awaitable[T]], seconds: float = ANSWER_SECONDS) -> T:
    """Ask until a broker answers: aiokafka asks any that it has heard of, be it down or not, and
    one broker that is away is no reason not to start.

    Raises:
        KafkaUnreachable: nobody did in time.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await ask()
        except DOWN as error:
            if asyncio.get_running_loop().time() > deadline:
                raise KafkaUnreachable(
                    f"The brokers that could be reached do not answer any more: {error}. See"
                    " whether they run, and whether their advertised addresses are right."
                ) from error
            await asyncio.sleep(0.1)


async def read_topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, TopicState]:
    """Those of the topics that exist and have a leader in every partition."""
    shapes = {}
    # All topics: a question for one by name makes many clusters create it, in their own way.
    for topic in await admin.describe_topics():
        if topic["topic"] not in names or topic["error_code"] == NO_LEADER:
            continue
        _raise_for(topic["topic"], topic["error_code"], None)
        leaders = [partition["leader"] for partition in topic["partitions"]]
        if -1 not in leaders:
            replicas = min(len(partition["replicas"]) for partition in topic["partitions"])
            shapes[topic["topic"]] = (len(leaders), replicas)
    configs = await _configs(admin, list(shapes))
    return {
        name: TopicState(partitions, replicas, configs[name])
        for name, (partitions, replicas) in shapes.items()
        # A broker that has not heard of a young topic yet: as if it were not there yet.
        if name in configs
    }


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = {}
    for response in await admin.describe_configs(resources):
        for code, message, _kind, name, entries in response.resources:
            if code == UNKNOWN_TOPIC:
                continue
            _raise_for(name, code, message)
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


async def create_missing(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replicas: int | None
) -> list[str]:
    """Create those of the topics that are missing, and wait until all can be used.

    Returns the names of those that we created and nobody else did.
    """
    names = [spec.name for spec in specs]
    found = await read_topics(admin, names)
    missing = [spec for spec in specs if spec.name not in found]
    if not missing:
        return []
    cluster = await admin.describe_cluster()
    copies = replication(len(cluster["brokers"]), replicas)
    in_sync = {"min.insync.replicas": str(copies["min.insync.replicas"])}
    response = await admin.create_topics(
        [
            NewTopic(
                spec.name,
                spec.partitions,
                copies["replication_factor"],
                topic_configs={**spec.config, **in_sync},
            )
            for spec in missing
        ]
    )
    created = []
    for name, code, message in response.topic_errors:
        if for_code(code) is not TopicAlreadyExistsError:
            _raise_for(name, code, message)
            created.append(name)
    # A broker knows a topic only some time after the controller has made it.
    try:
        async with asyncio.timeout(VISIBLE_SECONDS):
            while len(await read_topics(admin, names)) < len(names):  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TopicError(
            f"The topics {', '.join(created)} were created, but after {VISIBLE_SECONDS:.0f} s they "
            "still have no leader. See the brokers' logs."
        ) from None
    return created


def _raise_for(name: str, code: int, message: str | None) -> None:
    error: Any = for_code(code)
    if code != 0:
        raise TopicError(f"Topic {name}: {message or error.description or error.__name__}")
