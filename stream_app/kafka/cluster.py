"""Who the nodes of an embedded Kafka are and where they listen: kept with its data."""

import base64
import itertools
import json
import random
import socket
import uuid
from collections.abc import Collection
from typing import NamedTuple

from stream_app.kafka.broker_config import HOST, BrokerConfig, NodePorts

# Below Linux's ephemeral range (32768 and up): no outgoing connection takes such a port between
# the moment it is found free and the moment Kafka binds it.
FREE_PORTS = range(20_000, 32_000)


class Cluster(NamedTuple):
    """What a folder must keep, so that its Kafka can be started again."""

    cluster_id: str
    directory_ids: dict[int, str]
    ports: dict[int, NodePorts]


def new_cluster(config: BrokerConfig) -> Cluster:
    """Fresh identities, and ports that are free now."""
    names = len(config.listeners)
    taken: set[int] = set() if config.port is None else {config.port}
    ports = {}
    for node_id in range(1, config.nodes + 1):
        controller, *listeners = free_ports(1 + names, taken)
        ports[node_id] = NodePorts(controller, dict(zip(config.listeners, listeners, strict=True)))
        taken |= {controller, *listeners}
    return Cluster(new_id(), {node_id: new_id() for node_id in ports}, ports)


def with_listeners(cluster: Cluster, config: BrokerConfig) -> Cluster:
    """The cluster with exactly the listeners asked for, on the port asked for."""
    taken = {p for ports in cluster.ports.values() for p in ports.listeners.values()}
    moved = {}
    for node_id, (controller, old) in cluster.ports.items():
        missing = [name for name in config.listeners if name not in old]
        new = dict(zip(missing, free_ports(len(missing), taken), strict=True))
        taken |= set(new.values())
        listeners = {name: {**old, **new}[name] for name in config.listeners}
        if config.port is not None:
            listeners[next(iter(listeners))] = config.port
        moved[node_id] = NodePorts(controller, listeners)
    return cluster._replace(ports=moved)


def dump_cluster(cluster: Cluster) -> str:
    nodes = {
        str(i): {"directory_id": cluster.directory_ids[i], **ports._asdict()}
        for i, ports in cluster.ports.items()
    }
    return json.dumps({"cluster_id": cluster.cluster_id, "nodes": nodes}, indent=2) + "\n"


def load_cluster(text: str) -> Cluster:
    content = json.loads(text)
    nodes = {int(i): node for i, node in content["nodes"].items()}
    return Cluster(
        content["cluster_id"],
        {i: node["directory_id"] for i, node in nodes.items()},
        {i: NodePorts(node["controller"], node["listeners"]) for i, node in nodes.items()},
    )


def new_id() -> str:
    """A random Kafka id: 22 characters of URL-safe base64, the first not a dash (an option)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not text.startswith("-"):
            return text


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Ports of this machine that nobody listens on, none of ``taken``."""
    candidates = (p for p in random.sample(FREE_PORTS, len(FREE_PORTS)) if p not in taken)
    return list(itertools.islice(filter(is_free, candidates), count))


def is_free(port: int) -> bool:
    """Whether nobody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
