"""``clickahead heartbeat`` against a real Kafka."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_app.cli import app
from stream_app.invocation import ExitCode, Invocation

pytestmark = pytest.mark.kafka

MAIN = "from stream_app.cli import main; main()"


def settings(kafka: str, prefix: str) -> dict[str, str]:
    return {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "CLICKAHEAD_TOPICS__PREFIX": prefix,
        "CLICKAHEAD_INPUT__TOPIC": f"{prefix}events",
        "CLICKAHEAD_INPUT__FIELDS": '{"timestamp": "at"}',
        "CLICKAHEAD_WORKER__APP_ID": f"{prefix}worker",
        "CLICKAHEAD_WORKER__PARTITIONS": "2",
    }


def test_idle_partitions_get_a_record_once(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    invocation = Invocation(settings(kafka, topic_prefix), tmp_path)
    assert CliRunner().invoke(app, ["topics"], obj=invocation).exit_code == ExitCode.OK
    said = [CliRunner().invoke(app, ["heartbeat"], obj=invocation).stdout for _ in range(2)]
    assert said == [
        f"heartbeat to 2 idle partitions of {topic_prefix}events: 0, 1\n",
        f"heartbeat to 0 idle partitions of {topic_prefix}events: none\n",
    ]
    out = tmp_path / "events.jsonl"
    CliRunner().invoke(app, ["dump", "events", "--out", str(out)], obj=invocation)
    assert out.read_text().count(r"{\"event_type\":\"_heartbeat\",\"at\":") == 2


def test_it_goes_on_until_it_is_interrupted(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    environ = settings(kafka, topic_prefix)
    created = CliRunner().invoke(app, ["topics"], obj=Invocation(environ, tmp_path))
    assert created.exit_code == ExitCode.OK
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", MAIN, "heartbeat", "--every", "0.1"],
        cwd=tmp_path,
        env={**os.environ, **environ, "PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        rounds = [process.stdout.readline().split()[2] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert rounds == ["2", "0", "0"]
    assert (process.returncode, errors) == (0, "")


def test_a_topic_that_is_not_there_is_one_sentence(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    invocation = Invocation(settings(kafka, topic_prefix), tmp_path)
    result = CliRunner().invoke(app, ["heartbeat"], obj=invocation)
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith(f"clickahead: There is no topic {topic_prefix}events. ")
