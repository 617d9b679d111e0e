"""A learned blend: one ranking out of what several recommenders say of their best items.

It is fitted on the newest sessions of a training log, by members that have not seen these. Two
blends are tried, a log-linear pool and boosted trees; the newer half of the held-out questions,
which neither has seen, decides which of them (or their sum) serves.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from model.candidates import (
    Candidates,
    Fame,
    Member,
    candidates_of,
    feature_names,
    member_scores,
)
from model.checkpoint import CheckpointError
from model.log import EventLog, Longs
from model.neighbours import rank_within
from model.pool import Pool, fit_pool, pooled
from model.questions import Questions
from model.ranker import Ranker, fit_ranker
from model.ranking import MISS, metrics_of
from model.recommender import parts_of, ranks_in
from model.spec import Floats, ModelSpec

Method = Literal["pool", "trees", "both"]
METHODS: tuple[Method, ...] = ("pool", "trees", "both")


class BlendConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a blend is fitted."""

    # Best items of each member that are candidates.
    per_member: int = 25
    # The newest held-out questions that are learned from, at most.
    questions: int = 20_000
    ridge: float = 3.0


class Fitted(msgspec.Struct, frozen=True):
    """What was learned, and how it was judged on questions that it had not seen."""

    features: list[str]
    per_member: int
    method: Method
    pool: Pool
    # LightGBM's text; empty where the pool serves alone.
    trees: str
    judged: dict[str, dict[str, float]] = {}


class Examples(msgspec.Struct, frozen=True):
    """Candidates of M questions in the order of their time, and what the members made of them."""

    candidates: Candidates
    target: npt.NDArray[np.bool_]  # [C] the candidates that came next
    ranks: dict[str, Longs]  # [M] of each member

    def half(self, newer: bool) -> "Examples":
        """The older or the newer half of the questions; questions keep their numbers."""
        count = len(next(iter(self.ranks.values())))
        number = self.candidates.question
        chosen = number >= count // 2 if newer else number < count // 2
        flat = self.candidates
        return Examples(
            Candidates(number[chosen], flat.item[chosen], flat.features[chosen]),
            self.target[chosen],
            {name: r[count // 2 :] if newer else r[: count // 2] for name, r in self.ranks.items()},
        )


def examples_of(
    members: Sequence[Member],
    fame: Fame,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    per_member: int,
) -> Examples:
    """Ask the members and keep what a blend learns from."""
    found: list[Candidates] = []
    ranks: dict[str, list[Longs]] = {member.name: [] for member in members}
    for place, part in parts_of(questions, spec):
        shares = member_scores(members, log, part)
        for member, share in zip(members, shares, strict=True):
            ranks[member.name].append(ranks_in(share, part.target))
        flat = candidates_of(shares, fame, log, spec, part, per_member)
        found.append(Candidates(flat.question + place.start, flat.item, flat.features))
    all_found = Candidates(
        np.concatenate([flat.question for flat in found]),
        np.concatenate([flat.item for flat in found]),
        np.concatenate([flat.features for flat in found]),
    )
    return Examples(
        all_found,
        all_found.item == questions.target[all_found.question],
        {name: np.concatenate(parts) for name, parts in ranks.items()},
    )


def judge(members: Sequence[Member], examples: Examples, config: BlendConfig) -> dict[str, Longs]:
    """Ranks of the newer half's targets, by member and by what the older half alone makes of each
    method."""
    older, newer = examples.half(newer=False), examples.half(newer=True)
    tried = _fit(members, older, "both", config)
    found = dict(newer.ranks)
    for method in METHODS:
        scores = _combined(tried, newer.candidates.features, method)
        found[judged_as(method)] = _ranks(newer, scores)
    return found


def judged_as(method: Method) -> str:
    """What ``judge`` calls a method."""
    return f"blend, {method}"


def fit_blend(
    members: Sequence[Member],
    examples: Examples,
    config: BlendConfig,
    judged: Mapping[str, Longs] | None = None,
) -> Fitted:
    """Try the blends on the older half, judge them on the newer one (``judged``, where that has
    been done), refit the best on both."""
    ranks = judge(members, examples, config) if judged is None else judged
    short = {name: _short(found) for name, found in ranks.items()}
    best = max(METHODS, key=lambda method: sum(short[judged_as(method)].values()))
    return msgspec.structs.replace(_fit(members, examples, best, config), judged=short)


def _fit(
    members: Sequence[Member], examples: Examples, method: Method, config: BlendConfig
) -> Fitted:
    pool = fit_pool(examples.candidates, examples.target, config.ridge)
    trees = "" if method == "pool" else fit_ranker(examples.candidates, examples.target)
    return Fitted(feature_names(members), config.per_member, method, pool, trees)


def _combined(fitted: Fitted, features: Floats, method: Method) -> Floats:
    if method == "pool":
        return pooled(fitted.pool, features)
    trees = Ranker(fitted.trees).score(features)
    return trees if method == "trees" else trees + pooled(fitted.pool, features)


def _ranks(examples: Examples, scores: Floats) -> Longs:
    """Ranks of the targets among the candidates of an ``Examples``; MISS for those not among."""
    flat = examples.candidates
    first = int(flat.question[0]) if len(flat.question) else 0
    order = np.lexsort((examples.target, -scores, flat.question))  # ties: the target last
    place = np.empty(len(scores), np.int64)
    place[order] = 1 + rank_within(flat.question[order])
    ranks = np.full(len(next(iter(examples.ranks.values()))), MISS, np.int64)
    ranks[flat.question[examples.target] - first] = place[examples.target]
    return ranks


def _short(ranks: Longs) -> dict[str, float]:
    metrics = metrics_of(ranks)
    return {name: float(metrics[name]) for name in ("recall@20", "mrr@20")}


class Blend:
    """A recommender that asks its members. Items that are no candidates come behind all that
    are, in the order of the first member."""

    def __init__(
        self, members: Sequence[Member], fitted: Fitted, fame: Fame, spec: ModelSpec
    ) -> None:
        if fitted.features != feature_names(members):
            raise CheckpointError(
                "the blend was fitted for other members than those that are there; fit it again"
            )
        self.members, self.fitted, self.fame, self.spec = tuple(members), fitted, fame, spec
        self.ranker = Ranker(fitted.trees) if fitted.trees else None

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        return self.blended(member_scores(self.members, log, questions), log, questions)

    def blended(self, shares: Sequence[Floats], log: EventLog, questions: Questions) -> Floats:
        """The same, of what ``member_scores`` says."""
        flat = candidates_of(shares, self.fame, log, self.spec, questions, self.fitted.per_member)
        scores = np.zeros(len(flat.item), np.float32)
        if self.fitted.method != "trees":
            scores += pooled(self.fitted.pool, flat.features)
        if self.ranker is not None:
            scores += self.ranker.score(flat.features)
        lowest = scores.min(initial=0) - 1 - shares[0].max(axis=1, keepdims=True)
        blended: Floats = (shares[0] + lowest).astype(np.float32)
        blended[flat.question, flat.item] = scores
        return blended
