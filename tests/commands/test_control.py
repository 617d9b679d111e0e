"""``clickahead control`` against a real Kafka; tests/test_helm.py has workers that obey."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream_app.cli import app
from stream_app.commands import control
from stream_app.core.privacy import pseudonymiser
from stream_app.invocation import ExitCode, Invocation
from stream_app.kafka.connection import Connection
from stream_app.sections import INSECURE_KEY
from tests.kafka.test_control_topic import changes, record
from tests.kafka.test_topic_reader import new_topic, values_of

MODEL = "gru-0123456789abcdef"
PSEUDONYM = pseudonymiser(INSECURE_KEY.encode())("u1").hex()


def run(kafka: str, prefix: str, folder: Path, *arguments: str) -> Result:
    environ = {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "CLICKAHEAD_TOPICS__PREFIX": prefix,
        "CLICKAHEAD_WORKER__APP_ID": f"{prefix}worker",
    }
    return CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["control", *arguments], obj=Invocation(environ, folder)
    )


@pytest.mark.kafka
def test_orders_are_written_and_said(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    topic = f"{topic_prefix}control"
    asyncio.run(new_topic(Connection((kafka,)), topic, 1))
    orders = [
        (("promote", MODEL), {"order": "promote", "model": MODEL}),
        (("rollback",), {"order": "roll_back"}),
        (("rollback", MODEL), {"order": "roll_back", "model": MODEL}),
        (("shadow", MODEL), {"order": "shadow", "model": MODEL}),
        (("shadow", "--off"), {"order": "shadow"}),
        (("erase-user", "u1"), {"order": "erase_user", "user": PSEUDONYM}),
        (("erase-user", PSEUDONYM, "--pseudonym"), {"order": "erase_user", "user": PSEUDONYM}),
        (("block", "i1"), {"order": "block_item", "item_id": "i1"}),
        (("unblock", "i1"), {"order": "unblock_item", "item_id": "i1"}),
    ]
    for number, (arguments, _) in enumerate(orders):
        result = run(kafka, topic_prefix, tmp_path, *arguments)
        assert result.exit_code == ExitCode.OK, result.output
        assert f"order {number} of {topic}" in result.stdout
    _, values = asyncio.run(values_of(Connection((kafka,)), topic))
    for value, (_, expected) in zip(values, orders, strict=True):
        said = {name: part for name, part in json.loads(value or b"").items() if part is not None}
        assert said == expected
    # No order names a person.
    assert not any(b'"u1"' in (value or b"") for value in values)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("promote", "better"), "no model version"),
        (("rollback", "gru-1"), "no model version"),
        (("shadow",), "Name the model to watch"),
        (("shadow", MODEL, "--off"), "Name the model to watch"),
        (("erase-user", "u1", "--pseudonym"), "no pseudonym"),
        (("block", ""), "is empty"),
    ],
)
def test_what_is_no_order_is_refused_before_anything_is_written(
    arguments: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    result = run("127.0.0.1:1", "nowhere.", tmp_path, *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert why in result.stderr


@pytest.mark.kafka
def test_who_waits_is_told_of_partitions_that_do_not_answer(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, changelog = Connection((kafka,)), f"{topic_prefix}worker-state-changelog"
    asyncio.run(new_topic(connection, f"{topic_prefix}control", 1))
    absent = run(kafka, topic_prefix, tmp_path, "promote", MODEL, "--wait")
    assert absent.exit_code == ExitCode.USAGE
    assert changelog in absent.stderr
    asyncio.run(new_topic(connection, changelog, 2))
    asyncio.run(changes(connection, changelog, 0, record(10, 99)))
    asyncio.run(changes(connection, changelog, 1, record(20, 0)))
    monkeypatch.setattr(control, "WAIT_SECONDS", 1.0)
    silent = run(kafka, topic_prefix, tmp_path, "block", "i1", "--wait")
    assert silent.exit_code == ExitCode.FAILED
    assert "partitions 1 have not taken it in" in silent.stderr
    asyncio.run(changes(connection, changelog, 1, record(21, 99)))
    refused = run(kafka, topic_prefix, tmp_path, "promote", MODEL, "--wait")
    assert refused.exit_code == ExitCode.FAILED
    assert "Partitions 0, 1 let another model answer" in refused.stderr
    done = run(kafka, topic_prefix, tmp_path, "block", "i1", "--wait")
    assert done.exit_code == ExitCode.OK
    assert "in force on 2 partitions" in done.stdout


@pytest.mark.kafka
def test_status_shows_every_partition(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    connection, changelog = Connection((kafka,)), f"{topic_prefix}worker-state-changelog"
    asyncio.run(new_topic(connection, changelog, 2))
    asyncio.run(changes(connection, changelog, 1, record(20, 3)))
    shown = json.loads(run(kafka, topic_prefix, tmp_path, "status", "--json").stdout)
    assert list(shown) == ["1"]
    assert (shown["1"]["next_offset"], shown["1"]["as_of"]) == (20, 3)
    assert run(kafka, topic_prefix, tmp_path, "status").stdout.split()[-7] == "1"
