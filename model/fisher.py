"""How much each weight matters to what a net has learned: the Fisher information's diagonal."""

import numpy as np
import torch

from model.config import TrainConfig
from model.fit import Fitting
from model.guide import Guide
from model.log import EventLog
from model.objective import batch_loss
from model.spec import Floats, ModelSpec

# Batches that it is estimated on; small ones, since targets are told apart by batches alone.
_BATCHES = 100
_SEQUENCES = 8


def importance_of(
    weights: dict[str, Floats], log: EventLog, spec: ModelSpec, config: TrainConfig
) -> dict[str, Floats]:
    """The mean squared slope of a target's loss along each entry of the weights, under their names.

    Of a batch of n targets only the mean slope is known; n times its square has the expectation of
    a target's squared slope where targets are independent and the weights are at their best.
    """
    plain = TrainConfig(
        net=config.net,
        layers=config.layers,
        heads=config.heads,
        horizon=config.horizon,
        max_length=config.max_length,
        seed=config.seed,
        batch_sequences=_SEQUENCES,
        cold_share=0.0,
    )
    fitting = Fitting(log, spec, plain, 1, Guide(weights=weights))
    named = {name.removesuffix("_l0"): p for name, p in fitting.net.named_parameters()}
    sums = {name: torch.zeros_like(p) for name, p in named.items()}
    batches = fitting.batches(0)[:_BATCHES]
    for batch in batches:
        fitting.net.zero_grad(set_to_none=True)
        loss = batch_loss(
            fitting.net,
            spec,
            fitting.columns,
            fitting.segments,
            batch,
            plain,
            fitting.detach_heads,
            torch.Generator().manual_seed(plain.seed),
            units=fitting.units,
        )
        torch.autograd.backward(loss.total)
        for name, parameter in named.items():
            if parameter.grad is not None:
                sums[name] += parameter.grad.square() * max(1, loss.item_count)
    count = max(1, len(batches))
    return {name: np.asarray((total / count).numpy()) for name, total in sums.items()}
