"""Dropout is a function of its seed, part by part."""

import pytest
import torch

from model.dropout import Dropout, drop

ONES = torch.ones(10_000)


def test_a_share_is_dropped_and_the_sum_stays() -> None:
    left = drop(ONES, 0.25, torch.Generator().manual_seed(1))
    assert (left == 0).float().mean() == pytest.approx(0.25, abs=0.02)
    assert left.mean() == pytest.approx(1, abs=0.03)
    assert drop(ONES, 0.0, torch.Generator()) is ONES


def test_a_parts_stream_begins_anew_and_differs_from_the_others() -> None:
    dropout = Dropout(0.5, seed=3)
    first = dropout.stream(0)
    one, two = first(ONES), first(ONES)
    assert not torch.equal(one, two)
    again = dropout.stream(0)
    assert torch.equal(again(ONES), one)
    assert torch.equal(again(ONES), two)
    assert not torch.equal(dropout.stream(1)(ONES), one)
    assert not torch.equal(Dropout(0.5, seed=4).stream(0)(ONES), one)
