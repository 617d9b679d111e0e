"""The loss of a student against its definition, and its gradients against autograd's."""

import hypothesis.strategies as st
import torch
from hypothesis import given, settings
from torch.nn import functional

from model.config import TrainConfig
from model.item_loss import Asked, item_loss
from model.taught_loss import listed_loss, soft_cosine_loss, taught_loss

ITEMS, WIDTH = 7, 4


def case(seed: int, listed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(5, WIDTH, generator=generator).requires_grad_()
    table = torch.randn(ITEMS, WIDTH, generator=generator).requires_grad_()
    items = torch.stack([torch.randperm(ITEMS, generator=generator)[:listed] for _ in range(5)])
    shares = torch.rand(5, listed, generator=generator)
    shares = shares / shares.sum(1, keepdim=True) * torch.rand(5, 1, generator=generator)
    return queries, table, items, shares, torch.rand(5, generator=generator)


def plain(
    queries: torch.Tensor, table: torch.Tensor, items: torch.Tensor, shares: torch.Tensor
) -> torch.Tensor:
    """[M]"""
    logits = torch.log_softmax(queries @ functional.normalize(table, dim=1).T, 1)
    wanted = torch.zeros(len(queries), len(table)).scatter_add(1, items, shares)
    wanted = wanted + (1 - shares.sum(1, keepdim=True)) / len(table)
    return -(wanted * logits).sum(1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), listed=st.integers(1, ITEMS))
def test_the_soft_loss_is_a_cross_entropy(seed: int, listed: int) -> None:
    queries, table, items, shares, weights = case(seed, listed)
    wanted = (plain(queries, table, items, shares) * weights).sum()
    slopes = torch.autograd.grad(wanted, (queries, table))
    found = soft_cosine_loss(queries, table, items, shares, weights)
    torch.testing.assert_close(found, wanted)
    for mine, right in zip(torch.autograd.grad(found, (queries, table)), slopes, strict=True):
        torch.testing.assert_close(mine, right, atol=1e-5, rtol=1e-4)


def test_a_list_of_all_items_is_the_whole_softmax() -> None:
    queries, table, items, shares, _ = case(3, ITEMS)
    shares = shares / shares.sum(1, keepdim=True)
    torch.testing.assert_close(
        listed_loss(queries, table, items, shares), soft_cosine_loss(queries, table, items, shares)
    )


def test_without_a_teachers_weight_only_what_came_counts_and_one_pass_equals_two() -> None:
    queries, table, items, shares, weights = case(4, 3)
    asked = Asked(queries, table, torch.tensor([0, 3, 2, 6, 1]), weights)
    popularity, generator = torch.full((ITEMS,), 1 / ITEMS), torch.Generator()
    config = TrainConfig()
    hard = item_loss(asked, popularity, config, 0.0, generator)
    nothing = taught_loss(asked, (items, shares), 1.0, 0.0, popularity, config, 0.0, generator)
    torch.testing.assert_close(nothing, hard)
    mixed = taught_loss(asked, (items, shares), 1.0, 0.4, popularity, config, 0.0, generator)
    soft = soft_cosine_loss(queries, table, items, shares, weights)
    torch.testing.assert_close(mixed, 0.6 * hard + 0.4 * soft)
    warm = taught_loss(asked, (items, shares), 2.0, 0.4, popularity, config, 0.0, generator)
    soft = soft_cosine_loss(queries / 2, table, items, shares, weights)
    torch.testing.assert_close(warm, 0.6 * hard + 1.6 * soft)
