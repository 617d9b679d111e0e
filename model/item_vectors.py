"""Vectors of items by the company they keep: item2vec, DeepWalk and Node2Vec.

item2vec (Barkan & Koenigstein, MLSP 2016) reads sessions as sentences; the other two read walks on
the transition graph. All three learn by gensim's skip-gram. The vectors recommend by similarity,
start a net's item table, and can be written to a file for others to use.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from gensim.models import Word2Vec
from safetensors.numpy import save as save_arrays

from model.checkpoint import write_atomically
from model.data import memory_starts, stretch_of
from model.log import EventLog
from model.neighbours import distinct
from model.questions import Questions, newest_items
from model.spec import Floats, ModelSpec
from model.walks import Bias, transition_graph, walks

VectorMethod = Literal["item2vec", "deepwalk", "node2vec"]
METHODS: tuple[VectorMethod, ...] = ("item2vec", "deepwalk", "node2vec")


class VectorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How item vectors are learned, and how they recommend."""

    width: int = 64
    window: int = 3
    # Passes over the sessions; walks, of which there are many more words, are read ``walk_epochs``
    # times.
    epochs: int = 30
    walk_epochs: int = 2
    negative: int = 8
    # Power of the frequencies by which negative samples are drawn.
    negative_power: float = 0.5
    walks_per_item: int = 8
    walk_length: int = 10
    # Node2Vec's return and in-out parameters.
    p: float = 2.0
    q: float = 0.5
    # Newest items that speak in a recommendation, and what each speaks less than the one after it.
    newest_items: int = 4
    decay: float = 0.4
    seed: int = 1


def item_vectors(
    log: EventLog, spec: ModelSpec, method: VectorMethod, config: VectorConfig | None = None
) -> Floats:
    """Vectors [V, width] of the known items; zero rows for items without company."""
    config = VectorConfig() if config is None else config
    if method == "item2vec":
        return _learned(_sentences(log, spec), spec, config, config.epochs)
    bias = Bias(config.p, config.q) if method == "node2vec" else Bias()
    rng = np.random.default_rng([config.seed, METHODS.index(method)])
    found = walks(transition_graph(log, spec), config.walks_per_item, config.walk_length, bias, rng)
    order = rng.permutation(len(found))
    sentences = [[str(code) for code in walk] for walk in found[order].tolist()]
    return _learned(sentences, spec, config, config.walk_epochs)


def initial_table(vectors: Floats, width: int, seed: int) -> Floats:
    """Vectors [V, width] of unit length for a net's item table, from item vectors [V, any].

    Wider vectors are cut to their principal directions, narrower ones and items without a vector
    are filled with noise of the size that the rest has.
    """
    rng = np.random.default_rng(seed)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-9)
    if unit.shape[1] > width:
        _, _, directions = np.linalg.svd(unit, full_matrices=False)
        unit = unit @ directions[:width].T
    noise = rng.standard_normal((len(unit), width)) * width**-0.5
    table = noise * np.where(lengths > 0, 0.1, 1.0)
    table[:, : unit.shape[1]] += unit
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    unit_rows: Floats = table.astype(np.float32)
    return unit_rows


def export_vectors(path: Path, vectors: Floats, items: Sequence[str]) -> tuple[Path, Path]:
    """Write ``path`` (safetensors, one array ``vectors`` [V, width]) and, beside it with the
    ending ``.ids.json``, the item ids of its rows; returns both."""
    if len(vectors) != len(items):
        raise ValueError(f"{len(vectors)} vectors cannot stand for {len(items)} items")
    ids = path.with_suffix(".ids.json")
    write_atomically(ids, msgspec.json.encode(list(items)))
    write_atomically(path, save_arrays({"vectors": np.ascontiguousarray(vectors)}))
    return path, ids


class SimilarItems:
    """A recommender by the cosine between an item's vector and those of the newest items."""

    def __init__(
        self, vectors: Floats, spec: ModelSpec, config: VectorConfig | None = None
    ) -> None:
        self.spec = spec
        self.config = VectorConfig() if config is None else config
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.unit = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)  # [V, D]

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        wanted = self.config.newest_items
        items = distinct(newest_items(log, self.spec, questions, 3 * wanted))[:, :wanted]
        weight = np.where(items >= 0, self.config.decay ** np.arange(items.shape[1]), 0)
        taste = np.einsum("ml,mlw->mw", weight, self.unit[np.maximum(items, 0)])  # [M, D]
        scores: Floats = taste.astype(np.float32) @ self.unit.T
        return scores


def _sentences(log: EventLog, spec: ModelSpec) -> list[list[str]]:
    known = np.flatnonzero(log.item < spec.item_count)
    memory = stretch_of(memory_starts(log, spec), log.events)[known]
    cuts = np.flatnonzero(np.diff(memory)) + 1
    words = [str(code) for code in log.item[known].tolist()]
    bounds = [0, *cuts.tolist(), len(words)]
    return [words[a:b] for a, b in pairwise(bounds) if b - a > 1]


def _learned(
    sentences: list[list[str]], spec: ModelSpec, config: VectorConfig, epochs: int
) -> Floats:
    vectors = np.zeros((spec.item_count, config.width), np.float32)
    if not sentences:
        return vectors
    # One worker: with more, the order of updates and so the vectors would differ between runs.
    words = Word2Vec(
        sentences,
        vector_size=config.width,
        window=config.window,
        epochs=epochs,
        negative=config.negative,
        ns_exponent=config.negative_power,
        sg=1,
        hs=0,
        min_count=1,
        sample=0,
        workers=1,
        seed=config.seed,
    ).wv
    vectors[[int(word) for word in words.index_to_key]] = words.vectors
    return vectors
