"""The state file: it comes back whole, it knows its run, and it is replaced in one step."""

from pathlib import Path

import numpy as np
import pytest

from model import resume
from model.resume import EpochRecord, Position, ResumeError

POSITION = Position(
    "choose",
    epoch=2,
    batch=17,
    step=99,
    item_loss_sum=0.1 + 0.2,
    item_count=3,
    history=(EpochRecord("choose", 1, 1 / 3, 2.0, 3.0, 0.5, None),),
)
ARRAYS = {
    "net.x": np.arange(6, dtype=np.float32).reshape(2, 3),
    "step.x": np.array(4, np.float32),
}


def test_round_trip(tmp_path: Path) -> None:
    resume.save(tmp_path / "s", "run", POSITION, ARRAYS)
    found = resume.load(tmp_path / "s", "run")
    assert found is not None
    assert found[0] == POSITION
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[1][name], array)


def test_no_state_is_no_error(tmp_path: Path) -> None:
    assert resume.load(tmp_path / "s", "run") is None


def test_a_cut_off_write_leaves_the_state_before(tmp_path: Path) -> None:
    resume.save(tmp_path / "s", "run", POSITION, ARRAYS)
    (tmp_path / "s.unfinished").write_bytes(b"half a st")
    found = resume.load(tmp_path / "s", "run")
    assert found is not None
    assert found[0] == POSITION


def test_strangers_are_refused(tmp_path: Path) -> None:
    resume.save(tmp_path / "s", "run", POSITION, ARRAYS)
    with pytest.raises(ResumeError, match="other settings"):
        resume.load(tmp_path / "s", "another run")
    for content in (b"", b"rubbish" * 9, (tmp_path / "s").read_bytes()[:40]):
        (tmp_path / "s").write_bytes(content)
        with pytest.raises(ResumeError, match="delete it to begin anew"):
            resume.load(tmp_path / "s", "run")
