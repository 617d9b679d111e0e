"""The tower: items that nobody has clicked are placed by what is said of them."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from model import checkpoint
from model.architectures import build_net
from model.cold_items import AFTER_CATEGORY, BY_CATEGORY, MODEL, cold_metrics
from model.config import ConfigError, TrainConfig
from model.content import Content, Described, content_of
from model.log import EventLog
from model.spec import ModelSpec
from model.tower import TowerConfig, tower_vectors
from model.train import train
from model.transfer import TransferConfig, extended_spec, guide_from
from tests.model.logs import log_of, spec_of

# Items stand in a circle, and who looks at one looks at its neighbour next; every eighth is new.
COUNT, HALF = 64, 32
NEW = list(range(3, COUNT, 8))
OLD = [place for place in range(COUNT) if place not in NEW]


def circle(place: int) -> Described:
    angles = [2 * math.pi * place * wave / COUNT for wave in (1, 2, 3, 5)]
    text = [swing(angle) for angle in angles for swing in (math.sin, math.cos)]
    return Described(f"i{place}", f"c{place // HALF}", text=text)


def walks(places: list[int], spec: ModelSpec, users: int, seed: int) -> EventLog:
    """Walks round the circle that leave out what is not among ``places``; the code of an item is
    its index there."""
    rng, code = np.random.default_rng(seed), {place: code for code, place in enumerate(places)}
    sessions = []
    for start in rng.integers(COUNT, size=users):
        way = [(start + step) % COUNT for step in range(8)]
        sessions.append([[(code[place], 2) for place in way if place in code]])
    return log_of(sessions, spec)


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    """A model that has learned the old items, extended by the new ones."""
    folder = tmp_path_factory.mktemp("tower")
    spec = spec_of(items=len(OLD), width=16)
    config = TrainConfig(epochs=12, batch_sequences=32, learning_rate=2e-2, head_weight=0.0)
    ids = tuple(f"i{place}" for place in OLD)
    train(walks(OLD, spec, 300, 1), spec, ids, config, folder / "model")
    earlier = checkpoint.load(folder / "model")
    new_spec, items = extended_spec(earlier, spec, (*ids, *(f"i{place}" for place in NEW)))
    content = content_of([circle(place) for place in range(COUNT)], items)
    log = walks(OLD, new_spec, 300, 1)
    guide = guide_from(earlier, new_spec, items, log, TransferConfig(), content)
    still = msgspec.structs.replace(config, epochs=0)
    train(log, new_spec, items, still, folder / "placed", guide=guide)
    return folder / "placed", content


def test_new_items_are_ranked_above_the_popularity_of_their_category(
    placed: tuple[Path, Content],
) -> None:
    folder, content = placed
    found = cold_metrics(folder, walks(OLD + NEW, checkpoint.load(folder).spec, 60, 2), content)
    assert found["items"] == len(NEW)
    mrr = {name: metrics["mrr@20"] for name, metrics in found["ranked"].items()}
    assert mrr[MODEL] > 0.6
    assert mrr[MODEL] > mrr[AFTER_CATEGORY] > mrr[BY_CATEGORY]
    assert found["lead"][AFTER_CATEGORY]["low"] > 0


def test_old_items_stay_where_they_are(placed: tuple[Path, Content]) -> None:
    before, after = (checkpoint.load(placed[0].parent / name) for name in ("model", "placed"))
    count = before.spec.item_count
    old, new = (saved.weights["item_embedding"] for saved in (before, after))
    np.testing.assert_array_equal(new[:count], old[:count])
    assert after.items[count:] == tuple(f"i{place}" for place in NEW)


def test_without_anything_described_nothing_is_placed() -> None:
    spec = spec_of(items=4)
    net = build_net(spec, TrainConfig().net_shape, torch.Generator().manual_seed(1))
    log = log_of([[[(0, 2), (1, 2), (2, 2)]]], spec)
    nothing = content_of([Described("z")], tuple("abcd"))
    assert not tower_vectors(net, log, spec, nothing).any()


def test_a_share_out_of_range_is_told() -> None:
    with pytest.raises(ConfigError, match="hidden_share"):
        TowerConfig(hidden_share=1.0)
