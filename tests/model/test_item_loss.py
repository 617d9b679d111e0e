"""The settings decide which item loss a batch pays."""

import msgspec
import pytest
import torch

from model.config import ConfigError, ItemLoss, TrainConfig, with_settings
from model.item_loss import Asked, item_loss
from model.losses import cosine_softmax_loss

GENERATOR = torch.Generator().manual_seed(1)
ASKED = Asked(
    queries=4 * torch.randn(8, 4, generator=GENERATOR),
    table=torch.randn(500, 4, generator=GENERATOR),
    targets=torch.randint(500, (8,), generator=GENERATOR),
    weights=None,
)
POPULARITY = torch.full((500,), 1 / 500)


def loss_of(name: ItemLoss, progress: float = 0.0, full_share: float = 0.0) -> float:
    config = TrainConfig(item_loss=name, negatives=50, full_share=full_share, label_smoothing=0.1)
    generator = torch.Generator().manual_seed(2)
    return item_loss(ASKED, POPULARITY, config, progress, generator).item()


def test_each_name_is_another_loss() -> None:
    full = cosine_softmax_loss(ASKED.queries, ASKED.table, ASKED.targets, None, 0.1).item()
    assert loss_of("softmax") == full
    assert len({loss_of("softmax"), loss_of("sampled"), loss_of("gbce")}) == 3
    assert loss_of("sampled") == pytest.approx(full, rel=0.1)


def test_the_end_of_a_training_may_see_all_items() -> None:
    assert loss_of("sampled", 0.79, full_share=0.2) == loss_of("sampled")
    assert loss_of("sampled", 0.81, full_share=0.2) == loss_of("softmax")
    assert loss_of("gbce", 0.81, full_share=0.2) == loss_of("softmax")


def test_weights_count_whatever_the_loss() -> None:
    half = ASKED._replace(weights=torch.full((8,), 0.5))
    for name in ("softmax", "sampled", "gbce"):
        config = msgspec.structs.replace(TrainConfig(), item_loss=name, negatives=50)
        whole, halved = (
            item_loss(asked, POPULARITY, config, 0.0, torch.Generator().manual_seed(2))
            for asked in (ASKED, half)
        )
        torch.testing.assert_close(halved, whole / 2)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="item_loss=bpr"):
        with_settings(TrainConfig(), {"item_loss": "bpr"})
