"""A transaction that a broker calls complete ends in every log as it ended in one of them."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream_app.kafka.delivery import ExactlyOnce, Results, Transactional
from stream_app.kafka.sending import send
from stream_app.kafka.shell_config import ShellConfig
from tests.kafka.counting import config
from tests.kafka.ledger import make_topics, read_all, settled
from tests.kafka.test_recovery import make_changelog

pytestmark = pytest.mark.kafka


VERIFICATION = "transaction.partition.verification.enable"
APPLIED_SECONDS = 2.0


@pytest.fixture(scope="module", autouse=True)
def unverified(kafka: str) -> Iterator[None]:
    """Brokers take records of partitions that the transaction's coordinator does not know of: what
    it leaves out when it writes markers stands as if a crash had kept them from it."""

    async def set_to(value: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        given = ConfigResource(ConfigResourceType.BROKER, "1", configs={VERIFICATION: value})
        answers = await admin.alter_configs([given])
        await admin.close()
        assert [row[0] for answer in answers for row in answer.resources] == [0], answers
        # It is answered before it is in force.
        await asyncio.sleep(APPLIED_SECONDS)

    asyncio.run(set_to("false"))
    yield
    asyncio.run(set_to("true"))


async def with_topics(kafka: str, app_id: str) -> ShellConfig:
    shell = config(kafka, app_id, partitions=1)
    await make_topics(kafka, app_id, partitions=1)
    await make_changelog(shell, {})
    return shell


def results(
    shell: ShellConfig,
    number: int,
    at_ms: int,
    names: Sequence[str] = ("predictions", "anomalies"),
) -> Results:
    topics = [shell.outputs[name] for name in names]
    return Results(
        outputs={topic: [(b"k", b"%d" % number)] for topic in topics},
        headers={},
        changes=[(b"state", b"%d" % number)],
        timestamp_ms=at_ms,
    )


async def leave_open(
    committer: Transactional, given: Results, unmarked: list[TopicPartition], commits: bool
) -> None:
    """End a transaction everywhere else, and in a log that it writes nothing to."""
    producer = committer.producer
    await producer.begin_transaction()
    rejected = TopicPartition(committer.config.outputs["rejected"], committer.partition)
    producer._txn_manager.maybe_add_partition_to_txn(rejected)
    # What aiokafka believes to be in the transaction it does not add.
    producer._txn_manager._txn_partitions.update(unmarked)
    await send(producer, committer.pack(given), committer.partition)
    await (producer.commit_transaction() if commits else producer.abort_transaction())


@pytest.mark.parametrize(
    ("names", "commits", "whole"),
    [
        (["predictions"], True, True),
        (["changelog"], True, True),
        (["anomalies", "changelog"], True, True),
        (["predictions"], False, False),
        (["changelog"], False, False),
        (["predictions", "anomalies", "changelog"], True, False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_what_stands_open_ends_as_the_rest_of_it_did(
    kafka: str, topic_prefix: str, names: list[str], commits: bool, whole: bool
) -> None:
    """With no marker at all it was never seen: its successor repeats it."""

    async def scenario() -> None:
        shell = await with_topics(kafka, topic_prefix + "a")
        topics = {**shell.outputs, "changelog": shell.changelog}
        delivery = ExactlyOnce(shell)
        first = await delivery.open(0)
        assert isinstance(first, Transactional)
        await first.commit(first.pack(results(shell, 1, at_ms=1_000)))
        for topic in topics.values():
            await settled(kafka, topic, 1)
        unmarked = [TopicPartition(topics[name], 0) for name in names]
        await leave_open(first, results(shell, 2, at_ms=2_000), unmarked, commits)
        second = await delivery.open(0)
        await second.commit(second.pack(results(shell, 3, at_ms=3_000)))
        expected = [b"1", b"2", b"3"] if whole else [b"1", b"3"]
        for name in ("predictions", "anomalies", "changelog"):
            rows = (await read_all(kafka, topics[name], 1))[0]
            assert [row.value for row in rows] == expected, name
        await asyncio.gather(first.close(), second.close())

    asyncio.run(scenario())


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "aborted"])
def test_what_its_owner_left_behind_long_ago_ends_as_the_rest_of_it_did(
    kafka: str, topic_prefix: str, commits: bool
) -> None:
    """Nothing tells an owner that a log has missed a marker: it goes on, with other topics."""

    async def scenario() -> None:
        shell = await with_topics(kafka, topic_prefix + "a")
        delivery = ExactlyOnce(shell)
        first = await delivery.open(0)
        assert isinstance(first, Transactional)
        topic = shell.outputs["anomalies"]
        await leave_open(first, results(shell, 2, 2_000), [TopicPartition(topic, 0)], commits)
        for number in range(3, 200):
            others = results(shell, number, 1_000 * number, ["predictions"])
            await first.commit(first.pack(others))
        second = await delivery.open(0)
        await second.commit(second.pack(results(shell, 200, at_ms=200_000)))
        rows = (await read_all(kafka, topic, 1))[0]
        assert [row.value for row in rows] == ([b"2", b"200"] if commits else [b"200"])
        await asyncio.gather(first.close(), second.close())

    asyncio.run(scenario())


def test_the_next_transaction_ends_what_the_last_one_left_open(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario() -> None:
        shell = await with_topics(kafka, topic_prefix + "a")
        owner = await ExactlyOnce(shell).open(0)
        assert isinstance(owner, Transactional)
        topic = shell.outputs["anomalies"]
        await leave_open(owner, results(shell, 2, 2_000), [TopicPartition(topic, 0)], True)
        owner._expected = [TopicPartition(topic, 0)]
        await owner.commit(owner.pack(results(shell, 3, 3_000, ["predictions"])))
        rows = (await read_all(kafka, topic, 1))[0]
        assert [row.value for row in rows] == [b"2"]
        await owner.close()

    asyncio.run(scenario())
