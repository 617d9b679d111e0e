"""The contrastive term of a batch: seeded, differentiable, and small where views hardly differ."""

import msgspec
import torch

from model.config import TrainConfig
from model.nets import GruNet
from model.views import Views
from tests.model.test_nets import random_tokens, spec_of

SPEC = spec_of(8)
CONFIG = TrainConfig(contrastive_weight=0.1)
LENGTHS = torch.tensor([7, 3, 1, 5])


def loss_of(config: TrainConfig, seed: int = 1, rows: int = 4) -> torch.Tensor:
    net = GruNet(SPEC, torch.Generator().manual_seed(1))
    tokens = random_tokens(SPEC, (4, 7), torch.Generator().manual_seed(2))
    views = Views(net, SPEC, config, torch.Generator().manual_seed(seed))
    return views.loss(type(tokens)(*(column[:rows] for column in tokens)), LENGTHS[:rows])


def test_it_is_a_function_of_its_seed() -> None:
    assert torch.equal(loss_of(CONFIG), loss_of(CONFIG))
    assert len({loss_of(CONFIG, seed).item() for seed in range(5)}) == 5


def test_views_that_hardly_differ_are_told_apart_from_others() -> None:
    near = msgspec.structs.replace(CONFIG, view_share=0.999, contrastive_temperature=0.01)
    far = msgspec.structs.replace(near, view_share=0.3)
    assert sum(loss_of(near, seed) for seed in range(9)) < sum(loss_of(far, s) for s in range(9))


def test_a_single_sequence_has_nothing_to_be_told_from() -> None:
    assert loss_of(CONFIG, rows=1).item() == 0.0
