"""Ensembles without anything to learn: averages of log-probabilities, and fused ranks."""

from collections.abc import Sequence

import numpy as np

from model.candidates import Member, member_scores
from model.log import EventLog
from model.questions import Questions
from model.spec import Floats

# Cormack, Clarke & Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
# learning methods", SIGIR 2009, find 60 to be good and not critical.
_FUSION = 60.0
_LISTED = 100


class LogitAverage:
    """The mean of the members' log-shares: of several nets, or of one net's snapshots (Huang et
    al., "Snapshot ensembles", ICLR 2017)."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        return average(member_scores(self.members, log, questions))


class RankFusion:
    """Reciprocal-rank fusion of the members."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        return fused(member_scores(self.members, log, questions))


def average(scores: Sequence[Floats]) -> Floats:
    """The mean of several scores [M, V]."""
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
