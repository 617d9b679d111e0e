"""A model carried over to another log answers about what it knew as before."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from model import checkpoint
from model.architectures import build_net, net_of
from model.checkpoint import Checkpoint
from model.config import ConfigError, TrainConfig
from model.net_shape import NetName, NetShape
from model.nets import TokenBatch
from model.spec import item_hash
from model.train import TrainError, train
from model.transfer import (
    Frozen,
    TransferConfig,
    carried_weights,
    extended_spec,
    frozen_names,
    guide_from,
)
from tests.model.logs import ACTIONS, learnable_log, log_of, spec_of

OLD = spec_of(items=6, features=("dwell",))
OLD_ITEMS = tuple("abcdef")
NEW = spec_of(items=4, actions=(*ACTIONS, "wish"), features=("dwell", "hour_sin"))
NEW_ITEMS = ("f", "x", "b", "y")


def earlier(net: NetName = "gru") -> Checkpoint:
    shape = NetShape(name=net, layers=1)
    weights = build_net(OLD, shape, torch.Generator().manual_seed(1)).weights()
    manifest = checkpoint.Manifest(spec=OLD, net=shape, fingerprint="00")
    return Checkpoint(manifest, OLD_ITEMS, weights)


SPEC, ITEMS = extended_spec(earlier(), NEW, NEW_ITEMS)
LOG = log_of([[[(1, 2), (6, 2), (5, 2), (6, 5)], [(2, 2), (3, 3)]]], SPEC)


def test_the_vocabulary_is_kept_and_extended() -> None:
    assert (*"abcdef", "x", "y") == ITEMS
    assert SPEC.actions == (*OLD.actions, "wish")
    assert SPEC.features == ("dwell", "hour_sin")
    assert (SPEC.hidden_width, SPEC.gap_edges_ms) == (OLD.hidden_width, OLD.gap_edges_ms)


@pytest.mark.parametrize("name", ["gru", "lstm", "transformer"])
def test_old_items_are_scored_as_before(name: NetName) -> None:
    before = earlier(name)
    weights = carried_weights(before, SPEC, ITEMS, LOG)
    after = build_net(SPEC, before.manifest.net)
    after.set_weights(weights)
    was = net_of(before)
    rng = np.random.default_rng(0)
    # Items, cold buckets, and no item.
    codes = rng.integers(0, OLD.input_count, (3, 7))
    shifted = np.where(codes < 6, codes, codes + 2)
    actions = torch.from_numpy(rng.integers(0, len(OLD.actions), (3, 7)))
    gaps = torch.from_numpy(rng.integers(0, OLD.gap_count, (3, 7)))
    dense = torch.from_numpy(rng.standard_normal((3, 7, 1), dtype=np.float32))
    more = torch.cat([dense, torch.ones(3, 7, 1)], 2)
    with torch.no_grad():
        hidden = was(TokenBatch(torch.from_numpy(codes), actions, gaps, dense), was.initial(3))
        tokens = TokenBatch(torch.from_numpy(shifted), actions, gaps, more)
        found = after(tokens, after.initial(3))
        torch.testing.assert_close(found, hidden)
        scores, wanted = after.item_logits(found), was.item_logits(hidden)
        torch.testing.assert_close(scores[..., :6], wanted)
        torch.testing.assert_close(
            after.action_logits(found)[..., : len(OLD.actions)], was.action_logits(hidden)
        )


def test_new_items_begin_beside_their_neighbours_or_at_their_bucket() -> None:
    before = earlier()
    table = carried_weights(before, SPEC, ITEMS, LOG)["item_embedding"]
    old = before.weights["item_embedding"]
    unit = old[:6] / np.linalg.norm(old[:6], axis=1, keepdims=True)
    beside = unit[1] + 2 * unit[5]  # x stands after b, before f and after f
    cosine = table[6] @ beside / np.linalg.norm(table[6]) / np.linalg.norm(beside)
    assert cosine == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(table[6]) == pytest.approx(np.median(np.linalg.norm(old[:6], axis=1)))
    assert np.array_equal(table[7], old[6 + item_hash("y") % OLD.cold_buckets])


def test_without_epochs_the_model_stays(tmp_path: Path) -> None:
    before = earlier()
    guide = guide_from(before, SPEC, ITEMS, LOG, TransferConfig())
    assert guide.weights is not None
    train(LOG, SPEC, ITEMS, TrainConfig(epochs=0), tmp_path, guide=guide)
    found = checkpoint.load(tmp_path).weights
    assert all(np.array_equal(found[name], guide.weights[name]) for name in found)
    with pytest.raises(TrainError, match="at least 1"):
        train(LOG, SPEC, ITEMS, TrainConfig(epochs=0), tmp_path / "never")


@pytest.mark.parametrize("freeze", ["embedding", "recurrent", "body"])
def test_what_is_frozen_stays(freeze: Frozen, tmp_path: Path) -> None:
    log, before = learnable_log(OLD, users=10), earlier()
    guide = guide_from(before, OLD, OLD_ITEMS, log, TransferConfig(freeze=freeze))
    train(log, OLD, OLD_ITEMS, TrainConfig(epochs=1, batch_sequences=4), tmp_path, guide=guide)
    found = checkpoint.load(tmp_path).weights
    same = {name for name in found if np.array_equal(found[name], before.weights[name])}
    wanted = frozen_names(OLD, before, freeze)
    assert wanted <= same
    assert ("item_embedding" in wanted) == (freeze != "recurrent")
    assert ("gru.weight_hh" in wanted) == (freeze != "embedding")
    assert "action_head.weight" not in same


def test_adapters_are_merged_into_a_model_like_any_other(tmp_path: Path) -> None:
    log, before = learnable_log(OLD, users=20), earlier()
    guide = guide_from(before, OLD, OLD_ITEMS, log, TransferConfig(lora_rank=2))
    config = TrainConfig(epochs=2, batch_sequences=4, averaging=0.9, save_every=3)
    train(log, OLD, OLD_ITEMS, config, tmp_path / "whole", guide=guide)
    found = checkpoint.load(tmp_path / "whole")
    moved = found.weights["gru.weight_hh"] - before.weights["gru.weight_hh"]
    assert np.linalg.matrix_rank(moved, tol=1e-5) == 2
    assert np.array_equal(found.weights["item_embedding"], before.weights["item_embedding"])

    class Killed(Exception):
        pass

    def kill(position: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise Killed

    steps = 0
    with pytest.raises(Killed):
        train(log, OLD, OLD_ITEMS, config, tmp_path / "cut", guide=guide, on_batch=kill)
    train(log, OLD, OLD_ITEMS, config, tmp_path / "cut", guide=guide)
    assert checkpoint.load(tmp_path / "cut").fingerprint == found.fingerprint


def test_settings_that_contradict_each_other_are_told() -> None:
    with pytest.raises(ConfigError, match="set one of the two"):
        TransferConfig(freeze="body", lora_rank=2)
    with pytest.raises(ConfigError, match="at least 0"):
        msgspec.structs.replace(TransferConfig(), lora_rank=-1)
