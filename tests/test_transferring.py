"""A training that begins from a model: its first weights have not seen what it holds out."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from model import checkpoint
from model.architectures import build_net
from model.config import TrainConfig
from model.net_shape import NetShape
from model.spec import item_hash
from stream_app.invocation import UserError
from stream_app.transferring import begin_from, check_begun
from tests.model.logs import log_of, spec_of

OLD, ITEMS = spec_of(items=4), tuple("abcd")
# Item 4 comes in the last session alone, beside items that the earlier model knows.
SESSIONS = [[[(0, 2), (1, 2), (2, 2)]], [[(1, 2), (3, 2)]], [[(2, 2), (4, 2), (3, 2), (4, 2)]]]


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path, OLD, ITEMS, build_net(OLD, NetShape()).weights())
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "sees"),
    [({"held_out": 0.4}, False), ({"leave_one_out": True}, True), ({}, True)],
)
def test_items_of_the_held_out_part_begin_where_the_model_read_them(
    earlier: Path, settings: dict[str, float], sees: bool
) -> None:
    begun = begin_from(earlier, msgspec.structs.replace(OLD, item_count=5), (*ITEMS, "new"))
    config = begun.settings(TrainConfig(**settings))  # type: ignore[arg-type]
    weights = begun.guide(log_of(SESSIONS, begun.spec), config).weights
    assert weights is not None
    bucket = OLD.item_count + item_hash("new") % OLD.cold_buckets
    before = checkpoint.load(earlier).weights["item_embedding"][bucket]
    assert np.array_equal(weights["item_embedding"][4], before) is not sees


def test_without_epochs_nothing_is_held_out(earlier: Path) -> None:
    begun = begin_from(earlier, OLD, ITEMS)
    assert not begun.settings(TrainConfig(epochs=0, held_out=0.1)).holds_out
    assert begun.settings(TrainConfig(held_out=0.1)).held_out == 0.1


def test_settings_that_belong_to_the_other_way_to_begin_are_refused() -> None:
    with pytest.raises(UserError, match="add --from MODEL"):
        check_begun(None, {"freeze": "body"}, {})
    with pytest.raises(UserError, match="hidden_width is that of the model"):
        check_begun(Path("model"), {}, {"hidden_width": "3", "min_item_count": "2"})
    check_begun(Path("model"), {"freeze": "body"}, {"epochs": "2", "max_items": "9"})
