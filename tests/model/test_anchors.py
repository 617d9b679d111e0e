"""A split is known by its counts alone."""

import msgspec

from model.anchors import SPLITS, recognised
from tests.model.logs import learnable_log, spec_of


def test_counts_decide() -> None:
    spec = spec_of(items=10)
    log = learnable_log(spec, users=5)
    assert recognised(log, spec, 10) is None
    for split in SPLITS:
        big = msgspec.structs.replace(spec, item_count=split.items)
        long = msgspec.structs.replace(log, item=log.item[:1].repeat(split.events))
        assert recognised(long, big, split.questions) is split
        assert recognised(long, big, split.questions + 1) is None


def test_published_shares_are_shares() -> None:
    for split in SPLITS:
        for anchor in split.anchors:
            assert anchor.source
            assert all(0 < value < 1 for value in anchor.metrics.values())
