"""Everything that the Kafka shell can be told, already checked against the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Delivery = Literal["exactly_once", "at_least_once"]

TABLE = "state"

BATCH_BYTES = 900_000
"""Largest record batch, below Kafka's default limit of 1,048,588 bytes for one."""


@dataclass(frozen=True)
class ShellConfig:
    """One worker of one consumer group."""

    app_id: str
    """Consumer group, prefix of the changelog topic and of the transactional ids."""
    client: Mapping[str, Any]
    """What every aiokafka client takes: bootstrap_servers, security_protocol and its arguments."""
    source: str
    partitions: int
    """Of the source topic; the changelog and the output topics have as many."""
    outputs: Mapping[str, str]
    """Field of the core's OutputBatch to topic."""
    delivery: Delivery = "exactly_once"
    max_batch_events: int = 2_048
    """A transaction costs what some hundred events cost; under load, batches grow up to here."""
    batch_target_ms: float = 100.0
    """How long playing a micro-batch may take: behind a backlog, this bounds its size as well."""
    instance_id: str | None = None
    """Static membership: whoever comes back under this name gets its partitions back at once."""
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int = 60_000
    transaction_timeout_ms: int = 60_000
    stall_seconds: float = 180.0
    """A partition with work that does not move for so long ends the worker."""
    replication_factor: int = 1
    """Of the changelog, where the worker has to create it."""
    max_record_bytes: Mapping[str, int] = field(default_factory=dict)
    """Largest record that each topic takes, where the cluster says so."""
    compression: str | None = None
    state_dir: Path | None = None
    """Folder for files from which a restart begins, see `snapshots`; None: there are none."""

    @property
    def changelog(self) -> str:
        return changelog_of(self.app_id)

    def transactional_id(self, partition: int) -> str:
        """One writer per source partition, whichever worker it is."""
        return f"{self.app_id}-{self.source}-{partition}"

    def record_limit(self, topic: str) -> int:
        """Largest record for a topic, in bytes, with room for the batch around it."""
        return self.max_record_bytes.get(topic, 1_048_588) - 512


def changelog_of(app_id: str) -> str:
    """The topic that holds the state, as Faust names it."""
    return f"{app_id}-{TABLE}-changelog"
