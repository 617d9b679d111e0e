"""A real Kafka for the tests of a session, and names that keep the tests apart."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import JarsError, cache_root, ensure_jars


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """The folder with Kafka's jars; without network and without them the tests are skipped."""
    try:
        return ensure_jars(cache_root(os.environ, Path.home()))
    except JarsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a running single-node Kafka."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), kafka_jars) as cluster:
        yield cluster.bootstrap_servers


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for the test's topics, groups and transactional ids: nobody else's."""
    return f"test-{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def openssl() -> Callable[[str], None]:
    """Runs ``openssl ARGUMENTS``, of the Debian package that ca-certificates needs as well."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("The openssl command is missing. Install the package openssl.")

    def run(arguments: str) -> None:
        subject = ["-subj", "/CN=test"] if arguments.startswith("req ") else []
        subprocess.run(  # noqa: S603
            [program, *arguments.split(), *subject], check=True, capture_output=True
        )

    return run
