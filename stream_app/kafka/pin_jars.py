"""Write ``jars.lock`` for a Kafka version: ``python -m stream_app.kafka.pin_jars``.

Run it to move to another Kafka; everybody else installs what the list says.
"""

import hashlib
from collections.abc import Iterable

import jgo
from jgo.maven import Artifact

from stream_app.kafka.jars import LOCK_FILE, Jar

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def resolve() -> list[Artifact]:
    """The jars of Kafka and of its log binding, as Maven resolves them; nothing is downloaded."""
    # Two calls: resolved together, the versions that log4j's POM manages win, and kafka-clients
    # comes out as 3.9.1.
    return [*jgo.resolve(KAFKA), *jgo.resolve(LOG_BINDING)[:1]]


def pin(artifacts: Iterable[Artifact]) -> tuple[Jar, ...]:
    """Download the jars and take their sums."""
    jars = []
    for artifact in artifacts:
        content = artifact.resolve().read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        jars.append(
            Jar(digest, len(content), artifact.groupId, artifact.artifactId, artifact.version)
        )
    return tuple(jars)


def main() -> None:
    lines = [f"{jar.sha256} {jar.size_bytes} {jar.coordinate}\n" for jar in pin(resolve())]
    LOCK_FILE.write_text("".join(lines), "ascii")


if __name__ == "__main__":
    main()
