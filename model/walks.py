"""Random walks on the graph of items that follow one another.

DeepWalk (Perozzi et al., KDD 2014) walks by the weight of the edges; Node2Vec (Grover & Leskovec,
KDD 2016) leans on where the walk came from. The second-order steps are drawn by rejection, so that
no table of pairs of edges is needed.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.log import EventLog, Longs
from model.rules import RuleConfig, rule_table
from model.spec import ModelSpec

# Tries for one second-order step before the last proposal is taken.
_TRIES = 16


class Graph(NamedTuple):
    """An undirected weighted graph over V items, as rows of neighbours."""

    row_start: Longs  # [V+1]
    neighbour: npt.NDArray[np.int64]  # [E]
    total: npt.NDArray[np.float64]  # [E] running sum of the weights of all edges
    code: Longs  # [E] row * V + neighbour, ascending


class Bias(NamedTuple):
    """``p`` above 1 keeps a walk from turning back, ``q`` above 1 keeps it near."""

    p: float = 1.0
    q: float = 1.0


def transition_graph(log: EventLog, spec: ModelSpec) -> Graph:
    """Items joined by how often one followed the other, in either order."""
    table = rule_table(log, spec, RuleConfig(steps=1))
    both = sparse.csr_matrix(table + table.T)
    both.setdiag(0)
    both.eliminate_zeros()
    both.sort_indices()
    rows = np.repeat(np.arange(spec.item_count), np.diff(both.indptr))
    return Graph(
        row_start=both.indptr.astype(np.int64),
        neighbour=both.indices.astype(np.int64),
        total=np.cumsum(both.data, dtype=np.float64),
        code=rows * spec.item_count + both.indices,
    )


def walks(
    graph: Graph, rounds: int, length: int, bias: Bias, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """``rounds`` walks of ``length`` items from every item that has a neighbour. [W, length]"""
    starts = np.tile(np.flatnonzero(np.diff(graph.row_start)), rounds)
    found = np.empty((len(starts), length), np.int64)
    found[:, 0] = starts
    for place in range(1, length):
        if place == 1 or bias == Bias():
            found[:, place] = _steps(graph, found[:, place - 1], rng)
        else:
            found[:, place] = _leaning_steps(
                graph, found[:, place - 2], found[:, place - 1], bias, rng
            )
    return found


def _steps(graph: Graph, here: Longs, rng: np.random.Generator) -> Longs:
    """A neighbour of each item, drawn by the edges' weights."""
    first, last = graph.row_start[here], graph.row_start[here + 1] - 1
    before = np.where(first > 0, graph.total[first - 1], 0.0)
    drawn = before + rng.random(len(here)) * (graph.total[last] - before)
    edge = np.clip(np.searchsorted(graph.total, drawn, side="right"), first, last)
    return graph.neighbour[edge]


def _leaning_steps(
    graph: Graph, before: Longs, here: Longs, bias: Bias, rng: np.random.Generator
) -> Longs:
    """Second-order steps by rejection of first-order ones."""
    items = len(graph.row_start) - 1
    most = max(1 / bias.p, 1.0, 1 / bias.q)
    chosen = _steps(graph, here, rng)
    open_ = np.arange(len(here))
    for _ in range(_TRIES):
        near = _holds(graph.code, before[open_] * items + chosen[open_])
        lean = np.where(chosen[open_] == before[open_], 1 / bias.p, np.where(near, 1, 1 / bias.q))
        open_ = open_[rng.random(len(open_)) * most > lean]
        if not len(open_):
            break
        chosen[open_] = _steps(graph, here[open_], rng)
    return chosen


def _holds(ascending: Longs, codes: Longs) -> npt.NDArray[np.bool_]:
    place = np.minimum(np.searchsorted(ascending, codes), max(0, len(ascending) - 1))
    held: npt.NDArray[np.bool_] = ascending[place] == codes
    return held
