"""``clickahead worker`` on a real Kafka: refuses what will not do, serves, and says so."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from model.engine import open_engine
from model.recall_probe import RecallProbe
from stream_app.commands.worker import scan_recall
from stream_app.core.events import TOPICS
from stream_app.kafka.cluster import free_ports
from stream_app.kafka.connection import Connection
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import load
from tests.model.test_native_scan import found_by, index_of, shop

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]


def environ(kafka: str, prefix: str) -> dict[str, str]:
    return {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "CLICKAHEAD_INPUT__TOPIC": prefix + "events",
        "CLICKAHEAD_TOPICS__PREFIX": prefix,
        "CLICKAHEAD_WORKER__APP_ID": prefix + "app",
        "CLICKAHEAD_WORKER__METRICS_PORT": str(free_ports(1)[0]),
        "CLICKAHEAD_WORKER__LOG_FORMAT": "json",
    }


def start(own: dict[str, str], model: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "stream_app", "worker", "--model", str(model)],
        cwd=ROOT,
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_missing_topics_and_a_missing_model_are_said_in_a_sentence(
    kafka: str, topic_prefix: str, tiny_model: Path, tmp_path: Path
) -> None:
    for model, said in ((tiny_model, "Run `clickahead topics`"), (tmp_path / "none", "none")):
        worker = start(environ(kafka, topic_prefix), model)
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 2
        last = errors.splitlines()[-1]
        assert last.startswith("clickahead: ")
        assert said in last
        assert "Traceback" not in errors


def test_it_is_ready_when_its_port_says_so_and_its_log_tells_its_life(
    kafka: str, topic_prefix: str, tiny_model: Path
) -> None:
    own = environ(kafka, topic_prefix)
    settings = load(None, own, {})
    names = {role: settings.topic(role) for role in TOPICS}
    asyncio.run(ensure_topics(Connection((kafka,)), names, f"{topic_prefix}app-state-changelog", 4))
    worker, lines = start(own, tiny_model), []
    assert worker.stderr is not None
    for line in worker.stderr:
        lines.append(json.loads(line))
        if lines[-1]["message"].startswith("Ready: 4 partitions"):
            break
    url = f"http://127.0.0.1:{settings.worker.metrics_port}/readyz"
    with urlopen(url, timeout=5) as answer:
        assert answer.status == 200
    worker.send_signal(signal.SIGTERM)
    _, errors = worker.communicate(timeout=30)
    lines += map(json.loads, errors.splitlines())
    assert worker.returncode == 0
    messages = [line["message"] for line in lines]
    assert any("core.pseudonym_key" in message for message in messages)
    assert "The group gave this worker the partitions [0, 1, 2, 3]." in messages
    assert messages[-1].startswith("Stopping")


def test_the_least_recall_of_the_open_models_is_told(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, index = shop(700)[1], index_of(700, 16, 64, 0, 2)
    engines = [open_engine(tiny_model) for _ in range(3)]
    probes = [RecallProbe(index, rows_between=1) for _ in engines[:2]]
    for engine, probe in zip(engines, probes, strict=False):
        monkeypatch.setattr(engine._session, "probe", probe)
    assert scan_recall(engines) is None
    best = found_by(index, queries[:1], 20)[0].astype(np.int32)
    probes[1].see(queries[:1], best)
    whole = scan_recall(engines)
    assert whole is not None
    probes[0].see(queries[:1], np.full_like(best, -1))
    assert 0 == scan_recall(engines) < whole
