"""``clickahead watch`` against a real Kafka."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from stream_app.cli import app
from stream_app.invocation import ExitCode, Invocation
from stream_app.kafka.connection import Connection, opened

pytestmark = pytest.mark.kafka

MAIN = "from stream_app.cli import main; main()"


@pytest.fixture
def environ(kafka: str, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """Settings of a stream with topics."""
    environ = {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "CLICKAHEAD_TOPICS__PREFIX": topic_prefix,
        "CLICKAHEAD_INPUT__TOPIC": f"{topic_prefix}events",
        "CLICKAHEAD_WORKER__APP_ID": f"{topic_prefix}worker",
        "CLICKAHEAD_WORKER__PARTITIONS": "1",
    }
    result = CliRunner().invoke(app, ["topics"], obj=Invocation(environ, tmp_path))
    assert result.exit_code == ExitCode.OK
    return environ


async def send(kafka: str, topic: str, *values: bytes) -> None:
    connection = Connection((kafka,))
    async with opened(AIOKafkaProducer(**connection.client()), connection) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"\x1b[31mkey")


def test_records_are_lines_and_filters_choose(
    kafka: str, topic_prefix: str, environ: dict[str, str], tmp_path: Path
) -> None:
    long = b'{"kind": "long", "text": "' + b"x" * 500 + b'"}'
    asyncio.run(send(kafka, f"{topic_prefix}events", b'{"kind": "a"}', b'{"kind": "b"}', long))

    def watched(*arguments: str) -> list[str]:
        command = ["watch", "events", "--from-beginning", *arguments]
        result = CliRunner().invoke(app, command, obj=Invocation(environ, tmp_path))
        assert result.exit_code == ExitCode.OK
        return result.stdout.splitlines()

    lines = watched("--limit", "3")
    assert [line.split(" ", 1)[1].lstrip() for line in lines[:2]] == [
        r'0:0 \x1b[31mkey {"kind":"a"}',
        r'0:1 \x1b[31mkey {"kind":"b"}',
    ]
    assert len(lines) == 3
    assert "x" * 500 in lines[2]
    (chosen,) = watched("--limit", "1", "--filter", "kind=b", "--filter", "key")
    assert chosen == lines[1]


def test_it_waits_for_what_comes_and_ends_with_ctrl_c(
    kafka: str, topic_prefix: str, environ: dict[str, str], tmp_path: Path
) -> None:
    asyncio.run(send(kafka, f"{topic_prefix}events", b"before"))
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", MAIN, "watch", "events"],
        cwd=tmp_path,
        env={**os.environ, **environ, "PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None

        async def until_seen() -> str:
            """It says nothing before its first record, so that we send until it has begun."""
            assert process.stdout is not None
            line = asyncio.create_task(asyncio.to_thread(process.stdout.readline))
            while not line.done():
                await send(kafka, f"{topic_prefix}events", b"after")
                await asyncio.wait([line], timeout=0.5)
            return await line

        assert asyncio.run(until_seen()).endswith("after\n")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
