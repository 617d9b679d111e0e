"""Walks keep to the graph, and lean as they are told."""

from itertools import pairwise

import numpy as np
import pytest

from model.walks import Bias, transition_graph, walks
from tests.model.logs import learnable_log, log_of, spec_of

SPEC = spec_of(items=12)
LOG = learnable_log(SPEC, users=30)


@pytest.mark.parametrize("bias", [Bias(), Bias(4.0, 0.25)])
def test_every_step_is_an_edge(bias: Bias) -> None:
    graph = transition_graph(LOG, SPEC)
    found = walks(graph, 3, 8, bias, np.random.default_rng(0))
    alone = np.diff(graph.row_start) == 0
    assert len(found) == 3 * (~alone).sum()
    edges = set(graph.code.tolist())
    for walk in found:
        assert all(a * 12 + b in edges for a, b in pairwise(walk.tolist()))


def test_walks_are_a_function_of_their_seed() -> None:
    graph = transition_graph(LOG, SPEC)
    one, two = (walks(graph, 2, 6, Bias(2, 2), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_steps_go_by_weight() -> None:
    spec = spec_of(items=3)
    heavy = [[(0, 2), (1, 2)]] * 9
    graph = transition_graph(log_of([heavy, [[(0, 2), (2, 2)]]], spec), spec)
    found = walks(graph, 2_000, 2, Bias(), np.random.default_rng(0))
    ahead = found[found[:, 0] == 0, 1]
    assert (ahead == 1).mean() == pytest.approx(0.9, abs=0.03)


def test_a_high_return_parameter_keeps_from_turning_back() -> None:
    spec = spec_of(items=8)
    ring = [[[(i, 2) for i in [*range(8), 0]]]]
    graph = transition_graph(log_of(ring, spec), spec)

    def returns(bias: Bias) -> float:
        found = walks(graph, 200, 6, bias, np.random.default_rng(0))
        return float((found[:, 2:] == found[:, :-2]).mean())

    assert returns(Bias()) == pytest.approx(0.5, abs=0.03)
    assert returns(Bias(p=20.0)) < 0.1
    assert returns(Bias(p=0.05)) > 0.8


def test_no_edges_no_walks() -> None:
    graph = transition_graph(log_of([[[(0, 2)]]], SPEC), SPEC)
    assert walks(graph, 2, 4, Bias(), np.random.default_rng(0)).shape == (0, 4)
