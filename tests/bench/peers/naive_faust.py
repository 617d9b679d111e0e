"""The tutorial's worker: stock Faust, a table, a torch model called once per event."""

import json
import sys
from pathlib import Path
from typing import Any

import faust
import torch

from tests.bench.peers.arguments import Arguments, parse
from tests.bench.peers.torch_step import TorchStep


def create(given: Arguments) -> faust.App:
    torch.set_num_threads(1)
    step = TorchStep(Path(given.model))
    app = faust.App(
        given.group,
        broker=f"kafka://{given.kafka}",
        store="memory://",
        topic_partitions=given.partitions,
        web_enabled=False,
        datadir=given.scratch,
        consumer_auto_offset_reset="earliest",
    )
    clicks = app.topic(given.source, value_type=bytes, value_serializer="raw")
    predictions = app.topic(given.target, value_type=bytes, value_serializer="raw")
    users = app.Table("users", partitions=given.partitions)

    @app.agent(clicks)
    async def predict(stream: Any) -> None:
        async for value in stream:
            click = json.loads(value)
            user = click["user_id"]
            prediction, users[user] = step.advance(click, users.get(user))
            await predictions.send(key=user.encode(), value=json.dumps(prediction).encode())

    return app


if __name__ == "__main__":
    given = parse(sys.argv[1:])
    sys.argv = [sys.argv[0], "worker", "-l", "warn", "--without-web"]
    create(given).main()
