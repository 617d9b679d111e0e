"""A Kafka that a measurement starts for itself."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import cache_root, ensure_jars

WARM_SECONDS = 15.0
"""A broker that has just started compiles what it runs: the first rounds would be about Java."""


@contextmanager
def kafka_of_its_own() -> Iterator[str]:
    """Its addresses."""
    jars = ensure_jars(cache_root(os.environ, Path.home()))
    with (
        tempfile.TemporaryDirectory(prefix="clickahead-bench-") as folder,
        EmbeddedKafka(Path(folder), jars) as kafka,
    ):
        yield kafka.bootstrap_servers
