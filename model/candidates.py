"""What a learned blend looks at: candidate items of each question, and features of each.

Candidates are the items that any member ranks high; features are what the members say of them, and
what the question is like. Everything is flat: candidate c belongs to question ``question[c]``.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from model.log import EventLog, Longs
from model.neighbours import rank_within
from model.popularity import fame_of
from model.questions import Questions, newest_items
from model.recommender import Recommender
from model.spec import Floats, Ints, ModelSpec

# Items of the memory that are looked at for what a candidate was to this session.
_MEMORY = 20
# Added to shares of counts: an item that a member says nothing of is rare, not impossible.
_SHARE_FLOOR = 1e-5
CONTEXT = ("age", "is_last", "in_memory", "length", "fame", "recent_fame", "last_fame")


class Member(msgspec.Struct, frozen=True):
    """A recommender among others. Scores of ``counts`` are weights that sum to something; those
    of ``logits`` are logarithms already, up to ``scale``."""

    name: str
    recommender: Recommender
    kind: Literal["counts", "logits"] = "counts"
    scale: float = 1.0


class Candidates(msgspec.Struct, frozen=True):
    """C candidates of M questions."""

    question: Longs  # [C] ascending
    item: Ints  # [C] ascending in each question
    features: Floats  # [C, F] named by ``feature_names``


class Fame(msgspec.Struct, frozen=True):
    """How often items were clicked, over all time and lately, as logarithms."""

    all_time: Floats  # [V]
    recent: Floats  # [V]


def fame(log: EventLog, spec: ModelSpec) -> Fame:
    """The fame of a log's items. What is recent: the last few hundredths of the log."""
    return Fame(np.log1p(fame_of(log, spec)), np.log1p(fame_of(log, spec, staleness=30.0)))


def feature_names(members: Sequence[Member]) -> list[str]:
    """Names of the features' columns, in order."""
    logs = [f"{member.name}.log_share" for member in members]
    return [*logs, *CONTEXT, *(f"{member.name}.rank" for member in members)]


def member_scores(members: Sequence[Member], log: EventLog, questions: Questions) -> list[Floats]:
    """Each member's log-shares [M, V]."""
    return [_log_shares(member, member.recommender.scores(log, questions)) for member in members]


def _log_shares(member: Member, scores: Floats) -> Floats:
    if member.kind == "counts":
        total = scores.sum(axis=1, keepdims=True)
        logs: Floats = np.log(scores / np.maximum(total, 1e-9) + np.float32(_SHARE_FLOOR))
        return logs
    scaled = scores * np.float32(member.scale)
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


def candidates_of(
    shares: Sequence[Floats],
    fame: Fame,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    per_member: int,
) -> Candidates:
    """The ``per_member`` best items of each member, and their features."""
    count = spec.item_count
    rows = np.arange(len(questions.event))[:, None] * count
    best = [_best(share, per_member) + rows for share in shares]
    code = np.unique(np.concatenate(best, axis=1)) if best else np.zeros(0, np.int64)
    question, item = np.divmod(code, count)
    said = [share[question, item] for share in shares]
    ranks = [_ranks(values, question) for values in said]
    features: list[npt.NDArray[Any]] = [
        *said,
        *_context(question, item, fame, log, spec, questions),
        *ranks,
    ]
    return Candidates(
        question, item.astype(np.int32), np.stack(features, axis=1).astype(np.float32)
    )


def _best(scores: Floats, count: int) -> Longs:
    if scores.shape[1] <= count:
        return np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    best: Longs = np.argpartition(scores, -count, axis=1)[:, -count:]
    return best


def _ranks(values: Floats, question: Longs) -> Longs:
    """The place, from 1, of each candidate among those of its question."""
    order = np.lexsort((-values, question))
    ranks = np.empty(len(values), np.int64)
    ranks[order] = 1 + rank_within(question[order])
    return ranks


def _context(
    question: Longs,
    item: Longs,
    fame: Fame,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
) -> list[npt.NDArray[Any]]:
    """The features ``CONTEXT`` of each candidate."""
    held = newest_items(log, spec, questions, _MEMORY)  # [M, L]
    same = held[question] == item[:, None]  # [C, L]
    age = np.where(same.any(axis=1), same.argmax(axis=1), _MEMORY)
    length = np.count_nonzero(held >= 0, axis=1)  # [M]
    last = held[:, 0]
    last_fame = np.where(last >= 0, fame.all_time[np.maximum(last, 0)], 0)  # [M]
    return [
        age,
        (age == 0).astype(np.float32),
        (age < _MEMORY).astype(np.float32),
        np.log1p(length)[question],
        fame.all_time[item],
        fame.recent[item],
        last_fame[question],
    ]
