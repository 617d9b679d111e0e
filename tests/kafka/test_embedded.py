"""A real Kafka starts, stops, is killed, comes back, and never outlives its owner."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from stream_app.core.events import TOPICS
from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.cluster import Cluster, dump_cluster, new_cluster
from stream_app.kafka.connection import Connection, opened
from stream_app.kafka.dump_topic import dump_topic
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.node import BrokerError
from stream_app.kafka.topic_admin import ensure_topics

pytestmark = pytest.mark.kafka


def listens(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def becomes(true: Callable[[], bool], within_seconds: float = 15) -> bool:
    deadline = time.monotonic() + within_seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def is_empty(process_group: int) -> bool:
    try:
        os.killpg(process_group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_folder_is_a_cluster_that_survives_a_stop_and_a_crash(
    kafka_jars: Path, tmp_path: Path
) -> None:
    # After a crash Kafka waits this long for the old broker, by default 9 s.
    session = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
    cluster = EmbeddedKafka(tmp_path, kafka_jars, BrokerConfig(properties=session))
    cluster.start()
    first = cluster.bootstrap_servers
    try:
        assert listens(first)
        process_group = cluster.pid(1)
        assert process_group is not None
        cluster.kill_node(1)
        assert cluster.pid(1) is None
        assert becomes(lambda: is_empty(process_group))  # the watching shell is gone, too
        assert not listens(first)
        cluster.start_node(1)
        assert listens(first)
    finally:
        cluster.stop()
    assert not listens(first)
    with EmbeddedKafka(tmp_path, kafka_jars) as again:
        assert again.bootstrap_servers == first
        assert listens(first)


def founded(folder: Path) -> Cluster:
    """A folder whose identities and ports are chosen, but whose Kafka has not run yet."""
    cluster = new_cluster(BrokerConfig())
    (folder / "cluster.json").write_text(dump_cluster(cluster))
    return cluster


def test_a_kafka_that_cannot_start_shows_its_log(kafka_jars: Path, tmp_path: Path) -> None:
    port = founded(tmp_path).ports[1].listeners["PLAINTEXT"]
    cluster = EmbeddedKafka(tmp_path, kafka_jars)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(BrokerError) as caught:
        cluster.start()
    assert "Address already in use" in str(caught.value)
    assert str(cluster.log_path(1)) in str(caught.value)
    assert cluster.pid(1) is None


def test_a_setting_that_kafka_refuses_is_shown(kafka_jars: Path, tmp_path: Path) -> None:
    config = BrokerConfig(properties={"log.retention.ms": "soon"})
    with pytest.raises(BrokerError, match=r"(?s)tool\.log.*Invalid value soon"):
        EmbeddedKafka(tmp_path, kafka_jars, config).start()


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = EmbeddedKafka(tmp_path, tmp_path, BrokerConfig(port=port))
        with pytest.raises(BrokerError, match=f"Port {port} is taken"):
            cluster.start()


def test_a_paused_node_hears_nothing_but_the_end(kafka_jars: Path, tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "a folder \u6f22 %20 #1", kafka_jars) as cluster:

        def state() -> str:
            return Path(f"/proc/{cluster.pid(1)}/stat").read_text().rpartition(") ")[2][0]

        cluster.pause_node(1)
        assert becomes(lambda: state() == "T")
        cluster.resume_node(1)
        assert becomes(lambda: state() == "S")
        cluster.pause_node(1)
        begun = time.monotonic()
        cluster.stop(timeout_seconds=60)
        assert time.monotonic() - begun < 30
    assert "Kafka Server started" in cluster.log_path(1).read_text()


@pytest.mark.parametrize(("data", "jars"), [("a,b", "jars"), ("data", "a:b")])
def test_paths_that_kafka_would_split_are_refused(tmp_path: Path, data: str, jars: str) -> None:
    with pytest.raises(BrokerError, match="Name other folders"):
        EmbeddedKafka(tmp_path / data, tmp_path / jars)


def test_another_number_of_nodes_is_refused(tmp_path: Path) -> None:
    founded(tmp_path)
    with pytest.raises(BrokerError, match="holds a Kafka of 1 nodes, and 3 were asked for"):
        EmbeddedKafka(tmp_path, tmp_path, BrokerConfig(nodes=3)).start()


async def write(bootstrap: str, topic: str, count: int) -> None:
    connection = Connection(tuple(bootstrap.split(",")))
    async with opened(AIOKafkaProducer(**connection.client(), acks="all"), connection) as producer:
        for number in range(count):
            await producer.send_and_wait(topic, b"%d" % number)


@pytest.mark.slow
def test_three_nodes_lose_one_and_go_on(kafka_jars: Path, tmp_path: Path) -> None:
    session = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
    config = BrokerConfig(nodes=3, heap_mib=256, properties=session)

    async def scenario(cluster: EmbeddedKafka) -> list[str]:
        connection = Connection(tuple(cluster.bootstrap_servers.split(",")))
        report = await ensure_topics(
            connection, {role: role for role in TOPICS}, "changelog", partitions=3
        )
        assert {state.replicas for state in report.states.values()} == {3}
        assert {s.config["min.insync.replicas"] for s in report.states.values()} == {"2"}
        await write(cluster.bootstrap_servers, "predictions", 20)
        await asyncio.to_thread(cluster.kill_node, 2)
        await write(cluster.bootstrap_servers, "predictions", 20)
        await asyncio.to_thread(cluster.start_node, 2)
        found: list[str] = []
        await dump_topic(
            connection, "predictions", lambda r: found.append(str(r.value)), lambda *_: None
        )
        return found

    with EmbeddedKafka(tmp_path, kafka_jars, config) as cluster:
        assert len({cluster.pid(node) for node in cluster.node_ids}) == 3
        found = asyncio.run(scenario(cluster))
    assert sorted(found) == sorted(2 * [str(b"%d" % number) for number in range(20)])
    assert [cluster.pid(node) for node in cluster.node_ids] == [None, None, None]


# A shell that starts tests in the background has them ignore SIGINT, and children inherit that.
OWNER = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from stream_app.kafka.embedded import EmbeddedKafka
cluster = EmbeddedKafka(Path(sys.argv[1]), Path(sys.argv[2]))
cluster.start()
sys.stdout.write(f"{cluster.pid(1)}\\n")
sys.stdout.flush()
time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_kafka_does_not_outlive_its_owner(
    kafka_jars: Path, tmp_path: Path, end: signal.Signals
) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path), str(kafka_jars)]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as owner:
        assert owner.stdout is not None
        process_group = int(owner.stdout.readline())
        assert os.getsid(process_group) != os.getsid(owner.pid)  # out of reach of a Ctrl-C
        owner.send_signal(end)
    assert becomes(lambda: is_empty(process_group))
