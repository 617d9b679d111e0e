"""The committed list is what Maven resolves for the Kafka that is named."""

import pytest
import requests

from stream_app.kafka.jars import pinned
from stream_app.kafka.pin_jars import resolve


@pytest.mark.slow
def test_the_list_names_what_maven_resolves() -> None:
    try:
        resolved = resolve()
    except requests.RequestException as error:
        pytest.skip(f"no network: {error}")
    coordinates = [f"{a.groupId}:{a.artifactId}:{a.version}" for a in resolved]
    assert coordinates == [jar.coordinate for jar in pinned()]
