"""Taking a partition over ends every earlier owner's power over it, whatever it was doing."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import aiokafka.producer.sender
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import CloseReason

from stream_app.kafka import sending
from stream_app.kafka.packing import pack
from stream_app.kafka.producers import TRANSACTION_BACKOFF_SECONDS, is_fenced, let_go, take_over
from tests.kafka.counting import config
from tests.kafka.ledger import make_topics, read, read_all

pytestmark = pytest.mark.kafka

Step = Callable[[AIOKafkaProducer, str, TopicPartition], Awaitable[object]]


async def send(producer: AIOKafkaProducer, topic: str, source: TopicPartition) -> None:
    await sending.send(producer, [pack(producer.create_batch, topic, [(b"k", b"v")], 1, 99, [])], 0)


async def send_offset(producer: AIOKafkaProducer, topic: str, source: TopicPartition) -> None:
    await producer.send_offsets_to_transaction({source: 1}, "zombies")


async def commit(producer: AIOKafkaProducer, topic: str, source: TopicPartition) -> None:
    await producer.commit_transaction()


@pytest.mark.parametrize("step", [send, send_offset, commit], ids=lambda step: step.__name__)
def test_an_earlier_owner_is_fenced_at_every_step_and_nothing_of_it_is_read(
    kafka: str, topic_prefix: str, step: Step
) -> None:
    async def scenario() -> None:
        echoes: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, echo: echoes.append(echo))
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, partitions=1)
        topic, source = shell.outputs["predictions"], TopicPartition(shell.source, 0)
        zombie = await take_over(shell, 0)
        await zombie.begin_transaction()
        await send(zombie, topic, source)
        owner = await take_over(shell, 0)
        with pytest.raises(Exception) as raised:
            await step(zombie, topic, source)
            await zombie.commit_transaction()
        assert is_fenced(raised.value)
        await owner.begin_transaction()
        await send(owner, topic, source)
        await owner.commit_transaction()
        assert len((await read_all(kafka, topic, 1))[0]) == 1
        assert len((await read(kafka, topic, 1, "read_uncommitted"))[0]) == 2
        await asyncio.gather(let_go(zombie), let_go(owner))
        del zombie, raised
        gc.collect()
        assert echoes == []

    asyncio.run(scenario())


def test_what_a_dead_owner_left_open_is_aborted_before_take_over_returns(
    kafka: str, topic_prefix: str
) -> None:
    """Else its records would hold up every read_committed reader for the transaction's timeout."""

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, partitions=1)
        topic, source = shell.outputs["predictions"], TopicPartition(shell.source, 0)
        dead = await take_over(shell, 0)
        await dead.begin_transaction()
        await send(dead, topic, source)
        # No stop: a killed process says no goodbye.
        owner = await take_over(shell, 0)
        reader = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=kafka, isolation_level="read_committed", group_id=None
        )
        await reader.start()
        tp = TopicPartition(topic, 0)
        stable = (await reader.end_offsets([tp]))[tp]
        await reader.stop()
        assert stable == 2  # the record, and the marker that aborts it
        await asyncio.gather(let_go(dead), let_go(owner))

    asyncio.run(scenario())


def test_a_connection_that_closes_before_the_coordinator_is_named_costs_another_question(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, asked = AIOKafkaClient.coordinator_lookup, list[str]()

    async def interrupted(client: AIOKafkaClient, kind: object, key: str) -> object:
        asked.append(key)
        answer = asyncio.create_task(look_up(client, kind, key))
        while len(asked) == 1 and not answer.done():
            await asyncio.sleep(0)
            for connection in client._conns.values():
                if connection._requests and connection.connected():
                    connection.close(reason=CloseReason.CONNECTION_BROKEN)
        return await answer

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", interrupted)

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await let_go(await take_over(shell, 0))

    asyncio.run(scenario())
    assert len(asked) > 1


def test_aiokafka_waits_as_briefly_between_transactions_as_we_ask(
    kafka: str, topic_prefix: str
) -> None:
    """The pause is a constant of a private module: this fails when it moves or loses its use."""

    async def scenario() -> None:
        shell = config(kafka, topic_prefix + "a", partitions=1)
        await make_topics(kafka, shell.app_id, partitions=1)
        producer = await take_over(shell, 0)
        await producer.stop()

    asyncio.run(scenario())
    handler = aiokafka.producer.sender.AddPartitionsToTxnHandler.handle_response
    assert "BACKOFF_OVERRIDE" in handler.__code__.co_names
    assert aiokafka.producer.sender.BACKOFF_OVERRIDE == TRANSACTION_BACKOFF_SECONDS


def test_only_fencing_is_fencing() -> None:
    assert not is_fenced(ValueError("poison"))
    assert not is_fenced(TimeoutError())
