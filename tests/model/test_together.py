"""Ensembles of whole models: snapshots of one training, joined by logits and by ranks."""

from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from model import checkpoint
from model.architectures import build_net
from model.config import ConfigError, TrainConfig
from model.ensembles import AVERAGE, FUSION
from model.fit import learning_rate
from model.net_shape import NetShape
from model.together import TogetherError, table, together
from model.train import SNAPSHOTS, train
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of()
ITEMS = tuple("abcdef")
CONFIG = TrainConfig(epochs=4, snapshots=2, batch_sequences=16, learning_rate=1e-2)


def test_snapshots_are_kept_and_joined(tmp_path: Path) -> None:
    manifest = train(learnable_log(SPEC, users=40), SPEC, ITEMS, CONFIG, tmp_path)
    first, last = (checkpoint.load(tmp_path / SNAPSHOTS / name) for name in ("1", "2"))
    assert last.manifest.fingerprint == manifest.fingerprint != first.manifest.fingerprint
    assert not (tmp_path / SNAPSHOTS / "3").exists()
    folders = [tmp_path, tmp_path / SNAPSHOTS / "1"]
    found = together(folders, learnable_log(SPEC, users=20, seed=2))
    assert set(found) == {*map(str, folders), AVERAGE, FUSION}
    worst = min(found[str(folder)]["mrr@20"] for folder in folders)
    assert all(found[name]["mrr@20"] >= worst for name in (AVERAGE, FUSION))
    console = Console(record=True, width=200)
    console.print(table(found))
    assert AVERAGE in console.export_text()


def test_a_cycle_ends_low_and_the_next_begins_anew() -> None:
    rates = [learning_rate(progress, CONFIG) for progress in (0.05, 0.499, 0.55, 0.999)]
    assert rates[0] == pytest.approx(rates[2])
    assert max(rates[1], rates[3]) < 0.01 * rates[0]


def test_models_of_other_items_are_refused(tmp_path: Path) -> None:
    net = build_net(SPEC, NetShape())
    checkpoint.save(tmp_path / "one", SPEC, ITEMS, net.weights())
    checkpoint.save(tmp_path / "other", SPEC, tuple("abcdez"), net.weights())
    with pytest.raises(TogetherError, match="other knows other items"):
        together([tmp_path / "one", tmp_path / "other"], learnable_log(SPEC, users=2))


@pytest.mark.parametrize("wrong", [{"epochs": 5}, {"held_out": 0.1}])
def test_snapshots_need_equal_cycles(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="equal distances"):
        msgspec.structs.replace(CONFIG, **wrong)
