"""Two processes train the model that one alone would train."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from model import checkpoint
from model.config import TrainConfig
from model.team import ALONE, Team, TeamError, joined
from model.train import train
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of()
ITEMS = tuple("abcdef")
LOG = learnable_log(SPEC, users=30)
CONFIG = TrainConfig(
    epochs=2,
    batch_sequences=16,
    input_dropout=0.2,
    hidden_dropout=0.2,
    contrastive_weight=0.1,
    held_out=0.2,
    patience=1,
    save_every=2,
)

# The second process would write beside the first one's folder, if it wrote.
PROGRAM = """
    import os, signal, sys
    from pathlib import Path
    from model.team import joined
    from model.train import train
    from tests.model.test_team import CONFIG, ITEMS, LOG, SPEC

    def on_batch(position):
        is_first_life = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if is_first_life and team.rank == 1 and position.step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    with joined() as team:
        out = Path(sys.argv[1]) / str(team.rank)
        train(LOG, SPEC, ITEMS, CONFIG, out, on_batch=on_batch, team=team)
"""


def together(program: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    root = Path(__file__).parents[2]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(  # noqa: S603
        [sys.executable, *torchrun, "--max-restarts", "3", str(program), str(folder)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_one_of_which_dies_end_where_one_alone_does(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    done = together(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr
    assert not (tmp_path / "1").exists()
    alone = train(LOG, SPEC, ITEMS, CONFIG, tmp_path / "alone")
    found, wanted = (checkpoint.load(tmp_path / name) for name in ("0", "alone"))
    for name, array in wanted.weights.items():
        np.testing.assert_allclose(found.weights[name], array, atol=1e-5, err_msg=name)
    for one, other in zip(found.manifest.metrics["history"], alone.metrics["history"], strict=True):
        assert one["item_loss"] == pytest.approx(other["item_loss"], abs=1e-4)
        assert one["mrr_at_20"] == pytest.approx(other["mrr_at_20"], abs=0.002)


def test_a_batch_must_be_divisible(tmp_path: Path) -> None:
    with pytest.raises(TeamError, match="batch_sequences=16 cannot be divided among 3 processes"):
        train(LOG, SPEC, ITEMS, CONFIG, tmp_path, team=Team(1, 3))
    assert [*tmp_path.iterdir()] == []


def test_who_was_not_started_by_torchrun_is_alone() -> None:
    with joined() as team:
        assert team == ALONE
        assert team.told(lambda: 3) == 3
