"""A real Kafka starts, stops, is killed, comes back, and never outlives its owner."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.node import BrokerError

pytestmark = pytest.mark.kafka


def listens(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def group_is_empty(process_group: int, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(process_group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
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
        assert group_is_empty(process_group, 5)  # the watching shell is gone, too
        assert not listens(first)
        cluster.start_node(1)
        assert listens(first)
    finally:
        cluster.stop()
    assert not listens(first)
    with EmbeddedKafka(tmp_path, kafka_jars) as again:
        assert again.bootstrap_servers == first
        assert listens(first)


def test_a_kafka_that_cannot_start_shows_its_log(kafka_jars: Path, tmp_path: Path) -> None:
    cluster = EmbeddedKafka(tmp_path, kafka_jars)
    cluster.start()
    bootstrap = cluster.bootstrap_servers
    cluster.stop()
    host, port = bootstrap.split(":")
    with socket.create_server((host, int(port))), pytest.raises(BrokerError) as caught:
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


def test_another_number_of_nodes_is_refused(kafka_jars: Path, tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path, kafka_jars):
        pass
    with pytest.raises(BrokerError, match="holds a Kafka of 1 nodes, and 3 were asked for"):
        EmbeddedKafka(tmp_path, kafka_jars, BrokerConfig(nodes=3)).start()


OWNER = """
import sys, time
from pathlib import Path
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
    assert group_is_empty(process_group, 15)
