"""What the shell tells an observer, as the metrics of a worker on a real Kafka show it."""

import asyncio
import json
import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from model.engine import OnnxEngine
from stream_app.app import create_application
from stream_app.core.batch import Route
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from stream_app.kafka.contract import Core
from stream_app.kafka.shell_config import ShellConfig
from stream_app.metrics import PARTS, STAGES
from stream_app.metrics_server import MetricsServer
from tests.core.streams import CONFIG
from tests.scraping import scraped
from tests.watched_worker import Worker

PARTITIONS, CLICKS, REJECTED = 2, 300, 7
SECONDS_TO_SERVE = 60.0


def clicks() -> list[bytes]:
    now_ms = int(time.time() * 1000)
    good = [
        {"user_id": f"u{n % 20}", "item_id": f"i{n % 30}", "timestamp": now_ms - 1000}
        for n in range(CLICKS)
    ]
    return [*(json.dumps(click).encode() for click in good), *[b"{"] * REJECTED]


async def produce(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    names = [topic, f"{topic}.predictions", f"{topic}.anomalies", f"{topic}.rejected"]
    config = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics(
        [NewTopic(name, PARTITIONS, 1, topic_configs=config) for name in names]
    )
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number, value in enumerate(clicks()):
            await producer.send(topic, value, partition=number % PARTITIONS)


async def until_all_have_an_outcome(port: int) -> dict[str, float]:
    while True:
        seen = await asyncio.to_thread(scraped, port)
        if sum(v for name, v in seen.items() if "events_total" in name) == CLICKS + REJECTED:
            return seen
        await asyncio.sleep(0.2)


@pytest.mark.kafka
def test_a_worker_on_a_real_kafka_shows_what_it_does(
    kafka: str, topic_prefix: str, tiny_engine: OnnxEngine
) -> None:
    topic = f"{topic_prefix}events"
    shell = ShellConfig(
        app_id=f"{topic_prefix}app",
        client={"bootstrap_servers": kafka},
        source=topic,
        partitions=PARTITIONS,
        outputs={name: f"{topic}.{name}" for name in ("predictions", "anomalies", "rejected")},
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
    )
    engines, route = {tiny_engine.version: tiny_engine}, Route(tiny_engine.version)
    core = Core(
        store=lambda partition: PartitionStore(partition, tiny_engine, CONFIG),
        play=lambda batch, store, mark: play(batch, store, engines, route, mark),
    )
    worker = Worker()
    worker.clock = time.time  # type: ignore[assignment]

    async def main() -> dict[str, float]:
        server = MetricsServer(worker.metrics, "127.0.0.1", 0)
        await server.start()
        await produce(kafka, topic)
        app = create_application(shell, core, worker.metrics)
        app.in_worker = True
        starting = asyncio.create_task(app.start())
        try:
            async with asyncio.timeout(SECONDS_TO_SERVE):
                return await until_all_have_an_outcome(server.port)
        finally:
            await app.stop()
            await starting
            await server.stop()

    seen = asyncio.run(main())
    assert seen['clickahead_events_total{outcome="predicted"}'] == CLICKS
    assert seen['clickahead_events_total{outcome="rejected"}'] == REJECTED
    assert seen['clickahead_rejected_total{reason="syntax"}'] == REJECTED
    assert seen["clickahead_event_to_prediction_seconds_count"] == CLICKS + REJECTED
    assert seen["clickahead_batch_events_sum"] == CLICKS + REJECTED
    assert seen["clickahead_rebalances_total"] >= 1
    assert seen["clickahead_recovering"] == 0
    batches = seen["clickahead_batch_events_count"]
    for stage in STAGES:
        assert seen[f'clickahead_stage_seconds_count{{stage="{stage}"}}'] == batches, stage
    assert seen['clickahead_stage_seconds_count{stage="other"}'] == 0
    parts = [seen[f'clickahead_latency_part_seconds_sum{{part="{part}"}}'] for part in PARTS]
    whole = seen["clickahead_event_to_prediction_seconds_sum"]
    assert sum(parts) == pytest.approx(whole, abs=1e-6 * (CLICKS + REJECTED))
    assert all(seconds > 0 for seconds in parts)
