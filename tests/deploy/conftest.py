"""What several tests of the deployment look at."""

import shutil
from datetime import UTC, datetime

import pytest

from model.engine import OnnxEngine
from stream_app.core.batch import Route
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, event_batch
from tests.deploy.observed import exposed


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is missing; `make test` fetches it, as does the package prometheus")
    return found


@pytest.fixture(scope="session")
def samples(tiny_engine: OnnxEngine) -> dict[str, list[dict[str, str]]]:
    """Sample name to label sets, of a worker that has seen an event."""
    store = PartitionStore(0, tiny_engine, CONFIG)
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat().encode()
    click = b'{"user_id":"u1","item_id":"i1","timestamp":"%s"}' % at
    engines = {tiny_engine.version: tiny_engine}
    play(event_batch([click]), store, engines, Route(tiny_engine.version))
    assert store.users == 1
    return exposed(store)
