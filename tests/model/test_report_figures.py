"""Pictures show what there is, and bear what there is not."""

import re

import numpy as np
import pytest

from model.bootstrap import intervals_of
from model.predicted_actual import by_item
from model.report_figures import (
    calibration,
    confusion,
    gap_names,
    item_volumes,
    learning_curves,
    slice_bars,
    svg_of,
    volumes,
)

EPOCHS = [{"item_loss": 3.0 - n, "recall_at_20": None, "mrr_at_20": None} for n in range(3)]
MEASURED = [*EPOCHS[:2], {"item_loss": 1.0, "recall_at_20": 0.5, "mrr_at_20": 0.2}]
SLICE = {"n": 4, "interval": intervals_of(np.array([1, 2, 3, 40]), np.arange(4))}
ACTION = {"confusion": [[3, 1], [0, 0]], "classes": [0, 2]}
ROWS = [{"predicted": 2.0, "actual": 3}, {"predicted": 0.0, "actual": 0}]


@pytest.mark.parametrize(
    "draw",
    [
        learning_curves(EPOCHS),
        learning_curves(MEASURED),
        slice_bars({"head": SLICE, "cold": {"n": 0}}, "mrr@20"),
        calibration({"item": {"ece": 0.1, "curve": [{"confidence": 0.3, "accuracy": 0.4}]}}),
        confusion(ACTION, ["_close", "other", "pay $\\frac$"]),
        volumes(ROWS, ["$_$", "b"]),
        item_volumes(by_item(np.array([0.5, 3.0]), np.array([1, 1], np.int32))),
        item_volumes(by_item(np.zeros(2), np.zeros(0, np.int32))),
    ],
)
def test_a_picture_is_one_svg_without_links(draw) -> None:  # type: ignore[no-untyped-def]
    text = svg_of(draw)
    assert text.count("<svg") == 1
    assert len(re.findall(r"<path|<use", text)) > 5
    assert "<metadata" not in text
    assert not re.search(r'href="(?!#)', text)
    assert svg_of(draw) == text


def test_gaps_have_a_name_for_every_interval() -> None:
    assert gap_names([1_000, 60_000, 86_400_000]) == ["< 1 s", "1 s-1 min", "1 min-1 d", ">= 1 d"]
    assert gap_names([]) == ["any"]
