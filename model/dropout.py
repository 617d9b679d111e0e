"""Dropout with its randomness as an argument, so that a run can be taken up, and a block computed
anew, anywhere."""

from typing import NamedTuple

import torch
from torch import Tensor

from model.share import Among


class Dropout(NamedTuple):
    """Dropout inside a net: each part of it draws from a stream of its own, which begins anew
    whenever the part is computed."""

    share: float = 0.0
    seed: int = 0
    among: Among | None = None

    def stream(self, part: int) -> "Stream":
        generator = torch.Generator().manual_seed(self.seed * 1_000 + part)
        return Stream(self.share, generator, self.among)


class Stream(NamedTuple):
    """One part's dropout; every call draws on."""

    share: float
    generator: torch.Generator
    among: Among | None = None

    def __call__(self, values: Tensor) -> Tensor:
        return drop(values, self.share, self.generator, self.among)


def drop(
    values: Tensor, share: float, generator: torch.Generator, among: Among | None = None
) -> Tensor:
    """Values [B, ...] with a random share of them at 0 and the others as much larger; what is drawn
    is drawn for all rows that these are ``among``."""
    if share == 0:
        return values
    start, total = (0, len(values)) if among is None else among
    keep = torch.empty(total, *values.shape[1:], dtype=values.dtype)
    keep = keep.bernoulli_(1 - share, generator=generator)[start : start + len(values)]
    return values * keep / (1 - share)
