"""Dropout with its randomness as an argument, so that a run can be taken up, and a block computed
anew, anywhere."""

from typing import NamedTuple

import torch
from torch import Tensor


class Dropout(NamedTuple):
    """Dropout inside a net: each part of it draws from a stream of its own, which begins anew
    whenever the part is computed."""

    share: float = 0.0
    seed: int = 0

    def stream(self, part: int) -> "Stream":
        return Stream(self.share, torch.Generator().manual_seed(self.seed * 1_000 + part))


class Stream(NamedTuple):
    """One part's dropout; every call draws on."""

    share: float
    generator: torch.Generator

    def __call__(self, values: Tensor) -> Tensor:
        return drop(values, self.share, self.generator)


def drop(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Values with a random share of them at 0 and the others as much larger."""
    if share == 0:
        return values
    keep = torch.empty_like(values).bernoulli_(1 - share, generator=generator)
    return values * keep / (1 - share)
