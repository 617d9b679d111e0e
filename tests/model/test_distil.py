"""From teachers to a student that is served, and the bound between them."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from model import checkpoint
from model.bound import REPORT_FILE, BoundError
from model.config import TrainConfig
from model.distil import STUDENT, DistilConfig, Taught, TeacherError, Teachers, distil
from model.engine import open_engine
from model.holdout import hold_out
from model.net_shape import NetShape
from model.nets import GruNet
from model.phase import Exam
from model.questions import questions_of
from model.resume import Position
from model.train import train
from tests.model.logs import learnable_log, spec_of

SPEC = msgspec.structs.replace(spec_of(items=20, width=8), top_k=20)
SMALL = msgspec.structs.replace(SPEC, hidden_width=4, name="distilled")
ITEMS = tuple("abcdefghijklmnopqrst")
LOG = learnable_log(SPEC, users=80)
HELD = hold_out(LOG, 0.25)
DATA = Taught(HELD.early, Exam(LOG, questions_of(LOG, SPEC, "session", HELD.late)))
FAST = TrainConfig(epochs=8, batch_sequences=8, learning_rate=2e-2, save_every=3)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    config = msgspec.structs.replace(FAST, net="transformer", layers=1, learning_rate=1e-2)
    train(HELD.early, SPEC, ITEMS, config, folder)
    return folder


def teachers_of(*folders: Path) -> Teachers:
    return Teachers([checkpoint.load(folder) for folder in folders])


def test_a_student_keeps_what_the_teacher_knows_and_is_served(
    teacher: Path, tmp_path: Path
) -> None:
    config = DistilConfig(bound=0.9)
    parity = distil(teachers_of(teacher), DATA, SMALL, FAST, config, tmp_path)
    assert parity.passes
    assert parity.kept >= 0.9
    assert [row.name for row in parity.after] == ["student", "student, served"]
    assert parity.after[0].recall_at_20 == pytest.approx(parity.after[1].recall_at_20, abs=0.02)
    assert parity.after[0].bytes < parity.before.bytes
    assert set(parity.before.step_us) == {"1", "64", "256"}
    assert open_engine(tmp_path).spec == SMALL
    assert (tmp_path / REPORT_FILE).exists()
    assert (tmp_path / "baselines.safetensors").exists()


def test_a_killed_distillation_ends_as_a_whole_one(teacher: Path, tmp_path: Path) -> None:
    config = DistilConfig(bound=0.1)

    def kill(position: Position) -> None:
        if position.step == 7:
            raise Killed

    distil(teachers_of(teacher), DATA, SMALL, FAST, config, tmp_path / "whole")
    with pytest.raises(Killed):
        distil(teachers_of(teacher), DATA, SMALL, FAST, config, tmp_path / "cut", on_batch=kill)
    assert not (tmp_path / "cut" / "manifest.json").exists()
    distil(teachers_of(teacher), DATA, SMALL, FAST, config, tmp_path / "cut")
    whole, cut = (checkpoint.load(tmp_path / name).fingerprint for name in ("whole", "cut"))
    assert whole == cut


def test_a_student_that_lost_too_much_is_not_exported(teacher: Path, tmp_path: Path) -> None:
    lazy = msgspec.structs.replace(FAST, epochs=1, learning_rate=1e-5)
    asked = msgspec.structs.replace(SMALL, top_k=1)
    with pytest.raises(BoundError, match=r"nothing was exported.*--bound"):
        distil(teachers_of(teacher), DATA, asked, lazy, DistilConfig(bound=1.0), tmp_path)
    assert not (tmp_path / "manifest.json").exists()
    assert (tmp_path / REPORT_FILE).exists()
    assert (tmp_path / STUDENT / "manifest.json").exists()


def test_several_teachers_speak_with_one_voice(tmp_path: Path) -> None:
    nets = [GruNet(SPEC, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    for number, net in enumerate(nets):
        checkpoint.save(tmp_path / str(number), SPEC, ITEMS, net.weights(), net=NetShape())
    both = teachers_of(tmp_path / "0", tmp_path / "1")
    scores = both.scores(LOG, DATA.exam.questions)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    alone = [teachers_of(tmp_path / n).scores(LOG, DATA.exam.questions) for n in ("0", "1")]
    mean = (alone[0] + alone[1]) / 2
    np.testing.assert_allclose(np.diff(scores), np.diff(mean), atol=1e-5)


def test_teachers_of_different_items_are_refused(teacher: Path, tmp_path: Path) -> None:
    net = GruNet(SPEC, torch.Generator().manual_seed(1))
    checkpoint.save(tmp_path, SPEC, ITEMS[::-1], net.weights())
    with pytest.raises(TeacherError, match="different items"):
        teachers_of(teacher, tmp_path)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"teacher_weight": 0.0}, {"bound": 2.0}])
def test_settings_out_of_range_are_told(wrong: dict[str, float]) -> None:
    with pytest.raises(TeacherError, match=next(iter(wrong))):
        DistilConfig(**wrong)
