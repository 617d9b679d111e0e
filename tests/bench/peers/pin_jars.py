"""Write ``jars.lock`` for the Java peer: ``python -m tests.bench.peers.pin_jars``.

Everybody else installs what the list says. Eclipse's compiler is on it because the JDK that Kafka
runs on has none.
"""

from pathlib import Path

import jgo

from stream_app.kafka.pin_jars import pin

LOCK_FILE = Path(__file__).with_name("jars.lock")
COORDINATES = (
    "org.apache.kafka:kafka-streams:4.3.1",
    "com.microsoft.onnxruntime:onnxruntime:1.29.0",
    "org.eclipse.jdt:ecj:3.46.100",
)


def main() -> None:
    artifacts = [artifact for name in COORDINATES for artifact in jgo.resolve(name)]
    lines = [f"{jar.sha256} {jar.size_bytes} {jar.coordinate}\n" for jar in pin(artifacts)]
    LOCK_FILE.write_text("".join(lines), "ascii")


if __name__ == "__main__":
    main()
