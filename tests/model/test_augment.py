"""Augmentations change what they say and nothing else, as often as they say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.augment import (
    contrastive_loss,
    cropped,
    reordered,
    substitutes_of,
    with_cold_items,
    with_masked_items,
    with_substitutes,
)
from tests.model.logs import log_of, spec_of

SPEC = spec_of(items=6)
ITEMS = torch.arange(4_000).view(40, 100) % SPEC.input_count


def drawn(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Sequences of distinct numbers; padding repeats the last."""
    count = torch.tensor(lengths)
    place = torch.minimum(torch.arange(max(lengths)), count[:, None] - 1)
    return place + 100 * torch.arange(len(lengths))[:, None], count


def test_a_share_of_zero_changes_nothing() -> None:
    substitutes = torch.zeros(SPEC.item_count, 5, dtype=torch.long)
    for items in (
        with_cold_items(ITEMS, SPEC, 0.0, drawn()),
        with_masked_items(ITEMS, SPEC, 0.0, drawn()),
        with_substitutes(ITEMS, substitutes, 0.0, drawn()),
    ):
        assert torch.equal(items, ITEMS)


def test_shares_are_kept_and_codes_are_right() -> None:
    known = SPEC.item_count > ITEMS
    cold = with_cold_items(ITEMS, SPEC, 0.3, drawn())
    changed = cold != ITEMS
    assert changed[known].float().mean() == pytest.approx(0.3, abs=0.03)
    assert not changed[~known].any()
    assert ((cold[changed] >= SPEC.item_count) & (cold[changed] < SPEC.no_item)).all()
    masked = with_masked_items(ITEMS, SPEC, 0.3, drawn())
    changed = masked != ITEMS
    assert (masked[changed] == SPEC.no_item).all()
    assert changed[SPEC.no_item != ITEMS].float().mean() == pytest.approx(0.3, abs=0.03)
    substitutes = (torch.arange(SPEC.item_count)[:, None] + torch.arange(1, 6)) % SPEC.item_count
    other = with_substitutes(ITEMS, substitutes, 0.3, drawn())
    assert (other != ITEMS)[known].float().mean() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(other[~known], ITEMS[~known])


def test_substitutes_are_the_items_most_often_beside() -> None:
    sessions = [[[(0, 2), (1, 2), (0, 2), (2, 2)]], [[(1, 2), (0, 2)], [(3, 2), (SPEC.no_item, 2)]]]
    found = substitutes_of(log_of(sessions, SPEC), SPEC)
    assert found[0].tolist()[:2] == [1, 2]
    assert set(found[0].tolist()[2:]) == {0}
    assert found[1].tolist() == [0, 1, 1, 1, 1]
    assert (found[3] == 3).all()  # across a session's end and beside "no item" nothing counts
    np.testing.assert_array_equal(found[4], [4] * 5)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.floats(0.01, 1), st.integers(0, 99))
def test_a_crop_is_a_stretch_of_its_sequence(lengths: list[int], share: float, seed: int) -> None:
    items, count = padded(lengths)
    found, size = cropped(items, count, share, drawn(seed))
    for row, length in enumerate(lengths):
        assert int(size[row]) == max(1, int(torch.tensor(length) * share))
        stretch = found[row, : size[row]].tolist()
        begin = stretch[0]
        assert stretch == list(range(begin, begin + len(stretch)))
        assert 100 * row <= begin <= stretch[-1] < 100 * row + length


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.floats(0.01, 1), st.integers(0, 99))
def test_a_shuffle_keeps_all_items_and_stays_within_its_stretch(
    lengths: list[int], share: float, seed: int
) -> None:
    items, count = padded(lengths)
    found = reordered(items, count, share, drawn(seed))
    for row, length in enumerate(lengths):
        before, after = items[row, :length], found[row, :length]
        assert torch.equal(before, after.sort().values)
        moved = (before != after).nonzero()
        if len(moved):
            assert int(moved.max() - moved.min()) < int(torch.tensor(length) * share)
        assert torch.equal(found[row, length:], items[row, length:])


def test_contrastive_loss_is_the_mean_of_both_directions() -> None:
    one, other = (torch.randn(4, 3, generator=drawn(seed)).double() for seed in (1, 2))
    wanted = 0.0
    for a, b in ((one, other), (other, one)):
        for row in range(4):
            cosines = torch.cosine_similarity(a[row : row + 1], b) / 0.2
            wanted -= (cosines[row].exp() / cosines.exp().sum()).log().item() / 8
    assert contrastive_loss(one, other, 0.2).item() == pytest.approx(wanted)
    assert contrastive_loss(one, one, 0.01) < contrastive_loss(one, other, 0.01)
