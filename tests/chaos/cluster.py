"""A real cluster of three nodes on this machine, each broker and controller at once."""

from pathlib import Path

from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.embedded import EmbeddedKafka

BROKERS = 3

PROPERTIES = {
    # A broker that died is replaced as leader after this, not after 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # 128 MiB of the heap by default, for compaction that will not come to pass.
    "log.cleaner.dedupe.buffer.size": str(8 << 20),
    "log.cleaner.threads": "1",
    # Topics of a run that is over are deleted, and their files should not pile up.
    "log.segment.delete.delay.ms": "1000",
}


def cluster_in(directory: Path, jars: Path) -> EmbeddedKafka:
    """Replication 3, min.insync 2, for that is what a cluster of three nodes gets."""
    return EmbeddedKafka(
        directory, jars, BrokerConfig(nodes=BROKERS, heap_mib=320, properties=PROPERTIES)
    )
