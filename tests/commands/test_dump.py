"""``clickahead dump`` against a real Kafka."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream_app.cli import app
from stream_app.invocation import ExitCode, Invocation
from stream_app.kafka.dump import read_dump

pytestmark = pytest.mark.kafka


def run(kafka: str, prefix: str, folder: Path, *arguments: str) -> Result:
    environ = {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "CLICKAHEAD_TOPICS__PREFIX": prefix,
        "CLICKAHEAD_INPUT__TOPIC": f"{prefix}clicks",
        "CLICKAHEAD_WORKER__APP_ID": f"{prefix}worker",
        "CLICKAHEAD_WORKER__PARTITIONS": "2",
    }
    return CliRunner().invoke(app, list(arguments), obj=Invocation(environ, folder))


@pytest.mark.parametrize("name", ["dump.jsonl", "dump.jsonl.gz"])
def test_a_topic_is_named_by_its_role_or_its_name(
    kafka: str, topic_prefix: str, tmp_path: Path, name: str
) -> None:
    assert run(kafka, topic_prefix, tmp_path, "topics").exit_code == ExitCode.OK
    assert run(kafka, topic_prefix, tmp_path, "heartbeat").exit_code == ExitCode.OK
    dumps = []
    for topic in ("events", f"{topic_prefix}clicks"):
        out = tmp_path / name
        result = run(kafka, topic_prefix, tmp_path, "dump", topic, "--out", str(out))
        assert result.exit_code == ExitCode.OK
        assert result.stderr == f"2 records of {topic_prefix}clicks in {out}\n"
        dumps.append(out.read_bytes())
    assert dumps[0] == dumps[1]
    assert [record.partition for record in read_dump(out)] == [0, 1]


def test_a_topic_that_is_not_there_leaves_no_file(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    out = tmp_path / "dump.jsonl"
    result = run(kafka, topic_prefix, tmp_path, "dump", f"{topic_prefix}no", "--out", str(out))
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith(f"clickahead: There is no topic {topic_prefix}no. ")
    assert list(tmp_path.iterdir()) == []
