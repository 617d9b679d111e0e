"""Where a model is good and where it is not: metrics of kinds of questions, apart."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from model.bootstrap import intervals_of
from model.data import memory_starts, stretch_of
from model.log import EventLog, Longs
from model.questions import Questions
from model.ranking import metrics_of
from model.recommender import user_firsts
from model.spec import ModelSpec

Mask = npt.NDArray[np.bool_]

# The head: the most clicked items that hold this share of the training clicks.
_HEAD_CLICKS = 0.5
# Upper bounds of the classes of how many events the memory holds.
_POSITIONS = (1, 2, 5, 10)


def slices_of(
    log: EventLog, spec: ModelSpec, questions: Questions, popularity: Longs
) -> dict[str, Mask]:
    """Kinds of questions by name, each a mask [M]; kinds overlap, and may be empty.

    ``target head``, ``target tail``: by the training clicks ``popularity`` [V]; ``target cold``:
    unknown to training. ``target repeated``: the memory holds it already. ``position ...``: events
    that the memory holds. ``user new``, ``user returning``: whether the user has an earlier
    session.
    """
    cold = questions.target >= spec.item_count
    head = np.append(head_of(popularity), False)[np.where(cold, spec.item_count, questions.target)]
    begin = memory_starts(log, spec)[:-1][
        stretch_of(memory_starts(log, spec), log.events)[questions.event]
    ]
    position = questions.event - begin  # [M] events before
    session = log.session_start[:-1][stretch_of(log.session_start, log.events)]
    is_new = session[questions.event] == user_firsts(log)[questions.event]
    found = {
        "target head": head & ~cold,
        "target tail": ~head & ~cold,
        "target cold": cold,
        "target repeated": repeats(log, questions, begin),
        "user new": is_new,
        "user returning": ~is_new,
    }
    for low, high in pairwise((0, *_POSITIONS)):
        name = str(high) if high == low + 1 else f"{low + 1}-{high}"
        found[f"position {name}"] = (position > low) & (position <= high)
    found[f"position {_POSITIONS[-1] + 1}+"] = position > _POSITIONS[-1]
    return found


def head_of(popularity: Longs) -> Mask:
    """The most clicked items, [V], that together hold half of the clicks."""
    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    head = np.zeros(len(popularity), bool)
    head[order] = before < _HEAD_CLICKS * popularity.sum()
    return head


def repeats(log: EventLog, questions: Questions, begin: Longs) -> Mask:
    """Whether each question's target occurs between ``begin`` [M] and the question. [M]"""
    order = np.lexsort((np.arange(log.events), log.item))  # by item, then place
    item = log.item[order]
    previous = np.full(log.events, -1)
    previous[order[1:]] = np.where(item[1:] == item[:-1], order[:-1], -1)
    found: Mask = previous[questions.event] >= begin
    return found


def sliced(ranks: Longs, slices: Mapping[str, Mask], clusters: Longs) -> dict[str, dict[str, Any]]:
    """Recall@20, MRR@20 and the number of questions of each kind, and ``interval`` with the 95 %
    bootstrap interval of both over the clusters [M]; of empty ones the number only."""
    table: dict[str, dict[str, Any]] = {}
    for name, mask in slices.items():
        if not mask.any():
            table[name] = {"n": 0}
            continue
        metrics = metrics_of(ranks[mask])
        table[name] = {key: metrics[key] for key in ("n", "recall@20", "mrr@20")}
        table[name]["interval"] = intervals_of(ranks[mask], clusters[mask])
    return table
