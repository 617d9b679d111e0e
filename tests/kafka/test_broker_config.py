"""What the embedded Kafka is told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.broker_config import (
    BrokerConfig,
    NodePorts,
    render_properties,
    server_properties,
)

PORTS = {n: NodePorts(9000 + n, {"PLAINTEXT": 9100 + n, "TLS": 9200 + n}) for n in (1, 2, 3)}


LISTENERS = {"PLAINTEXT": "PLAINTEXT", "TLS": "SSL"}


def settings(nodes: int, node_id: int = 1) -> dict[str, str]:
    config = BrokerConfig(nodes=nodes, listeners=LISTENERS)
    ports = {n: PORTS[n] for n in range(1, nodes + 1)}
    return server_properties(config, node_id, ports, "/data")


def java_value(line: str) -> str:
    """A line's value as java.util.Properties reads it."""

    def unescaped(escape: re.Match[str]) -> str:
        code = escape[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else code

    text = re.sub(r"\\(u[0-9a-f]{4}|.)", unescaped, line.partition("=")[2].removesuffix("\n"))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


@given(st.text())
def test_java_reads_every_value_as_it_was(value: str) -> None:
    line = render_properties({"key": value})
    assert line.isascii()
    assert line.count("\n") == 1
    assert java_value(line) == value


def test_a_node_listens_on_this_machine_only() -> None:
    told = settings(3, node_id=2)
    addresses = re.findall(r"\w+://([^,]*)", told["listeners"] + told["advertised.listeners"])
    assert {address.split(":")[0] for address in addresses} == {"127.0.0.1"}
    assert told["listeners"] == (
        "PLAINTEXT://127.0.0.1:9102,TLS://127.0.0.1:9202,CONTROLLER://127.0.0.1:9002"
    )
    assert told["controller.quorum.bootstrap.servers"] == (
        "127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003"
    )


@pytest.mark.parametrize(("nodes", "replicas", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_internal_topics_survive_one_lost_node(nodes: int, replicas: str, in_sync: str) -> None:
    told = settings(nodes)
    assert told["offsets.topic.replication.factor"] == replicas
    assert told["transaction.state.log.replication.factor"] == replicas
    assert told["transaction.state.log.min.isr"] == in_sync


def test_the_callers_properties_win() -> None:
    config = BrokerConfig(listeners=LISTENERS, properties={"num.partitions": "9"})
    assert server_properties(config, 1, {1: PORTS[1]}, "/data")["num.partitions"] == "9"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"nodes": 0}, "at least 1"),
        ({"nodes": 3, "port": 9092}, "Leave the port out"),
        ({"port": 0}, "between 1 and 65535"),
        ({"port": 65_536}, "between 1 and 65535"),
        ({"listeners": {}}, "at least one is needed"),
        ({"listeners": {"CONTROLLER": "SSL"}}, "CONTROLLER is taken"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        BrokerConfig(**fields)  # type: ignore[arg-type]
