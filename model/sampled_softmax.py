"""Item losses that look at few items a batch: a sampled softmax with log-q correction, and gBCE.

A batch shares its candidates: its own targets (popular items come often, and are the hard ones) and
uniform draws (no item is forgotten). They cost a tenth of a full softmax over 20,000 items.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.checkpoint import NORM_FLOOR
from model.losses import ForwardGradients, along_cosines, loss_and_slope, wanted_logits


def draw_candidates(
    targets: Tensor, item_count: int, negatives: int, generator: torch.Generator
) -> Tensor:
    """The items [C], sorted, that are among the targets [M] or ``negatives`` uniform draws."""
    drawn = torch.randint(item_count, (negatives,), generator=generator)
    candidates: Tensor = torch.unique(torch.cat([targets, drawn]))
    return candidates


def inclusion(popularity: Tensor, targets: int, negatives: int) -> Tensor:
    """Probability of each item [V] to be a candidate of a batch with so many targets, where
    ``popularity`` [V] is an item's share of all targets."""
    missed_by_targets = torch.log1p(-popularity.clamp(max=1 - 1e-6)) * targets
    missed_by_draws = torch.log1p(torch.tensor(-1 / max(2, len(popularity)))) * negatives
    return -torch.expm1(missed_by_targets + missed_by_draws)


class _SampledSoftmax(ForwardGradients):
    """As ``losses._CosineSoftmax`` among candidates: logits are made once."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        table: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        smoothing: float,
        candidates: Tensor,
        included: Tensor,
    ) -> Tensor:
        rows = table[candidates]  # [C, H]
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_(min=NORM_FLOOR)
        unit = rows.div_(norms)
        logits = queries @ unit.T  # [M, C]
        own = torch.searchsorted(candidates, targets)[:, None]  # [M, 1]
        raw = logits.gather(1, own)  # [M, 1]
        wanted = wanted_logits(logits, own, smoothing)  # [M, 1]
        logits.sub_(included[candidates].log()).scatter_(1, own, raw)
        weight = None if weights is None else weights[:, None]  # [M, 1]
        loss, slope = loss_and_slope(logits, own, wanted, weight, smoothing)
        grad_unit = slope.T @ queries  # [C, H]
        along_cosines(grad_unit, unit, norms)
        grad_table = torch.zeros_like(table).index_copy_(0, candidates, grad_unit)  # [V, H]
        ctx.save_for_backward(slope @ unit, grad_table)
        return loss


def sampled_softmax_loss(
    queries: Tensor,
    table: Tensor,
    targets: Tensor,
    candidates: Tensor,
    included: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Sum over M rows of the sampled estimate of -log softmax(queries @ unit(table).T)[target].

    Each candidate [C] stands for 1 / its probability ``included`` [V] to be one, except that a
    row's own target is always there and stands for itself (Khrylchenko et al., "Correcting the
    log-q correction", 2025), so the denominator's estimate has no bias. Differentiable once, by
    queries and table.
    """
    return _SampledSoftmax.apply(  # type: ignore[no-any-return]
        queries, table, targets, weights, smoothing, candidates, included
    )


def gbce_loss(
    queries: Tensor,
    table: Tensor,
    targets: Tensor,
    candidates: Tensor,
    calibration: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Sum over M rows of the generalised binary cross-entropy of gSASRec (Petrov & Macdonald,
    RecSys 2023), with all candidates but the row's own target as its negatives.

    ``calibration`` is t of the paper: 0 is plain binary cross-entropy, 1 makes the scores
    probabilities although few negatives are drawn.
    """
    unit = functional.normalize(table[candidates], dim=1, eps=NORM_FLOOR)  # [C, H]
    raw = queries @ unit.T  # [M, C]
    place = torch.searchsorted(candidates, targets)[:, None]  # [M, 1]
    share = (len(candidates) - 1) / max(1, len(table) - 1)  # alpha of the paper
    power = share * (calibration * (1 - 1 / max(share, 1e-9)) + 1 / max(share, 1e-9))  # beta
    against = functional.softplus(raw).scatter(1, place, 0.0)  # [M, C]
    losses = power * functional.softplus(-raw.gather(1, place))[:, 0] + against.sum(1)  # [M]
    return (losses if weights is None else losses * weights).sum()
