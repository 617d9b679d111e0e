"""Whether an item is clicked twice in a row, which logs differ in."""

import numpy as np

from model.data import memory_starts, stretch_of
from model.log import EventLog
from model.questions import Questions, newest_items
from model.recommender import Recommender
from model.spec import Floats, ModelSpec

# Below this share of immediate repeats, recommending the present item is a place lost.
RARE = 0.01


def repeat_share(log: EventLog, spec: ModelSpec) -> float:
    """The share of next items that are the item before them."""
    known = np.flatnonzero(log.item < spec.item_count)
    memory = stretch_of(memory_starts(log, spec), log.events)[known]
    follows = memory[1:] == memory[:-1]
    same = log.item[known][1:] == log.item[known][:-1]
    return float((follows & same).sum() / max(1, int(follows.sum())))


class WithoutPresent:
    """A recommender that never recommends the newest item of the memory."""

    def __init__(self, recommender: Recommender, spec: ModelSpec) -> None:
        self.recommender, self.spec = recommender, spec

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        scores = self.recommender.scores(log, questions)
        present = newest_items(log, self.spec, questions, 1)[:, 0]
        rows = np.flatnonzero(present >= 0)
        scores[rows, present[rows]] = scores[rows].min(axis=1)
        return scores
