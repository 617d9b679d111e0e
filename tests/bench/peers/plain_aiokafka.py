"""A plain loop over aiokafka with a torch model called once per event, state beside it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import torch
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.bench.peers.arguments import Arguments, parse
from tests.bench.peers.torch_step import TorchStep


async def serve(given: Arguments) -> None:
    torch.set_num_threads(1)
    step = TorchStep(Path(given.model))
    states: dict[str, dict[str, Any]] = {}
    consumer = AIOKafkaConsumer(
        given.source,
        bootstrap_servers=given.kafka,
        group_id=given.group,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=given.kafka, linger_ms=5)
    await consumer.start()
    await producer.start()
    async for record in consumer:
        click = json.loads(record.value)
        user = click["user_id"]
        prediction, states[user] = step.advance(click, states.get(user))
        key, partition = user.encode(), record.partition
        await producer.send(
            given.target, json.dumps(prediction).encode(), key=key, partition=partition
        )
        await producer.send(
            given.state, json.dumps(states[user]).encode(), key=key, partition=partition
        )


if __name__ == "__main__":
    asyncio.run(serve(parse(sys.argv[1:])))
