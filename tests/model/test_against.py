"""A trained net beside everything else, from one folder: fitted once, kept, compared at once."""

import io
import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from model.action_contest import action_table
from model.action_leads import leads_table
from model.against import (
    BLEND,
    Prepared,
    compare_actions,
    compare_all,
    prepare,
)
from model.blend import BlendConfig
from model.config import TrainConfig
from model.ensembles import FUSION
from model.lead import HeldOut, against_table, held_out_table
from model.members import BLENDED
from model.train import train
from tests.model.logs import learnable_log, spec_of

pytestmark = pytest.mark.slow
SPEC = spec_of(items=30, width=8)
ITEMS = tuple(f"i{n}" for n in range(30))
TRAIN = learnable_log(SPEC, users=150)
TEST = learnable_log(SPEC, users=20, seed=1)
CONFIG = TrainConfig(epochs=2, batch_sequences=64, learning_rate=1e-2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(TRAIN, SPEC, ITEMS, CONFIG, out)
    return out


def test_everything_stands_in_one_table(folder: Path) -> None:
    console = Console(file=io.StringIO(), width=250)
    result = compare_all(folder, TRAIN, TEST, console=console)
    assert set(BLENDED) < set(result["members"])
    assert {BLEND, FUSION, "logit average", "popular", "ALS", "Node2Vec"} < set(result["members"])
    assert len({row["n"] for row in result["members"].values()}) == 1
    assert set(result["differences"]) == set(result["members"]) - {BLEND}
    assert result["differences"]["popular"]["mrr@20"]["low"] > 0.1
    assert result["published"] is None
    assert json.loads(json.dumps(result)) == result
    console.print(against_table(result))
    beside = msgspec.convert(result["held_out"], HeldOut)
    assert set(beside.metrics) == {"net", *BLENDED, "blend, pool", "blend, trees", "blend, both"}
    assert set(beside.leads) == set(beside.metrics) - {"blend, both"}
    assert beside.metrics["blend, both"]["mrr@20"] > 0.1
    console.print(held_out_table(beside))
    assert isinstance(console.file, io.StringIO)
    rivals = result["actions"]
    assert compare_actions(folder, TRAIN, TEST) == rivals
    assert {row["n"] for row in rivals.values()} == {TEST.events}
    console.print(action_table(rivals, SPEC.actions))
    console.print(leads_table("net", rivals["net"]["leads"], SPEC.actions))
    for word in (*result["members"], "blend leads", *rivals, "AUC purchase", "net leads by"):
        assert word in console.file.getvalue()


def test_what_was_fitted_is_kept_and_used_again(folder: Path) -> None:
    one = prepare(folder, TRAIN)
    kept = folder / "blend" / "prepared.json"
    told = kept.stat().st_mtime_ns
    assert msgspec.json.decode(kept.read_bytes(), type=Prepared) == prepare(folder, TRAIN) == one
    assert kept.stat().st_mtime_ns == told
    assert (folder / "train" / "chosen" / "manifest.json").exists()
    assert {"net", "blend, pool", "blend, trees"} < set(one.fitted.judged)
    kept.unlink()
    assert prepare(folder, TRAIN, config=BlendConfig()) == one
    kept.write_text("{}")
    assert prepare(folder, TRAIN) == one


def test_without_a_tail_rank_fusion_leads(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(CONFIG, leave_one_out=True, refit=False)
    train(TRAIN, SPEC, ITEMS, settings, tmp_path)
    # Whether the file is named once or twice: it is read twice then.
    test = learnable_log(SPEC, users=150)
    result = compare_all(tmp_path, TRAIN, test, "leave-one-out", filter_seen=True)
    assert result["leader"] == FUSION
    assert BLEND not in result["members"]
    assert result["n"] == 150
    assert not (tmp_path / "blend").exists()
    rivals = compare_actions(tmp_path, TRAIN, test, "leave-one-out")
    assert {(row["n"], row["lean"]) for row in rivals.values()} == {(150, 0.0)}
