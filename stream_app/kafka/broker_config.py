"""What an embedded Kafka node is told: server.properties and log4j2.properties as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

HOST = "127.0.0.1"
PLAINTEXT = "PLAINTEXT"
CONTROLLER = "CONTROLLER"

LOG4J = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c)%n
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=INFO
"""


@dataclass(frozen=True)
class BrokerConfig:
    """A cluster of ``nodes`` nodes, each broker and controller at once, on this machine."""

    nodes: int = 1
    port: int | None = None
    """The first listener's port on a single node; None takes free ones."""
    heap_mib: int = 512
    """-Xmx of each node. An idle process takes 310 MiB (``python -m tests.bench.broker_start``)."""
    listeners: Mapping[str, str] = field(default_factory=lambda: {PLAINTEXT: PLAINTEXT})
    """Name to security protocol. The first one carries the traffic between brokers."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Laid over what `server_properties` makes."""
    format_arguments: tuple[str, ...] = ()
    """More arguments of Kafka's storage tool, ``--add-scram`` for instance."""

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"A Kafka of {self.nodes} nodes was asked for; it takes at least 1.")
        if self.port is not None and self.nodes > 1:
            raise ValueError(
                f"Port {self.port} was given for {self.nodes} nodes, which need one each. "
                "Leave the port out, and they take free ones."
            )
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ValueError(f"Port {self.port} is not between 1 and 65535.")
        if not self.listeners or CONTROLLER in self.listeners:
            raise ValueError(
                f"Listeners {list(self.listeners)} were given; at least one is needed, and "
                f"{CONTROLLER} is taken."
            )


class NodePorts(NamedTuple):
    """Where one node listens."""

    controller: int
    listeners: Mapping[str, int]


def server_properties(
    config: BrokerConfig, node_id: int, ports: Mapping[int, NodePorts], data_directory: str
) -> dict[str, str]:
    """The settings of node ``node_id``.

    Args:
        ports: of every node, by node id, for the controllers must find each other.
        data_directory: where this node keeps its log.
    """
    own = ports[node_id]
    replicas = min(config.nodes, 3)
    in_sync = max(1, replicas - 1)
    addresses = [f"{name}://{HOST}:{port}" for name, port in own.listeners.items()]
    protocols = {CONTROLLER: PLAINTEXT, **config.listeners}
    quorum = [f"{HOST}:{node.controller}" for node in ports.values()]
    return {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "controller.quorum.bootstrap.servers": ",".join(quorum),
        "controller.listener.names": CONTROLLER,
        "listeners": ",".join([*addresses, f"{CONTROLLER}://{HOST}:{own.controller}"]),
        "advertised.listeners": ",".join(addresses),
        "inter.broker.listener.name": next(iter(config.listeners)),
        "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
        "log.dirs": data_directory,
        # A mistyped topic is an error here, not a new topic.
        "auto.create.topics.enable": "false",
        "num.partitions": "4",
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync),
        # Kafka makes 50 partitions of each of these at first use, which takes seconds.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        **config.properties,
    }


def render_properties(properties: Mapping[str, str]) -> str:
    """A Java properties file. Keys are plain names; values are escaped."""
    return "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items())


def _escaped(value: str) -> str:
    return "".join(_escaped_character(c) for c in value)


def _escaped_character(character: str) -> str:
    if character in "\\ ":
        return f"\\{character}"
    if " " < character <= "~":
        return character
    # Java reads these files as Latin-1, and its escapes are UTF-16 code units.
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
