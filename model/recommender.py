"""What everything that ranks items looks like, nets and neighbours alike, and how it is asked."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from model.data import stretch_of
from model.log import EventLog, Longs
from model.questions import Questions, part_of, seen_before
from model.ranking import MISS, worst_ranks
from model.spec import Floats, Ints, ModelSpec

# Scores held at once by whoever asks: 32 MB.
SCORES = 8_000_000


class Recommender(Protocol):
    """Scores every known item after each question's memory."""

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """Scores [M, V], higher is better; any scale, finite. A row depends on what its question's
        memory holds in ``log``, never on the other questions or on later events."""


def parts_of(questions: Questions, spec: ModelSpec) -> Iterator[tuple[slice, Questions]]:
    """Questions in their order, in parts whose scores fit into memory, each with its place."""
    rows = max(1, SCORES // spec.item_count)
    for begin in range(0, len(questions.event), rows):
        place = slice(begin, begin + rows)
        yield place, part_of(questions, place)


def without_seen(
    scores: Floats, log: EventLog, spec: ModelSpec, questions: Questions, user_first: Longs
) -> Floats:
    """The scores [M, V] with the user's earlier items at minus infinity."""
    left = scores.copy()
    for row, event in enumerate(questions.event):
        left[row, seen_before(log, spec, event, user_first[event])] = -np.inf
    return left


def user_firsts(log: EventLog) -> Longs:
    """For each event the first event of its user. [N]"""
    bounds = log.session_start[log.user_start]
    first: Longs = bounds[:-1][stretch_of(bounds, log.events)]
    return first


def ranks_in(scores: Floats, target: Ints) -> Longs:
    """Worst ranks [M] of targets under scores [M, V]; ``MISS`` for a target that is unknown to
    the scores or taken out of them."""
    ranks = np.full(len(target), MISS, np.int64)
    possible = np.flatnonzero(target < scores.shape[1])
    possible = possible[scores[possible, target[possible]] > -np.inf]
    ranks[possible] = worst_ranks(scores[possible], target[possible])
    return ranks


def ranks_of(
    recommender: Recommender,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    *,
    filter_seen: bool = False,
    on_progress: Callable[[int], None] = lambda questions: None,
) -> Longs:
    """Ranks [M] of the targets under full ranking, ties worst."""
    ranks = np.full(len(questions.event), MISS, np.int64)
    first = user_firsts(log) if filter_seen else np.zeros(0, np.int64)
    for place, part in parts_of(questions, spec):
        scores = recommender.scores(log, part)
        if filter_seen:
            scores = without_seen(scores, log, spec, part, first)
        ranks[place] = ranks_in(scores, part.target)
        on_progress(len(part.event))
    return ranks
