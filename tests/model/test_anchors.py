"""A split is known by its counts alone."""

from model.anchors import SPLITS, recognised


def test_counts_decide() -> None:
    assert recognised(50, 10, 10) is None
    for split in SPLITS:
        counts = (split.events, split.items, split.questions)
        assert recognised(*counts) is split
        for place in range(3):
            other = [count + (place == number) for number, count in enumerate(counts)]
            assert recognised(*other) is None


def test_published_shares_are_shares() -> None:
    for split in SPLITS:
        for anchor in split.anchors:
            assert anchor.source
            assert all(0 < value < 1 for value in anchor.metrics.values())
