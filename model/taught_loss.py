"""The item loss of a student: towards what came, and towards what its teachers expected."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.checkpoint import NORM_FLOOR
from model.config import TrainConfig
from model.item_loss import Asked, is_full, item_loss, products_of
from model.losses import ForwardGradients, add_product, along_cosines, log_mass, rows_at_once


class _SoftCosineSoftmax(ForwardGradients):
    """As ``losses._CosineSoftmax``, with several targets a row: gradients come with the forward
    pass, so that logits are made once."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        table: Tensor,
        items: Tensor,
        shares: Tensor,
        weights: Tensor,
        products: torch.dtype,
    ) -> Tensor:
        norms = torch.linalg.vector_norm(table, dim=1, keepdim=True).clamp_(min=NORM_FLOOR)
        unit = table / norms  # [V, H]
        asked, directions = queries.to(products), unit.to(products)  # [M, H], [V, H]
        total = queries.new_zeros(())
        grad_queries = torch.empty_like(queries)  # [M, H]
        grad_table = torch.zeros_like(table)  # [V, H]
        rest = (1 - shares.sum(1, keepdim=True)).clamp_(min=0.0) / len(table)  # [M, 1]
        rows = rows_at_once(directions)
        for begin in range(0, len(queries), rows):
            part = slice(begin, begin + rows)
            logits = asked[part] @ directions.T  # [m, V]
            given = (logits.gather(1, items[part]) * shares[part]).sum(1, keepdim=True)  # [m, 1]
            given += logits.sum(1, keepdim=True, dtype=torch.float32) * rest[part]
            mass = shares[part].sum(1, keepdim=True) + rest[part] * len(table)  # [m, 1]
            slope = torch.softmax(logits, 1)  # [m, V]
            losses = log_mass(logits, slope) * mass - given  # [m, 1]
            slope.mul_(mass).sub_(rest[part])
            slope.scatter_add_(1, items[part], -shares[part].to(products))
            weight = weights[part, None]  # [m, 1]
            losses, slope = losses * weight, slope.mul_(weight)
            total += losses.sum()
            grad_queries[part] = slope @ directions
            add_product(grad_table, slope, asked[part])
        along_cosines(grad_table, unit, norms)
        ctx.save_for_backward(grad_queries, grad_table)
        return total


def soft_cosine_loss(
    queries: Tensor,
    table: Tensor,
    items: Tensor,
    shares: Tensor,
    weights: Tensor | None = None,
    products: torch.dtype = torch.float32,
) -> Tensor:
    """Sum over M rows of the cross-entropy between wanted shares of the items and
    softmax(queries @ unit(table).T), in nats.

    ``items`` [M, K] have the ``shares`` [M, K]; what those leave out of 1 is spread over all V.
    ``products`` as for ``cosine_softmax_loss``.
    """
    weights = queries.new_ones(len(queries)) if weights is None else weights
    return _SoftCosineSoftmax.apply(queries, table, items, shares, weights, products)  # type: ignore[no-any-return]


def listed_loss(
    queries: Tensor, table: Tensor, items: Tensor, shares: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The same among each row's K listed items alone: what many items can be taught with."""
    unit = functional.normalize(table[items], dim=-1, eps=NORM_FLOOR)  # [M, K, H]
    logits = torch.einsum("mh,mkh->mk", queries, unit)  # [M, K]
    wanted = shares / shares.sum(1, keepdim=True)
    losses = -(wanted * torch.log_softmax(logits, 1)).sum(1)  # [M]
    return (losses if weights is None else losses * weights).sum()


def taught_loss(
    asked: Asked,
    told: tuple[Tensor, Tensor],
    temperature: float,
    weight: float,
    popularity: Tensor,
    config: TrainConfig,
    progress: float,
    generator: torch.Generator,
) -> Tensor:
    """Sum over the M rows: ``weight`` times the distance to the teachers' shares ``told`` (items
    and shares at the temperature, [M, K] each), the rest as ``item_loss``.

    The soft part is scaled by the temperature's square, which keeps its gradients' size.
    """
    items, shares = told
    if is_full(config, progress) and temperature == 1 and not config.label_smoothing:
        hard = shares.new_full((len(items), 1), 1 - weight)
        items = torch.cat([asked.targets[:, None], items], 1)  # [M, 1 + K]
        wanted = torch.cat([hard, shares * weight], 1)
        return soft_cosine_loss(
            asked.queries, asked.table, items, wanted, asked.weights, products_of(config)
        )
    hard_loss = item_loss(asked, popularity, config, progress, generator)
    cooled = (asked.queries / temperature, asked.table, items, shares, asked.weights)
    is_soft = is_full(config, progress)
    soft = soft_cosine_loss(*cooled, products_of(config)) if is_soft else listed_loss(*cooled)
    return (1 - weight) * hard_loss + weight * temperature**2 * soft
