"""``clickahead topics`` against a real Kafka."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream_app.cli import app
from stream_app.invocation import ExitCode, Invocation

pytestmark = pytest.mark.kafka


def run(kafka: str, prefix: str, folder: Path, *arguments: str, **more: str) -> Result:
    environ = {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "CLICKAHEAD_TOPICS__PREFIX": prefix,
        "CLICKAHEAD_INPUT__TOPIC": f"{prefix}events",
        "CLICKAHEAD_WORKER__APP_ID": f"{prefix}worker",
        "COLUMNS": "200",
        **more,
    }
    return CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["topics", *arguments], obj=Invocation(environ, folder)
    )


def states(result: Result) -> list[list[str]]:
    """Partitions and state of each line of the table."""
    return [[line.split()[2], line.split()[-1]] for line in result.stdout.splitlines()[1:]]


def test_topics_are_looked_at_created_and_found(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    looked = run(kafka, topic_prefix, tmp_path, "--check")
    assert looked.exit_code == ExitCode.FAILED
    assert f"{topic_prefix}events does not exist. Run `clickahead topics`" in looked.stderr
    created = run(kafka, topic_prefix, tmp_path, CLICKAHEAD_WORKER__PARTITIONS="2")
    assert created.exit_code == ExitCode.OK, created.stderr
    assert states(created) == [[n, "created"] for n in "222211222"]
    found = run(kafka, topic_prefix, tmp_path, "--check")
    assert found.exit_code == ExitCode.OK
    assert states(found) == [[n, "exists"] for n in "222211222"]


def test_a_topic_that_will_not_do_fails_with_a_sentence(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    assert run(kafka, topic_prefix, tmp_path).exit_code == ExitCode.OK
    # The predictions take the place of the control topic, which has one partition.
    mixed = {"CLICKAHEAD_TOPICS__PREDICTIONS": "control", "CLICKAHEAD_TOPICS__CONTROL": "control2"}
    result = run(kafka, topic_prefix, tmp_path, "--check", **mixed)
    assert result.exit_code == ExitCode.FAILED
    assert f"{topic_prefix}control has 1 partitions and needs 4: " in result.stderr
    assert f"{topic_prefix}control2 does not exist." in result.stderr


def test_a_replication_that_cannot_be_is_a_sentence(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    result = run(kafka, topic_prefix, tmp_path, CLICKAHEAD_KAFKA__REPLICATION_FACTOR="3")
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr.startswith(f"clickahead: Topic {topic_prefix}events: ")


def test_a_kafka_that_is_not_there(topic_prefix: str, tmp_path: Path) -> None:
    result = run("127.0.0.1:1", topic_prefix, tmp_path)
    assert result.exit_code == ExitCode.KAFKA_UNREACHABLE
    assert "clickahead: No Kafka answers PLAINTEXT at 127.0.0.1:1. Start one" in result.stderr
