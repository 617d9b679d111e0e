"""Losses of the heads, and a full softmax that costs three matrix products and little memory."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.checkpoint import NORM_FLOOR
from model.data import NONE

# Bytes of logits held at once: so many stay in the cache between the three products.
CHUNK_BYTES = 10_000_000


class ForwardGradients(torch.autograd.Function):
    """A loss of queries, a table and arguments without gradients, whose forward pass saves the
    gradients of the first two."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        nothing = (None,) * (len(ctx.needs_input_grad) - len(saved))
        return *(grads[0] * slope for slope in saved), *nothing


class _CosineSoftmax(ForwardGradients):
    """Gradients come with the forward pass, so that logits are made once, chunk by chunk; the item
    table is normalised and its gradient projected in few passes."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        table: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        smoothing: float,
        products: torch.dtype,
    ) -> Tensor:
        norms = torch.linalg.vector_norm(table, dim=1, keepdim=True).clamp_(min=NORM_FLOOR)
        unit = table / norms  # [V, H]
        asked, items = queries.to(products), unit.to(products)  # [M, H], [V, H]
        total = queries.new_zeros(())
        grad_queries = torch.empty_like(queries)  # [M, H]
        grad_table = torch.zeros_like(table)  # [V, H]
        rows = rows_at_once(items)
        for begin in range(0, len(queries), rows):
            part = slice(begin, begin + rows)
            logits = asked[part] @ items.T  # [m, V]
            answer = targets[part, None]  # [m, 1]
            weight = None if weights is None else weights[part, None]  # [m, 1]
            wanted = wanted_logits(logits, answer, smoothing)  # [m, 1]
            loss, slope = loss_and_slope(logits, answer, wanted, weight, smoothing)
            total += loss
            grad_queries[part] = slope @ items
            add_product(grad_table, slope, asked[part])
        along_cosines(grad_table, unit, norms)
        ctx.save_for_backward(grad_queries, grad_table)
        return total


def wanted_logits(logits: Tensor, answer: Tensor, smoothing: float) -> Tensor:
    """Of logits [M, V] their mean under the wanted shares: all of it at ``answer`` [M, 1], but for
    ``smoothing``, which is spread over all. [M, 1]"""
    given = logits.gather(1, answer).float() * (1 - smoothing)  # [M, 1]
    if smoothing:
        given += logits.mean(1, keepdim=True, dtype=torch.float32) * smoothing
    return given


def loss_and_slope(
    logits: Tensor, answer: Tensor, wanted: Tensor, weight: Tensor | None, smoothing: float
) -> tuple[Tensor, Tensor]:
    """The sum over rows of log sum exp of logits [M, V] less ``wanted`` [M, 1], in nats, and its
    slope along the logits [M, V], where ``wanted`` is what ``wanted_logits`` makes of them;
    ``weight`` [M, 1] of the rows (None: 1)."""
    slope = torch.softmax(logits, 1)  # [M, V]
    losses = log_mass(logits, slope) - wanted  # [M, 1]
    slope.scatter_add_(1, answer, slope.new_full(answer.shape, smoothing - 1))
    if smoothing:
        slope.sub_(smoothing / logits.shape[1])
    if weight is not None:
        losses, slope = losses * weight, slope.mul_(weight)
    return losses.sum(), slope


def rows_at_once(items: Tensor) -> int:
    """How many rows of logits of the items [V, H] a chunk holds."""
    return max(1, CHUNK_BYTES // (len(items) * items.element_size()))


def log_mass(logits: Tensor, shares: Tensor) -> Tensor:
    """log sum exp of logits [M, V] whose softmax is ``shares``: [M, 1].

    torch's softmax is several times faster than its exp, which some processors take slowly.
    """
    return logits.amax(1, keepdim=True).float() - shares.amax(1, keepdim=True).float().log()


def add_product(total: Tensor, slope: Tensor, queries: Tensor) -> None:
    """Add ``slope.T @ queries`` of [M, V] and [M, H] to ``total`` [V, H], in place."""
    if slope.dtype == total.dtype:
        total.T.addmm_(queries.T, slope)
    else:
        total.add_(slope.T @ queries)


def along_cosines(grad_unit: Tensor, unit: Tensor, norms: Tensor) -> None:
    """Make a gradient by unit rows [V, H] one by rows of lengths ``norms`` [V, 1], in place.

    A row's length does not change its cosines, so its gradient has no part along the row.
    """
    along = (grad_unit * unit).sum(1, keepdim=True)  # [V, 1]
    grad_unit.addcmul_(unit, along * (norms > NORM_FLOOR), value=-1).div_(norms)


def cosine_softmax_loss(
    queries: Tensor,
    table: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    products: torch.dtype = torch.float32,
) -> Tensor:
    """Sum over M rows of -log softmax(queries @ unit(table).T)[target], in nats.

    queries [M, H], table [V, H] of any row lengths, targets [M] in 0 .. V-1; ``weights`` [M] of
    the rows (None: 1). ``smoothing`` is the share of the target's probability that is spread over
    all items (Szegedy et al. 2016). Logits and their gradients have the type ``products``; sums
    of losses and of gradients stay as they are. Differentiable once, by queries and table.
    """
    return _CosineSoftmax.apply(queries, table, targets, weights, smoothing, products)  # type: ignore[no-any-return]


def class_loss(logits: Tensor, targets: Tensor, batch_targets: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the rows with a target; 0 without one. logits [M, C], targets [M].

    Where the rows are a part of a batch, the sum is divided by the number of ``batch_targets`` [N].
    """
    known = targets != NONE
    if not bool(known.any()):
        return logits.sum() * 0.0
    count = known.sum() if batch_targets is None else (batch_targets != NONE).sum()
    losses = functional.cross_entropy(logits[known], targets[known].long(), reduction="sum")
    return losses / count


def intent_loss(logits: Tensor, targets: Tensor, batch_targets: Tensor | None = None) -> Tensor:
    """Sum of C heads' mean binary cross-entropies over known answers. Both [M, C];
    ``batch_targets`` [N, C] as for ``class_loss``."""
    known = targets != NONE  # [M, C]
    counted = known if batch_targets is None else batch_targets != NONE  # [N, C]
    losses = functional.binary_cross_entropy_with_logits(
        logits, targets.clamp(min=0).to(logits.dtype), reduction="none"
    )
    return ((losses * known).sum(0) / counted.sum(0).clamp(min=1)).sum()
