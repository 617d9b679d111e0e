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


def test_clusters_are_chosen_where_they_pay() -> None:
    vectors, queries = shop(12_000)
    index = fit_index(vectors, queries[:200], 20)
    assert index is not None
    assert index.clusters is not None
    others = queries[200:]
    found = ItemScan(index).find(others, others @ index.directions, 20)
    logits = (others @ vectors.T).astype(np.float64)
    best = np.argsort(-logits, axis=1)[:, :20]
    hits = [len({*row} & {*wanted}) for row, wanted in zip(found.top_items, best, strict=True)]
    assert sum(hits) >= 0.99 * 20 * len(others)
    assert np.quantile(np.abs(found.log_z - np.log(np.exp(logits).sum(axis=1))), 0.95) <= 0.05


def test_items_without_structure_are_scanned_whole() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((1_500, 64)), rng.standard_normal((100, 64))
    vectors *= 12 / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    index = fit_index(vectors.astype(np.float32), queries.astype(np.float32), 20)
    assert index is not None
    assert index.clusters is None


def test_odd_widths_and_few_items_have_no_index() -> None:
    vectors, queries = shop(1_500)
    assert fit_index(vectors[:100], queries, 20) is None
    assert fit_index(vectors[:, :31], queries[:, :31], 20) is None
    assert fit_index(vectors, queries, 90) is None
