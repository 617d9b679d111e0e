"""Sampled losses against their plain formulas, and the estimate against the full softmax."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from model.losses import cosine_softmax_loss
from model.sampled_softmax import draw_candidates, gbce_loss, inclusion, sampled_softmax_loss


def asked(rows: int, items: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    table = torch.randn(items, 4, generator=generator, dtype=torch.float64)
    return queries, table, torch.randint(items, (rows,), generator=generator)


@given(rows=st.integers(1, 9), items=st.integers(2, 30), seed=st.integers(0, 99))
def test_candidates_hold_every_target_once_and_in_order(rows: int, items: int, seed: int) -> None:
    _, _, targets = asked(rows, items, seed)
    found = draw_candidates(targets, items, 5, torch.Generator().manual_seed(seed))
    assert set(targets.tolist()) <= set(found.tolist()) <= set(range(items))
    assert (found[1:] > found[:-1]).all()


def test_inclusion_is_how_often_an_item_is_drawn() -> None:
    popularity = torch.tensor([0.6, 0.3, 0.1, 0.0])
    generator = torch.Generator().manual_seed(1)
    counts = torch.zeros(4)
    for _ in range(4_000):
        targets = torch.multinomial(popularity, 3, True, generator=generator)
        counts[draw_candidates(targets, 4, 2, generator)] += 1
    np.testing.assert_allclose(inclusion(popularity, 3, 2), counts / 4_000, atol=0.03)


@settings(deadline=None)
@given(
    rows=st.integers(1, 6),
    items=st.integers(2, 20),
    seed=st.integers(0, 99),
    smoothing=st.sampled_from([0.0, 0.2]),
)
def test_with_all_items_as_candidates_it_is_the_full_softmax(
    rows: int, items: int, seed: int, smoothing: float
) -> None:
    queries, table, targets = asked(rows, items, seed)
    weights = torch.linspace(0.5, 2.0, rows, dtype=torch.float64)
    everything, certain = torch.arange(items), torch.ones(items, dtype=torch.float64)
    gradients = []
    for sampled in (True, False):
        query, rest = queries.clone().requires_grad_(), table.clone().requires_grad_()
        if sampled:
            loss = sampled_softmax_loss(
                query, rest, targets, everything, certain, weights, smoothing
            )
        else:
            loss = cosine_softmax_loss(query, rest, targets, weights, smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append((loss.detach(), query.grad, rest.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


def test_the_denominator_has_no_bias() -> None:
    queries, table, targets = asked(6, 40, 3)
    popularity = torch.softmax(torch.randn(40, generator=torch.Generator().manual_seed(1)), 0)
    unit = functional.normalize(table, dim=1)
    scores = queries @ unit.T
    given_score = scores.gather(1, targets[:, None])[:, 0]
    exact = scores.exp().sum(1) - given_score.exp()
    generator = torch.Generator().manual_seed(2)
    included = inclusion(popularity, 5, 8).double()
    own = targets[:1]
    estimates = []
    for _ in range(3_000):
        others = torch.multinomial(popularity, 5, True, generator=generator)
        drawn = torch.cat([draw_candidates(others, 40, 8, generator), own])
        candidates = torch.unique(drawn)  # type: ignore[no-untyped-call]
        loss = sampled_softmax_loss(queries[:1], table, own, candidates, included)
        estimates.append((loss + given_score[0]).exp() - given_score[0].exp())
    assert torch.stack(estimates).mean() == pytest.approx(exact[0].item(), rel=0.05)


@settings(deadline=None)
@given(seed=st.integers(0, 99), calibration=st.floats(0, 1))
def test_gbce_is_the_papers_formula(seed: int, calibration: float) -> None:
    queries, table, targets = asked(5, 12, seed)
    drawn = draw_candidates(targets, 12, 3, torch.Generator().manual_seed(seed))
    found = gbce_loss(queries, table, targets, drawn, calibration)
    alpha = (len(drawn) - 1) / 11
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    wanted = 0.0
    for query, target in zip(queries, targets, strict=True):
        scores = query @ functional.normalize(table, dim=1).T
        wanted -= beta * torch.sigmoid(scores[target]).log()
        wanted -= sum((1 - torch.sigmoid(scores[j])).log() for j in drawn if j != target)
    torch.testing.assert_close(found, torch.as_tensor(wanted))


def test_gbce_without_calibration_is_plain_binary_cross_entropy() -> None:
    queries, table, targets = asked(5, 12, 1)
    scores = queries @ functional.normalize(table, dim=1).T
    own = functional.one_hot(targets, 12).double()
    plain = functional.binary_cross_entropy_with_logits(scores, own, reduction="sum")
    torch.testing.assert_close(gbce_loss(queries, table, targets, torch.arange(12), 0.0), plain)
