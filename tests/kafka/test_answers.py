"""A take-over is given up where nobody answers, and not where it only takes long."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.kafka import answers
from stream_app.kafka.answers import Answers, FenceTimeout
from stream_app.kafka.producers import take_over
from tests.kafka.counting import config


@asynccontextmanager
async def client_of(kafka: str) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    try:
        yield client
    finally:
        await client.close()


async def ask(client: AIOKafkaClient, times: int) -> None:
    for _ in range(times):
        await client.send(client.get_random_node(), MetadataRequest([]))
        await asyncio.sleep(0.1)


@pytest.mark.kafka
def test_who_is_answered_may_take_longer_than_silence_may_last(
    kafka: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(answers, "SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(answers, "TELL_SECONDS", 1.0)

    async def scenario() -> None:
        async with client_of(kafka) as client:
            await Answers(client).during(ask(client, 25), "mine")

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert "Taking over mine goes on after" in caplog.text
    assert "NoError to MetadataRequest" in caplog.text


@pytest.mark.kafka
@pytest.mark.parametrize("bound", ["SILENCE_SECONDS", "GIVE_UP_SECONDS"])
def test_an_end_of_answers_or_of_patience_is_told_with_the_last_one(
    kafka: str, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(answers, bound, 1.0)

    async def scenario() -> None:
        async with client_of(kafka) as client:
            times = 1_000 if bound == "GIVE_UP_SECONDS" else 1
            with pytest.raises(FenceTimeout, match=r"mine .* last answer was NoError to Metadata"):
                await Answers(client).during(ask_and_wait(client, times), "mine")

    asyncio.run(scenario())


async def ask_and_wait(client: AIOKafkaClient, times: int) -> None:
    await ask(client, times)
    await asyncio.Event().wait()


def test_a_broker_that_never_answers_ends_a_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SILENCE_SECONDS", 0.3)

    async def scenario() -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(FenceTimeout, match="last answer was nothing yet"):
                await take_over(config(f"127.0.0.1:{port}", "app", partitions=1), 0)

    asyncio.run(scenario())


def test_what_the_work_raises_is_raised_and_a_cancelled_wait_cancels_it() -> None:
    async def scenario() -> None:
        client = AIOKafkaClient()

        async def fails() -> None:
            raise LookupError("coordinator")

        with pytest.raises(LookupError):
            await Answers(client).during(fails(), "mine")
        cancelled = asyncio.Event()

        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        waiting = asyncio.create_task(Answers(client).during(waits(), "mine"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert cancelled.is_set()
        await client.close()

    asyncio.run(scenario())
