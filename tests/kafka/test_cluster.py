"""Who the nodes are, kept with their data."""

import re
import socket

from stream_app.kafka.broker_config import HOST, BrokerConfig
from stream_app.kafka.cluster import (
    FREE_PORTS,
    dump_cluster,
    free_ports,
    is_free,
    load_cluster,
    new_cluster,
    new_id,
    with_listeners,
)

THREE = BrokerConfig(nodes=3, listeners={"PLAINTEXT": "PLAINTEXT", "TLS": "SSL"})


def test_every_node_has_its_own_ports_and_identity() -> None:
    cluster = new_cluster(THREE)
    ports = [
        p for node in cluster.ports.values() for p in (node.controller, *node.listeners.values())
    ]
    assert len(ports) == 9 == len(set(ports))
    assert set(cluster.ports) == set(cluster.directory_ids) == {1, 2, 3}
    assert len({cluster.cluster_id, *cluster.directory_ids.values()}) == 4


def test_a_cluster_is_read_as_it_was_written() -> None:
    cluster = new_cluster(THREE)
    assert load_cluster(dump_cluster(cluster)) == cluster


def test_a_port_that_is_asked_for_is_the_first_listeners() -> None:
    cluster = new_cluster(BrokerConfig())
    moved = with_listeners(cluster, BrokerConfig(port=9092))
    assert moved.ports[1].listeners == {"PLAINTEXT": 9092}
    assert moved.ports[1].controller == cluster.ports[1].controller
    assert with_listeners(cluster, BrokerConfig()) == cluster


def test_a_listener_may_come_and_go() -> None:
    cluster = new_cluster(BrokerConfig())
    both = BrokerConfig(listeners={"PLAINTEXT": "PLAINTEXT", "TLS": "SSL"})
    grown = with_listeners(cluster, both)
    assert grown.ports[1].listeners["PLAINTEXT"] == cluster.ports[1].listeners["PLAINTEXT"]
    assert len({grown.ports[1].controller, *grown.ports[1].listeners.values()}) == 3
    assert with_listeners(grown, BrokerConfig()) == cluster


def test_ids_are_as_kafka_wants_them() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", text) for text in ids)


def test_a_port_is_free_until_somebody_listens() -> None:
    (port,) = free_ports(1)
    assert port in FREE_PORTS
    assert is_free(port)
    with socket.create_server((HOST, port)):
        assert not is_free(port)
        assert port not in free_ports(len(FREE_PORTS) // 2)


def test_ports_that_are_taken_are_left_out() -> None:
    taken = set(FREE_PORTS) - {FREE_PORTS[7]}
    assert set(free_ports(1, taken)) <= {FREE_PORTS[7]}
