"""The probe of a served scan: rare, and right about what was missed."""

import numpy as np

from model.recall_probe import PROBED_FROM_ITEMS, RecallProbe, probe_of
from tests.model.test_native_scan import found_by, index_of, shop


def test_it_looks_once_in_so_many_rows_and_counts_what_was_missed() -> None:
    queries, index = shop(700)[1], index_of(700, 16, 64, 0, 2)
    assert index.clusters is not None
    probe = RecallProbe(index, rows_between=100)
    vectors = np.empty_like(index.vectors)
    vectors[index.clusters.order] = index.vectors
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :20].astype(np.int32)
    probe.see(queries[:99], best[:99])
    assert probe.recall() is None
    probe.see(queries[99:101], best[99:101])
    assert probe.recall() == 1.0
    missed = best[101:250].copy()
    missed[:, :5] = -1
    probe.see(queries[101:250], missed)
    assert probe.recall() == (20 + 15) / 40
    probe.see(queries[:0], best[:0])
    probe.see(queries[:99], missed[:99])
    assert probe.recall() == (20 + 15) / 40


def test_it_agrees_with_a_real_scan() -> None:
    queries, index = shop(700)[1], index_of(700, 16, 64, 0, 2)
    probe = RecallProbe(index, rows_between=1)
    items = found_by(index, queries, 20)[0]
    for row in range(len(queries)):
        probe.see(queries[row : row + 1], items[row : row + 1])
    logits = queries @ shop(700)[0].T
    best = np.argsort(-logits, axis=1)[:, :20]
    hits = [len({*a} & {*b}) for a, b in zip(items.tolist(), best.tolist(), strict=True)]
    assert probe.recall() == sum(hits) / (20 * len(queries))


def test_small_catalogues_and_whole_scans_are_not_probed() -> None:
    assert PROBED_FROM_ITEMS > 700
    assert probe_of(index_of(700, 16, 64, 0, 2)) is None
    assert probe_of(index_of(700, 16, 64)) is None
