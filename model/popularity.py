"""The same list for everybody: what is clicked most, over all time or lately."""

import numpy as np

from model.log import EventLog
from model.questions import Questions
from model.spec import Floats, ModelSpec


def fame_of(log: EventLog, spec: ModelSpec, staleness: float = 0.0) -> Floats:
    """Clicks of each known item, each fading with the share of the log's clicks that came after
    it: by exp(-share * ``staleness``). [V]"""
    known = np.flatnonzero(log.item < spec.item_count)
    weight = np.exp(-staleness * lateness_of(log)[known])
    fame = np.bincount(log.item[known], weights=weight, minlength=spec.item_count)
    return fame.astype(np.float32)


def lateness_of(log: EventLog) -> Floats:
    """For each event the share of the log's events that came later in time. [N]"""
    place = np.empty(log.events, np.int64)
    place[np.argsort(log.at_ms, kind="stable")] = np.arange(log.events)
    late: Floats = ((log.events - 1 - place) / max(1, log.events)).astype(np.float32)
    return late


class Popularity:
    """A recommender that ignores the question."""

    def __init__(self, log: EventLog, spec: ModelSpec, staleness: float = 0.0) -> None:
        self.fame = fame_of(log, spec, staleness)

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        return np.tile(self.fame, (len(questions.event), 1))
