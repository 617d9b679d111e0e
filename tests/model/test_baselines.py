"""The baselines' sparse ranks against dense ones, and their files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import baselines
from model.baselines import Ranker
from model.checkpoint import CheckpointError
from model.data import NONE
from model.log import EventLog
from model.ranking import MISS, worst_ranks
from tests.model.logs import log_of, logs, spec_of

SPEC = spec_of(items=6)
KNOWN = SPEC.item_count


@given(
    logs(SPEC),
    st.integers(0, SPEC.no_item - 1),
    st.integers(NONE, SPEC.no_item - 1),
    st.sets(st.integers(0, KNOWN - 1)),
)
def test_ranks_equal_dense_ones(log: EventLog, target: int, last: int, removed: set[int]) -> None:
    counts = baselines.fit(log, SPEC)
    codes = np.array(sorted(removed), np.int32)
    ranker = Ranker(counts)
    found = ranker.popular(target, codes), ranker.markov(last, target, codes)
    if target >= KNOWN or target in removed:
        assert found == (MISS, MISS)
        return
    fame = counts.popularity.astype(float)
    after = np.zeros(KNOWN)
    if 0 <= last < KNOWN:
        row = slice(counts.row_start[last], counts.row_start[last + 1])
        after[counts.follower[row]] = counts.count[row]
    by_fame, by_count = fame.copy(), after * 1e6 + fame
    for scores in (by_fame, by_count):
        scores[codes] = -np.inf
    assert found == (
        worst_ranks(by_fame[None], np.array([target]))[0],
        worst_ranks(by_count[None], np.array([target]))[0],
    )


@pytest.mark.parametrize("reset", [True, False])
def test_counts_by_hand(reset: bool) -> None:
    spec = spec_of(items=3, reset=reset)
    none, cold = spec.no_item, spec.item_count
    log = log_of(
        [[[(0, 2), (none, 2), (1, 2)], [(2, 2)]], [[(0, 2), (cold, 2), (1, 2), (0, 2), (1, 2)]]],
        spec,
    )
    counts = baselines.fit(log, spec)
    assert counts.popularity.tolist() == [3, 3, 1]
    pairs = {
        (row, int(counts.follower[k])): int(counts.count[k])
        for row in range(3)
        for k in range(counts.row_start[row], counts.row_start[row + 1])
    }
    across_sessions = {} if reset else {(1, 2): 1}
    assert pairs == {(0, 1): 2, (1, 0): 1} | across_sessions


def test_round_trip_and_refusals(tmp_path: Path) -> None:
    log = log_of([[[(0, 2), (1, 2), (2, 2)]]], SPEC)
    with pytest.raises(CheckpointError, match=r"baselines\.safetensors cannot be read"):
        baselines.load(tmp_path, SPEC)
    counts = baselines.fit(log, SPEC)
    baselines.save(tmp_path, counts)
    loaded = baselines.load(tmp_path, SPEC)
    for name in counts.__struct_fields__:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(counts, name))
    with pytest.raises(CheckpointError, match="6 items, the model 4"):
        baselines.load(tmp_path, spec_of(items=4))
    (tmp_path / "baselines.safetensors").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="cannot be read"):
        baselines.load(tmp_path, SPEC)
