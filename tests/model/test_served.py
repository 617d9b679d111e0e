"""The description of a served step survives the way to the disk, and goes there last."""

from pathlib import Path

import msgspec
import pytest

from model.served import (
    FORMER_GRAPH_FILE,
    GRAPH_FILES,
    STEP_FILE,
    Graphs,
    Step,
    digest_of,
    save_step,
    score_columns,
)
from tests.tiny_model import tiny_spec

GRAPHS = Graphs(b"recurrence", b"read_out")
STEP = Step(
    format=2,
    fingerprint="0123456789abcdef",
    graph_digests=GRAPHS.digests(),
    scan="exact",
    initial_log_z=1 / 3,
    measured={"parity": 1e-6},
)


def test_a_step_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / FORMER_GRAPH_FILE).write_bytes(b"of an older export")
    save_step(tmp_path, STEP, GRAPHS)
    assert msgspec.json.decode((tmp_path / STEP_FILE).read_bytes(), type=Step) == STEP
    assert tuple((tmp_path / name).read_bytes() for name in GRAPH_FILES) == GRAPHS
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([STEP_FILE, *GRAPH_FILES])


@pytest.mark.parametrize("change", [{"scan": "magic"}, {"extra": 1}, {"format": "one"}])
def test_unknown_fields_and_values_fail(change: dict[str, object]) -> None:
    plain = msgspec.to_builtins(STEP) | change
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, Step)


def test_a_digest_tells_two_graphs_apart() -> None:
    assert digest_of(b"graph") != digest_of(b"grapi")


def test_the_columns_of_scores_hold_every_number_of_the_contract() -> None:
    spec = tiny_spec()
    columns = score_columns(spec)
    assert columns["top_logp"] == spec.top_k
    assert columns["action_logp"] == len(spec.actions)
    assert columns["gap_logp"] == spec.gap_count - 1
    assert sum(columns.values()) == 3 + 20 + 6 + 2 + 4
