"""The int8 scan: exact where int8 can be, close to exact where it cannot, never saturated."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.graph_builder import GraphBuilder
from model.int8_scan import ACTIVATION_STEPS, WEIGHT_STEPS, int8_scan
from model.scan import GROUP, GROUPED_FROM, Scan
from model.spec import Floats
from tests.model.scan_sessions import run_scan, wanted

TOP_K = 20


def build(graph: GraphBuilder, queries: str, vectors: Floats, top_k: int) -> Scan:
    return int8_scan(graph, queries, vectors, graph.constant(vectors), top_k)


def on_the_grid(rng: np.random.Generator, rows: int, width: int, steps: int) -> Floats:
    """Vectors that quantisation does not change; the largest step is always among them."""
    whole = rng.integers(-steps, steps + 1, (rows, width))
    whole[:, 0] = steps
    return whole.astype(np.float32) / np.float32(4 * steps)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.sampled_from([1, 3, 16, 130]),
    rest=st.integers(0, GROUP - 1),
)
def test_it_is_exact_for_vectors_on_its_grid(seed: int, width: int, rest: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = on_the_grid(rng, GROUPED_FROM + rest, width, WEIGHT_STEPS)
    queries = on_the_grid(rng, 4, width, ACTIVATION_STEPS)
    _, logits, log_z = run_scan(partial(build, top_k=TOP_K), vectors, queries)
    _, right_logits, right_log_z = wanted(vectors, queries, TOP_K)
    np.testing.assert_allclose(logits, right_logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_z, right_log_z, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), rest=st.integers(0, GROUP - 1), spread=st.integers(1, 9))
def test_the_lowest_code_wins_a_tie(seed: int, rest: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: both passes compute them without error, and many items share a score.
    vectors = rng.integers(-spread, spread + 1, (GROUPED_FROM + rest, 4)).astype(np.float32)
    vectors[rng.integers(len(vectors))] = WEIGHT_STEPS
    queries = rng.integers(-spread, spread + 1, (4, 4)).astype(np.float32)
    queries[:, 3] = ACTIVATION_STEPS
    items, logits, _ = run_scan(partial(build, top_k=TOP_K), vectors, queries)
    right_items, right_logits, _ = wanted(vectors, queries, TOP_K)
    np.testing.assert_array_equal(items, right_items)
    np.testing.assert_array_equal(logits, right_logits)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_full_scale_products_do_not_saturate(sign: float) -> None:
    vectors = np.full((GROUPED_FROM, 128), 0.1, dtype=np.float32)
    vectors[::2] *= -1
    queries = np.full((3, 128), sign * 0.1, dtype=np.float32)
    _, logits, log_z = run_scan(partial(build, top_k=TOP_K), vectors, queries)
    right = wanted(vectors, queries, TOP_K)
    np.testing.assert_allclose(logits, right[1], rtol=1e-5)
    np.testing.assert_allclose(log_z, right[2], rtol=1e-5)


@pytest.mark.parametrize("scale", [4.0, 16.0, 30.0])
def test_random_directions_come_close(scale: float) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((3_000, 64)).astype(np.float32)
    vectors *= scale / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = rng.standard_normal((200, 64)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    items, logits, log_z = run_scan(partial(build, top_k=TOP_K), vectors, queries)
    right_items, _, right_log_z = wanted(vectors, queries, TOP_K)
    hits = (items[:, :, None] == right_items[:, None, :]).any(axis=2)
    assert hits.mean() > 0.999
    assert np.quantile(np.abs(log_z - right_log_z), 0.99) < 0.02
    exact = np.take_along_axis(queries @ vectors.T, items, axis=1)
    np.testing.assert_allclose(logits, exact, rtol=1e-5, atol=1e-5)


def test_a_memory_of_zeros_scores_everything_alike() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((GROUPED_FROM, 8)).astype(np.float32)
    queries = np.zeros((2, 8), dtype=np.float32)
    items, logits, log_z = run_scan(partial(build, top_k=TOP_K), vectors, queries)
    np.testing.assert_array_equal(items, np.tile(np.arange(TOP_K), (2, 1)))
    np.testing.assert_array_equal(logits, 0.0)
    np.testing.assert_allclose(log_z, np.log(GROUPED_FROM), rtol=1e-6)
