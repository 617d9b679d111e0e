"""The fused softmax and the heads' losses against torch's own, values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model import losses
from model.data import NONE
from model.losses import class_loss, cosine_softmax_loss, intent_loss


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(0, 9),
    items=st.integers(1, 30),
    chunk=st.integers(1, 99),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_cosine_softmax_equals_autograd(
    seed: int, rows: int, items: int, chunk: int, weighted: bool, smoothing: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries = (4 * torch.randn(rows, 5, generator=generator)).requires_grad_()
    table = torch.randn(items, 5, generator=generator).requires_grad_()
    targets = torch.randint(items, (rows,), generator=generator)
    weights = torch.rand(rows, generator=generator) if weighted else torch.ones(rows)
    each = functional.cross_entropy(
        queries @ functional.normalize(table).T,
        targets,
        reduction="none",
        label_smoothing=smoothing,
    )
    expected = (each * weights).sum()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "CHUNK_BYTES", 4 * chunk)
        given_weights = weights if weighted else None
        loss = cosine_softmax_loss(queries, table, targets, given_weights, smoothing)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    for found, wanted in zip(
        torch.autograd.grad(3 * loss, (queries, table)),
        torch.autograd.grad(3 * expected, (queries, table)),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_half_products_have_nearly_the_gradients_of_whole_ones(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(1)
    queries = (4 * torch.randn(40, 8, generator=generator)).requires_grad_()
    table = torch.randn(300, 8, generator=generator).requires_grad_()
    targets = torch.randint(300, (40,), generator=generator)
    found = []
    for products in (torch.float32, torch.bfloat16):
        loss = cosine_softmax_loss(queries, table, targets, None, smoothing, products)
        found.append([loss, *torch.autograd.grad(loss, (queries, table))])
    for whole, half in zip(*found, strict=True):
        assert half.dtype == torch.float32
        assert (half - whole).norm() < 0.02 * whole.norm()
        assert not torch.equal(half, whole)


def test_a_zero_row_of_the_table_gives_finite_gradients() -> None:
    table = torch.zeros(3, 4, requires_grad=True)
    loss = cosine_softmax_loss(torch.ones(2, 4), table, torch.tensor([0, 1]))
    torch.autograd.backward(loss)
    assert table.grad is not None
    assert torch.isfinite(table.grad).all()


def test_large_scores_do_not_overflow() -> None:
    queries = torch.full((1, 2), 1e4)
    loss = cosine_softmax_loss(queries, torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([0]))
    assert loss.item() == 0.0


def test_class_loss_is_the_mean_over_known_targets() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, NONE, 2, NONE])
    expected = functional.cross_entropy(logits[[0, 2]], torch.tensor([0, 2]))
    torch.testing.assert_close(class_loss(logits, targets), expected)


def test_without_targets_the_losses_are_zero_and_differentiable() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    for loss in (
        class_loss(logits, torch.full((3,), NONE)),
        intent_loss(logits, torch.full((3, 2), NONE)),
        class_loss(logits[:0], torch.zeros(0, dtype=torch.long)),
    ):
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.equal(gradient, torch.zeros(3, 2))


def test_intent_loss_adds_the_means_of_both_heads() -> None:
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[1, NONE], [0, 1], [NONE, NONE]])
    cart = functional.binary_cross_entropy_with_logits(logits[:2, 0], torch.tensor([1.0, 0.0]))
    purchase = functional.binary_cross_entropy_with_logits(logits[1:2, 1], torch.tensor([1.0]))
    torch.testing.assert_close(intent_loss(logits, targets), cart + purchase)
