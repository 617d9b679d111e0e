"""``clickahead rejected`` against a real Kafka."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from model.engine import OnnxEngine
from stream_app.cli import app
from stream_app.core.config import CoreConfig
from stream_app.invocation import ExitCode, Invocation
from stream_app.kafka.connection import Connection, opened
from stream_app.replay import InputRecord, Replay
from tests.core.streams import KEY

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
EVIL = b'{"user_id": "\x1b]0;owned\x07\xc2\x9b2J"'


class Shop:
    """A stream with three dead letters of two reasons, and the command line for it."""

    def __init__(self, kafka: str, prefix: str, folder: Path) -> None:
        self.kafka, self.folder, self.events = kafka, folder, f"{prefix}events"
        self.rejected = f"{prefix}rejected"
        self.environ = {
            "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "CLICKAHEAD_TOPICS__PREFIX": prefix,
            "CLICKAHEAD_INPUT__TOPIC": self.events,
            "CLICKAHEAD_WORKER__APP_ID": f"{prefix}worker",
            "CLICKAHEAD_WORKER__PARTITIONS": "2",
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), obj=Invocation(self.environ, self.folder))

    async def fill(self, engine: OnnxEngine) -> None:
        """What a worker would publish for three bad records, as the core says it."""
        inputs = [(0, b"a", EVIL), (1, b"b", b"{}"), (1, None, b"\xc1\xfe")]
        connection = Connection((self.kafka,))
        async with opened(AIOKafkaProducer(**connection.client()), connection) as producer:
            offsets = [
                (await producer.send_and_wait(self.events, value, key=key, partition=p)).offset
                for p, key, value in inputs
            ]
            replay = Replay(self.events, engine, CoreConfig(pseudonym_key=KEY))
            rows = [
                InputRecord(p, offset, -1, key, value)
                for (p, key, value), offset in zip(inputs, offsets, strict=True)
            ]
            for record in replay.feed(rows)["rejected"]:
                partition = rows[record.row].partition
                await producer.send_and_wait(
                    self.rejected, record.value, key=record.key, partition=partition
                )


@pytest.fixture
def shop(kafka: str, topic_prefix: str, tmp_path: Path, tiny_engine: OnnxEngine) -> Shop:
    shop = Shop(kafka, topic_prefix, tmp_path)
    assert shop.run("topics").exit_code == ExitCode.OK
    asyncio.run(shop.fill(tiny_engine))
    return shop


def test_they_are_listed_by_reason_and_the_newest_first(shop: Shop) -> None:
    listed = shop.run("rejected", "list", "--json")
    assert listed.exit_code == ExitCode.OK
    found = json.loads(listed.stdout)
    assert (found["records"], found["reasons"]) == (3, {"syntax": 2, "timestamp": 1})
    sources = [row["source"] for row in found["newest"]]
    assert sources == [f"{shop.events}-1-1", f"{shop.events}-1-0", f"{shop.events}-0-0"]

    def counted(*options: str) -> int:
        shown = shop.run("rejected", "list", "--json", "--limit", "0", *options)
        return int(json.loads(shown.stdout)["records"])

    assert counted("--reason", "syntax") == 2
    assert counted("--reason", "syntax", "--partition", "1") == 1
    assert counted("--since", "1h") == 3
    assert counted("--since", "2200-01-01") == 0
    table = shop.run("rejected", "list", "--limit", "1").stdout
    assert f"3 rejected in {shop.rejected}: 2 syntax, 1 timestamp" in table
    assert len(table.splitlines()) >= 3


def test_one_is_shown_whole_and_harmless(shop: Shop) -> None:
    shown = shop.run("rejected", "show", f"{shop.events}-0-0")
    assert shown.exit_code == ExitCode.OK
    assert all(line.isprintable() for line in shown.stdout.split("\n"))
    assert r"\x1b]0;owned\x07\x9b2J" in shown.stdout
    as_json = json.loads(shop.run("rejected", "show", f"{shop.events}-1-1", "--json").stdout)
    assert (as_json["key"], as_json["value"]) == (None, "wf4=")
    absent = shop.run("rejected", "show", f"{shop.events}-0-7")
    assert absent.exit_code == ExitCode.USAGE
    assert "holds no dead letter" in absent.stderr


def test_they_are_sent_again_once(shop: Shop) -> None:
    looked = shop.run("rejected", "replay", "--dry-run")
    assert (looked.exit_code, looked.stdout) == (0, f"would send 3 records to {shop.events}\n")
    nobody = shop.run("rejected", "replay")
    assert nobody.exit_code == ExitCode.USAGE
    assert "give --yes" in nobody.stderr
    sent = shop.run("rejected", "replay", "--reason", "syntax", "--yes")
    assert sent.stdout == f"sent 2 records to {shop.events}\n"
    again = shop.run("rejected", "replay", "--yes", "--rate", "100")
    assert again.stdout == f"sent 1 records to {shop.events}; 2 were sent before\n"
    none = shop.run("rejected", "replay", "--reason", "late", "--yes")
    assert (none.exit_code, none.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--reason", "bad"], "no such reason"),
        (["list", "--since", "soon"], "give how long ago"),
        (["show", "nowhere"], "give topic-partition-offset"),
        (["replay", "--rate", "0"], "more than 0"),
    ],
)
def test_mistakes_are_said_before_kafka_is_asked(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    refused = CliRunner().invoke(app, ["rejected", *arguments], obj=Invocation({}, tmp_path))
    assert refused.exit_code == ExitCode.USAGE
    assert said in refused.stderr


def test_its_help_does_without_a_model() -> None:
    code = "import sys; from stream_app.cli import load_command; load_command('rejected');"
    code += " print([m for m in ('faust', 'onnxruntime', 'torch', 'duckdb') if m in sys.modules])"
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert ended.stdout == "[]\n"
