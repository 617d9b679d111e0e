"""Vectors of items that keep company are near, the same in every run, and readable elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model.item_vectors import (
    METHODS,
    SimilarItems,
    VectorConfig,
    VectorMethod,
    export_vectors,
    initial_table,
    item_vectors,
)
from model.questions import questions_of
from tests.model.logs import log_of, spec_of

SPEC = spec_of(items=11)
CONFIG = VectorConfig(width=8, epochs=60, walk_epochs=10)
# Two circles of five items that never meet; item 10 is never seen.
RNG = np.random.default_rng(0)
LOG = log_of(
    [
        [[(int(i) + 5 * (n % 2), 2) for i in RNG.permutation(5)] for _ in range(4)]
        for n in range(20)
    ],
    SPEC,
)


@pytest.mark.parametrize("method", METHODS)
def test_company_makes_alike(method: VectorMethod) -> None:
    vectors = item_vectors(LOG, SPEC, method, CONFIG)
    assert vectors.shape == (11, 8)
    assert (vectors[10] == 0).all()
    unit = vectors[:10] / np.linalg.norm(vectors[:10], axis=1, keepdims=True)
    alike = unit @ unit.T
    inside = (alike[:5, :5].sum() - 5 + alike[5:, 5:].sum() - 5) / 40
    assert inside > alike[:5, 5:].mean() + 0.2
    np.testing.assert_array_equal(vectors, item_vectors(LOG, SPEC, method, CONFIG))
    questions = questions_of(LOG, SPEC, "session")
    best = SimilarItems(vectors, SPEC, CONFIG).scores(LOG, questions)[:, :10]
    circle = questions.target // 5
    own = np.where(circle[:, None] == np.arange(10) // 5, best, -np.inf).max(axis=1)
    other = np.where(circle[:, None] != np.arange(10) // 5, best, -np.inf).max(axis=1)
    assert (own > other).mean() > 0.95


def test_nothing_to_learn_from_gives_no_vectors() -> None:
    for method in METHODS:
        assert (item_vectors(log_of([], SPEC), SPEC, method, CONFIG) == 0).all()


@pytest.mark.parametrize("width", [4, 8, 16])
def test_a_table_to_start_from(width: int) -> None:
    vectors = item_vectors(LOG, SPEC, "item2vec", CONFIG)
    table = initial_table(vectors, width, seed=1)
    assert table.shape == (11, width)
    assert table.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(table, initial_table(vectors, width, seed=1))
    before = vectors[:10] / np.linalg.norm(vectors[:10], axis=1, keepdims=True)
    kept = np.corrcoef((before @ before.T).ravel(), (table[:10] @ table[:10].T).ravel())[0, 1]
    assert kept > 0.8


def test_vectors_are_exported_with_their_ids(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    path, ids = export_vectors(tmp_path / "item2vec.safetensors", vectors, ["a", "b", "c"])
    np.testing.assert_array_equal(load_file(path)["vectors"], vectors)
    assert json.loads(ids.read_text()) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="3 vectors cannot stand for 1"):
        export_vectors(path, vectors, ["a"])
