"""Everything that a net is compared and blended with, fitted to one log."""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
import numpy as np

from model.candidates import Member
from model.factorisation import FACTOR_METHODS, FactorMethod, Factors
from model.item_vectors import (
    METHODS,
    SimilarItems,
    VectorConfig,
    VectorMethod,
    item_vectors,
)
from model.log import EventLog
from model.neighbours import NeighbourConfig, Neighbours
from model.popularity import Popularity
from model.questions import Questions, part_of
from model.ranking import metrics_of
from model.recommender import Recommender, ranks_of
from model.repeats import RARE, WithoutPresent, repeat_share
from model.rules import RuleConfig, Rules
from model.spec import ModelSpec

# Scores of cosines and factors become logarithms of shares by these.
_COSINE_SCALE, _FACTOR_SCALE = 10.0, 5.0
# Those whose word a blend hears; the others add little to them and cost time.
BLENDED = (
    "net",
    "VMIS-kNN",
    "neighbours",
    "Markov",
    "sequential rules",
    "recent rules",
    "DeepWalk",
)
_VECTOR_NAMES: dict[VectorMethod, str] = {
    "item2vec": "item2vec",
    "deepwalk": "DeepWalk",
    "node2vec": "Node2Vec",
}

Told = Callable[[str], None]


def fit_members(
    log: EventLog,
    spec: ModelSpec,
    neighbours: NeighbourConfig,
    names: tuple[str, ...] | None = None,
    told: Told = lambda name: None,
) -> tuple[Member, ...]:
    """The members by ``names`` (all where None), but for the net; ``told`` hears of each one."""
    wrapped = _wrapper(log, spec)
    found = []
    for name, make in _makers(log, spec, neighbours).items():
        if names is None or name in names:
            told(name)
            found.append(_wrapped(make(), wrapped))
    return tuple(found)


def _makers(
    log: EventLog, spec: ModelSpec, neighbours: NeighbourConfig
) -> Mapping[str, Callable[[], Member]]:
    """What makes each member, the cheap ones first."""
    rules = {
        "Markov": RuleConfig(steps=1),
        "sequential rules": RuleConfig(steps=4, newest_items=4, decay=0.4),
        "recent rules": RuleConfig(steps=2, newest_items=2, decay=0.3, staleness=10.0),
    }
    near = {"VMIS-kNN": NeighbourConfig(), "neighbours": neighbours}
    fames = {"popular": 0.0, "recently popular": 30.0}
    return (
        {n: partial(_counting, n, Popularity, log, spec, value) for n, value in fames.items()}
        | {n: partial(_counting, n, Rules, log, spec, config) for n, config in rules.items()}
        | {n: partial(_counting, n, Neighbours, log, spec, config) for n, config in near.items()}
        | {_VECTOR_NAMES[method]: partial(_similar, log, spec, method) for method in METHODS}
        | {method.upper(): partial(_factored, log, spec, method) for method in FACTOR_METHODS}
    )


def _counting(
    name: str, make: Callable[..., Recommender], log: EventLog, spec: ModelSpec, config: object
) -> Member:
    return Member(name, make(log, spec, config))


def _similar(log: EventLog, spec: ModelSpec, method: VectorMethod) -> Member:
    config = VectorConfig(decay=0.7)
    vectors = item_vectors(log, spec, method, config)
    similar = SimilarItems(vectors, spec, config)
    return Member(_VECTOR_NAMES[method], similar, "logits", _COSINE_SCALE)


def _factored(log: EventLog, spec: ModelSpec, method: FactorMethod) -> Member:
    return Member(method.upper(), Factors(log, spec, method), "logits", _FACTOR_SCALE)


def _wrapper(log: EventLog, spec: ModelSpec) -> Callable[[Recommender], Recommender]:
    if repeat_share(log, spec) >= RARE:
        return lambda recommender: recommender
    return lambda recommender: WithoutPresent(recommender, spec)


def _wrapped(member: Member, wrapped: Callable[[Recommender], Recommender]) -> Member:
    return msgspec.structs.replace(member, recommender=wrapped(member.recommender))


# What is tried, one setting after the other, each with the best of those before it.
_TRIED: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("distance", (1.0, 2.5, 5.0)),
    ("before_weight", (0.5,)),
    ("newest_items", (3, 6, 9)),
    ("age_power", (0.5, 2.0)),
    ("idf_weight", (0.0, 5.0)),
    ("neighbours", (100, 700)),
    ("staleness", (2.0,)),
)
_TUNED_ON = 2_000


def tune_neighbours(
    early: EventLog,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    *,
    filter_seen: bool = False,
    told: Told = lambda name: None,
) -> NeighbourConfig:
    """Settings of the neighbours of ``early`` that answer held-out questions of ``log`` best, by
    Recall@20 + MRR@20, found one after the other."""
    step = max(1, len(questions.event) // _TUNED_ON)
    asked = part_of(questions, np.arange(0, len(questions.event), step))
    wrapped = _wrapper(early, spec)

    def goodness(config: NeighbourConfig) -> float:
        told("neighbours' settings")
        ranks = ranks_of(
            wrapped(Neighbours(early, spec, config)), log, spec, asked, filter_seen=filter_seen
        )
        metrics = metrics_of(ranks)
        return float(metrics["recall@20"] + metrics["mrr@20"])

    best = NeighbourConfig()
    value = goodness(best)
    for name, values in _TRIED:
        for other in (msgspec.structs.replace(best, **{name: setting}) for setting in values):
            found = goodness(other)
            if found > value:
                best, value = other, found
    return best
