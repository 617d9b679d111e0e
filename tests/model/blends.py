"""A log that no single recommender foretells, and members that know half of it each."""

import numpy as np

from model.blend import Examples, examples_of
from model.candidates import Fame, Member, fame
from model.log import EventLog
from model.questions import Questions, newest_items, questions_of
from model.spec import Floats
from tests.model.logs import log_of, spec_of

SPEC = spec_of(items=60, width=4)


class Half:
    """Knows what follows the items of one parity, and guesses after the others."""

    def __init__(self, parity: int) -> None:
        self.parity = parity

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        last = newest_items(log, SPEC, questions, 1)[:, 0]
        scores = np.array(
            [np.random.default_rng([self.parity, e]).random(60) for e in questions.event],
            np.float32,
        )
        knows = np.flatnonzero((last >= 0) & (last % 2 == self.parity))
        scores[knows, (7 * last[knows] + 3) % 60] = 20.0
        return scores


def halves() -> list[Member]:
    return [Member("even", Half(0)), Member("odd", Half(1))]


def half_known_log(users: int, seed: int) -> EventLog:
    """Item i is followed by 7i + 3 or 7i + 4, modulo 60."""
    rng = np.random.default_rng(seed)
    sessions = []
    for _ in range(users):
        items = [int(rng.integers(60))]
        for _ in range(9):
            items.append((7 * items[-1] + 3 + int(rng.random() < 0.2)) % 60)
        sessions.append([[(item, 2) for item in items]])
    return log_of(sessions, SPEC)


def known_fame() -> Fame:
    return fame(half_known_log(50, 0), SPEC)


def examples(users: int = 120, seed: int = 1, per_member: int = 10) -> Examples:
    log = half_known_log(users, seed)
    questions = questions_of(log, SPEC, "session")
    return examples_of(halves(), known_fame(), log, SPEC, questions, per_member)
