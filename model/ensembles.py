"""Ensembles without anything to learn: averages of log-probabilities, and fused ranks."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model.candidates import Member, member_scores
from model.log import EventLog, Longs
from model.questions import Questions
from model.recommender import parts_of, ranks_in, user_firsts, without_seen
from model.spec import Floats, ModelSpec

# Cormack, Clarke & Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
# learning methods", SIGIR 2009, find 60 to be good and not critical.
_FUSION = 60.0
_LISTED = 100

AVERAGE, FUSION = "logit average", "rank fusion"

Join = Callable[[Mapping[str, Floats], Questions], Mapping[str, Floats]]
"""Scores [m, V] by name of what is made of the members' log-shares [m, V] of some questions."""


def joint_ranks(
    members: Sequence[Member],
    join: Join,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    *,
    filter_seen: bool = False,
    on_progress: Callable[[int], None] = lambda questions: None,
) -> dict[str, Longs]:
    """Ranks [M] of the targets by name, of the members and of what ``join`` makes of their scores.
    Each member is asked once; ``on_progress`` is told how many questions are done before each
    part of them."""
    first, ranks = user_firsts(log), dict[str, list[Longs]]()
    for place, part in parts_of(questions, spec):
        on_progress(place.start)
        names = [member.name for member in members]
        said = dict(zip(names, member_scores(members, log, part), strict=True))
        for name, scores in {**said, **join(said, part)}.items():
            left = without_seen(scores, log, spec, part, first) if filter_seen else scores
            ranks.setdefault(name, []).append(ranks_in(left, part.target))
    return {name: np.concatenate(found) for name, found in ranks.items()}


def unlearned(scores: Sequence[Floats]) -> dict[str, Floats]:
    """What is made of several scores [M, V] without anything to learn, by name."""
    return {AVERAGE: average(scores), FUSION: fused(scores)}


def average(scores: Sequence[Floats]) -> Floats:
    """The mean of several scores [M, V]: of several nets, or of one net's snapshots (Huang et al.,
    "Snapshot ensembles", ICLR 2017)."""
    total: Floats = np.mean(scores, axis=0, dtype=np.float32)
    return total


def fused(scores: Sequence[Floats]) -> Floats:
    """Sums over members of ``1 / (60 + rank)`` of their best 100 items each, [M, V]; equal scores
    share their best rank. Items that nobody ranks so high have nothing."""
    total = np.zeros(scores[0].shape, np.float32)
    rows = np.arange(len(total))[:, None]
    for member in scores:
        count = min(_LISTED, member.shape[1])
        best = np.argpartition(member, -count, axis=1)[:, -count:]
        values = member[rows, best]
        order = np.argsort(-values, axis=1, kind="stable")
        falling = np.take_along_axis(values, order, axis=1)
        rises = np.diff(falling, axis=1, prepend=np.inf) != 0
        rank = 1 + np.maximum.accumulate(np.where(rises, np.arange(count), 0), axis=1)
        total[rows, np.take_along_axis(best, order, axis=1)] += 1 / (_FUSION + rank)
    return total
