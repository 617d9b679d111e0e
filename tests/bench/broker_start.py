"""What the embedded Kafka costs: ``python -m tests.bench.broker_start [NODES]``.

Downloads the jars into an empty cache, then starts and stops Kafka four times: the first start
makes the JDK's class archive, the first stop leaves Kafka's.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import ensure_jars


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def cpu_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident_mib(pid: int | None) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kib) // 1024


def main(nodes: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        begun = time.monotonic()
        jars = ensure_jars(folder / "cache")
        resolved = time.monotonic()
        ensure_jars(folder / "cache")
        say(f"jars: {resolved - begun:.1f} s once, then {time.monotonic() - resolved:.3f} s")
        for run in range(4):
            kafka = EmbeddedKafka(folder / f"run-{run}", jars, BrokerConfig(nodes=nodes))
            cpu_before, begun = cpu_seconds(), time.monotonic()
            kafka.start()
            started = time.monotonic()
            memory = max(resident_mib(kafka.pid(node)) for node in kafka.node_ids)
            stopping = time.monotonic()
            kafka.stop()
            say(
                f"run {run}: ready after {started - begun:.1f} s, {memory} MiB a node, "
                f"stopped in {time.monotonic() - stopping:.1f} s, "
                f"{cpu_seconds() - cpu_before:.1f} s of processor time"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
