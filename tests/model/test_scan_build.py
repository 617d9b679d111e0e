"""Rough vectors: the items in steps along the directions that matter, whole and in clusters."""

import numpy as np

from model.scan_build import build_index, cluster_index, product_directions
from model.scan_grouping import group_items
from model.scan_index import ITEM_STEPS, QUERY_OFFSET
from tests.model.test_scan_index import vectors


def test_directions_turn_without_stretching() -> None:
    directions = product_directions(vectors())
    np.testing.assert_allclose(directions.T @ directions, np.eye(16), atol=1e-5)
    lengths = np.square(vectors() @ directions).sum(axis=0)
    assert (np.diff(lengths) <= 0).all()


def test_rough_items_are_the_items_in_steps() -> None:
    index = build_index(vectors(), 8, 64)
    rough = index.packed.transpose(0, 2, 1, 3).reshape(-1, 8)[:205]
    along = vectors() @ index.directions
    assert np.abs(rough).max() == ITEM_STEPS
    assert np.abs(rough * index.item_step - along).max() <= index.item_step / 2 * 1.001


def test_the_bias_takes_the_offset_out_and_padding_never_wins() -> None:
    index = build_index(vectors(), 8, 64)
    rough = index.packed.transpose(0, 2, 1, 3).reshape(-1, 8).astype(np.int64)
    assert (QUERY_OFFSET * rough[:205].sum(axis=1) + index.bias[:205] == 0).all()
    assert (index.bias[205:] < -(1 << 29)).all()


def test_directions_begin_with_what_queries_ask_about() -> None:
    metric = np.diag([1e-4] * 15 + [1.0])
    directions = product_directions(vectors(), metric)
    assert abs(directions[15, 0]) > 0.999


def test_directions_that_no_vector_has_a_part_in_come_last_whatever_the_queries_have_there() -> (
    None
):
    rng = np.random.default_rng(3)
    turn = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    flat = (rng.standard_normal((200, 10)) @ turn[:10]).astype(np.float32)
    queries = rng.standard_normal((500, 16)) @ (rng.standard_normal((16, 16)) + 5 * turn)
    directions = product_directions(flat, queries.T @ queries / len(queries))
    np.testing.assert_allclose(directions.T @ directions, np.eye(16), atol=1e-5)
    assert np.abs(flat @ directions[:, 10:]).max() < 1e-4


def test_items_in_clusters_stand_at_the_places_that_the_order_names() -> None:
    whole = vectors()
    grouping = group_items(whole, np.eye(16), 2)
    index = cluster_index(whole, product_directions(whole), 16, 20, grouping, 5)
    rough = index.packed.transpose(0, 2, 1, 3).reshape(-1, 16)
    np.testing.assert_array_equal(index.vectors, whole[grouping.order])
    along = whole[grouping.order] @ index.directions
    assert np.abs(rough[:205] * index.item_step - along).max() <= index.item_step / 2 * 1.001
    assert len(rough) == 13 * 16
    assert (index.bias[205:] < -(1 << 29)).all()


def test_the_weights_of_clusters_count_their_items() -> None:
    whole = vectors()
    index = cluster_index(
        whole, product_directions(whole), 8, 20, group_items(whole, np.eye(16), 2), 5
    )
    assert index.clusters is not None
    weights = np.exp(index.clusters.log_weight[:13].astype(np.float64))
    # Queries of every direction: around its mean the variance within a cluster evens out.
    assert 0.5 * 205 < weights.sum() < 2 * 205
    assert (index.clusters.log_weight[13:] == 0).all()
