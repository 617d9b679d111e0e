"""The group learns how far its partitions are, late rather than never, and nobody waits for it."""

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError
from faust.types import TP

from stream_app.kafka import group_offsets
from stream_app.kafka.group_offsets import GroupOffsets
from tests.kafka.counting import config
from tests.kafka.ledger import Watching, events, make_topics, produce, serving, until

A, B = TP("in", 0), TP("in", 1)


class Group:
    """Takes offsets, or fails."""

    def __init__(self) -> None:
        self.commits: list[dict[TP, int]] = []
        self.error: Exception | None = None

    async def commit(self, offsets: Mapping[TP, int]) -> None:
        self.commits.append(dict(offsets))
        if self.error is not None:
            raise self.error


def test_only_what_has_moved_is_told() -> None:
    async def scenario() -> None:
        group = Group()
        offsets = GroupOffsets(group.commit)
        await offsets.tell({A: 1, B: 5})
        await offsets.tell({A: 1, B: 5})
        await offsets.tell({A: 2, B: 5})
        assert group.commits == [{A: 1, B: 5}, {A: 2}]
        # In a new assignment somebody else may have told the group in between.
        offsets.forget()
        await offsets.tell({A: 2, B: 5})
        assert group.commits[2:] == [{A: 2, B: 5}]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "error",
    [CommitFailedError(), IllegalStateError(), ConsumerStoppedError()],
    ids=repr,
)
def test_what_the_group_did_not_hear_is_told_again(error: Exception) -> None:
    async def scenario() -> None:
        group = Group()
        offsets = GroupOffsets(group.commit)
        group.error = error
        await offsets.tell({A: 1})
        group.error = None
        await offsets.tell({A: 1})
        assert group.commits == [{A: 1}, {A: 1}]

    asyncio.run(scenario())


def test_a_group_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        answered, asked = asyncio.Event(), list[dict[TP, int]]()

        async def commit(offsets: Mapping[TP, int]) -> None:
            asked.append(dict(offsets))
            await answered.wait()

        offsets = GroupOffsets(commit)
        async with asyncio.timeout(5):
            await offsets.tell({A: 1})
            await offsets.tell({A: 2})
            assert asked == [{A: 1}]
            answered.set()
            await offsets.tell({A: 2})
        assert asked == [{A: 1}, {A: 2}]

    monkeypatch.setattr(group_offsets, "COMMIT_SECONDS", 0.05)
    asyncio.run(scenario())


def test_what_is_answered_in_the_next_assignment_counts_for_the_last() -> None:
    async def scenario() -> None:
        answered, asked = asyncio.Event(), list[dict[TP, int]]()

        async def commit(offsets: Mapping[TP, int]) -> None:
            asked.append(dict(offsets))
            await answered.wait()

        offsets = GroupOffsets(commit)
        telling = asyncio.create_task(offsets.tell({A: 1}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        offsets.forget()
        answered.set()
        await telling
        await offsets.tell({A: 1})
        assert asked == [{A: 1}, {A: 1}]

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_running_workers_progress_and_its_last_word_reach_the_group(
    kafka: str, topic_prefix: str, delivery: str
) -> None:
    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1, delivery=delivery)
        await make_topics(kafka, shell.app_id, 1)
        source = TopicPartition(shell.source, 0)
        asked = AIOKafkaConsumer(**shell.client, group_id=shell.app_id, enable_auto_commit=False)
        await asked.start()
        watching = Watching()
        async with serving(shell, watching=watching):
            await produce(kafka, shell.app_id, events(10, 1))
            async with asyncio.timeout(10):
                while await asked.committed(source) != 10:  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.1)
            await produce(kafka, shell.app_id, events(3, 1))
            await until(lambda: watching.events == 13)
        # The worker ended in order, long before the next second was over.
        assert await asked.committed(source) == 13
        await asked.stop()

    asyncio.run(scenario())
