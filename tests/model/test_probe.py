"""What is learned beside a model comes from one that has not seen what it is learned on."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from model import checkpoint
from model.action_rivals import Rivals
from model.config import TrainConfig
from model.evaluate import EvaluationError
from model.probe import HELD_OUT, checked_hash, probe_leans, probe_of
from model.spec import ModelSpec
from model.train import held_back, train
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of()
ITEMS = tuple("abcdef")
LOG = learnable_log(SPEC)
CONFIG = TrainConfig(epochs=2, batch_sequences=32, learning_rate=1e-2)


def trained(out: Path, spec: ModelSpec = SPEC, **settings: float) -> checkpoint.Checkpoint:
    train(LOG, spec, ITEMS, msgspec.structs.replace(CONFIG, **settings), out)
    return checkpoint.load(out)


def test_a_model_that_has_not_seen_the_tail_is_its_own_probe(tmp_path: Path) -> None:
    saved = trained(tmp_path, held_out=0.2, patience=0, refit=False)
    probe, settings = probe_of(tmp_path, LOG, saved, None)
    assert settings.held_out == 0.2
    np.testing.assert_array_equal(probe.net.weights()["item_embedding"],
                                  saved.weights["item_embedding"])  # fmt: skip
    assert not (tmp_path / checkpoint.CHOSEN).exists()


def test_one_that_has_seen_everything_gets_a_sibling(tmp_path: Path) -> None:
    saved = trained(tmp_path, snapshots=2)
    chosen = tmp_path / checkpoint.CHOSEN
    # What lies there is of another form: it is no sibling.
    trained(chosen, msgspec.structs.replace(SPEC, hidden_width=4), held_out=0.3, refit=False)
    probe, settings = probe_of(tmp_path, LOG, saved, None)
    assert (settings.held_out, probe.spec) == (HELD_OUT, SPEC)
    made = (chosen / checkpoint.MANIFEST_FILE).stat().st_mtime_ns
    assert probe_of(tmp_path, LOG, saved, None)[1] == settings
    assert (chosen / checkpoint.MANIFEST_FILE).stat().st_mtime_ns == made


def test_a_model_that_was_refit_has_seen_the_tail(tmp_path: Path) -> None:
    saved = trained(tmp_path, held_out=0.2, patience=0, refit=True)
    _, settings = probe_of(tmp_path, LOG, saved, None)
    assert (settings.held_out, settings.is_probe) == (0.2, True)
    assert (tmp_path / checkpoint.CHOSEN / checkpoint.MANIFEST_FILE).exists()


@pytest.mark.parametrize("settings", [{"held_out": 0.2}, {"leave_one_out": True}])
def test_leans_are_learned_from_what_is_held_out_alone(
    tmp_path: Path, settings: dict[str, float]
) -> None:
    saved = trained(tmp_path, patience=0, refit=False, **settings)
    probe, own = probe_of(tmp_path, LOG, saved, None)
    early, exam = held_back(LOG, SPEC, own)
    rivals = Rivals(early, SPEC)
    leans = probe_leans(probe, rivals, exam, SPEC, own)
    assert leans
    # Actions that nobody is asked after there may be any.
    asked = np.zeros(LOG.events, bool)
    asked[exam.questions.event] = True
    session = np.repeat(np.arange(LOG.sessions), np.diff(LOG.session_start))
    late = np.isin(session, session[asked])
    other = msgspec.structs.replace(LOG, action=np.where(late, LOG.action, 2).astype(np.int32))
    changed = msgspec.structs.replace(exam, log=other)
    assert probe_leans(probe, rivals, changed, SPEC, own) == leans


def test_other_training_files_are_refused(tmp_path: Path) -> None:
    saved = trained(tmp_path)
    assert checked_hash(LOG, saved) == saved.manifest.data_hash
    with pytest.raises(EvaluationError, match="not those that the model was trained on"):
        checked_hash(learnable_log(SPEC, seed=1), saved)
