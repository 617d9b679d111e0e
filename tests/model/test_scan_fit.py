"""The index that an export chooses: the cheapest that is good enough on queries it has not seen."""

import numpy as np

from model.native_scan import ItemScan
from model.scan_fit import fit_index
from tests.model.test_native_scan import WIDTH, shop


def test_what_is_chosen_is_good_on_other_queries() -> None:
    vectors, queries = shop(1_500)
    index = fit_index(vectors, queries[:200], 20)
    assert index is not None
    assert index.dims < WIDTH
    others = queries[200:]
    found = ItemScan(index).find(others, others @ index.directions, 20)
    logits = others @ vectors.T
    best = np.argsort(-logits, axis=1)[:, :20]
    hits = [len({*row} & {*wanted}) for row, wanted in zip(found.top_items, best, strict=True)]
    assert sum(hits) >= 0.99 * 20 * len(others)
    log_z = np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
    assert np.quantile(np.abs(found.log_z - log_z), 0.95) <= 0.05


def test_odd_widths_and_few_items_have_no_index() -> None:
    vectors, queries = shop(1_500)
    assert fit_index(vectors[:100], queries, 20) is None
    assert fit_index(vectors[:, :31], queries[:, :31], 20) is None
    assert fit_index(vectors, queries, 40) is None
