"""Ranks of items that training has never seen, and their table."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from model import baselines, checkpoint
from model.architectures import build_net
from model.cold_items import AFTER_CATEGORY, BY_CATEGORY, MODEL, cold_metrics, table
from model.content import Described, content_of
from model.net_shape import NetShape
from tests.model.logs import log_of, spec_of

SPEC = spec_of(items=6)
ITEMS = tuple("abcdef")
# d, e and f are new; d is of the popular category.
CATEGORIES = dict(zip(ITEMS, ("x", "x", "y", "x", "y", "y"), strict=True))
CONTENT = content_of([Described(item, of) for item, of in CATEGORIES.items()], ITEMS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = build_net(SPEC, NetShape(), torch.Generator().manual_seed(1))
    checkpoint.save(tmp_path, SPEC, ITEMS, net.weights())
    log = log_of([[[(0, 2), (2, 2)], [(0, 2), (2, 2)], [(0, 2), (1, 2)]]], SPEC)
    baselines.save(tmp_path, baselines.fit(log, SPEC))
    return tmp_path


def test_rivals_know_the_category_and_share_ranks_by_hand(model: Path) -> None:
    # After x came x once and y twice; x has been clicked 4 times, y 2 times.
    found = cold_metrics(model, log_of([[[(0, 2), (4, 2), (3, 2), (1, 2)]]], SPEC), CONTENT)
    assert (found["n"], found["items"]) == (2, 3)
    # By popularity e shares places 2 and 3 and d is first; after a, e shares 1 and 2; after e,
    # about which nothing is known, d is first.
    assert found["ranked"][BY_CATEGORY]["mrr@20"] == pytest.approx((1 / 2.5 + 1) / 2)
    assert found["ranked"][AFTER_CATEGORY]["mrr@20"] == pytest.approx((1 / 1.5 + 1) / 2)
    assert 0 < found["ranked"][MODEL]["mrr@20"] <= 1
    log = log_of([[[(0, 2), (4, 2), (3, 2), (1, 2)]]], SPEC)
    second = np.arange(log.events) == 2
    assert cold_metrics(model, log, CONTENT, among=second)["n"] == 1
    console = Console(record=True, width=120)
    console.print(table(found))
    assert "2 next items among 3 never trained on" in console.export_text()


def test_a_log_without_new_items_says_so(model: Path) -> None:
    assert cold_metrics(model, log_of([[[(0, 2), (1, 2)]]], SPEC), CONTENT) == {"n": 0}
    nothing = content_of([], ITEMS)
    assert not nothing.described.any()
    assert np.all(nothing.category == -1)
    assert cold_metrics(model, log_of([[[(0, 2), (4, 2)]]], SPEC), nothing) == {"n": 0}
