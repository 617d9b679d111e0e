"""Sequential rules: what followed the newest items, soon after them, and how often.

SR of Ludewig & Jannach ("Evaluation of session-based recommendation algorithms", UMUAI 2018): a
rule counts by one over the distance of its two items. With one step it is a first-order Markov
chain.
"""

import msgspec
import numpy as np
from scipy import sparse

from model.data import memory_starts, stretch_of
from model.log import EventLog
from model.popularity import fame_of, lateness_of
from model.questions import Questions, newest_items
from model.spec import Floats, ModelSpec

# What popularity is worth beside rules: it only orders items with equal rules.
_FAME = 1e-3


class RuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rules are counted, and which of them speak."""

    # Rules reach over so many items.
    steps: int = 10
    # Newest items that speak, and what each speaks less than the one after it.
    newest_items: int = 1
    decay: float = 0.5
    # Rules fade by exp(-share of the log after them * this).
    staleness: float = 0.0


class Rules:
    """A recommender by sequential rules; equal rules are ordered by popularity."""

    def __init__(self, log: EventLog, spec: ModelSpec, config: RuleConfig | None = None) -> None:
        self.spec = spec
        self.config = RuleConfig() if config is None else config
        self.table = rule_table(log, spec, self.config)
        fame = fame_of(log, spec)
        self.fame = _FAME * fame / (fame.max(initial=0) + 1)

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        items = newest_items(log, self.spec, questions, self.config.newest_items)
        question, age = np.nonzero(items >= 0)
        asked = sparse.csr_matrix(
            (self.config.decay ** age.astype(np.float32), (question, items[question, age])),
            shape=(len(items), self.spec.item_count),
        )
        said: Floats = (asked @ self.table).toarray()  # [M, V]
        scores: Floats = (said + self.fame).astype(np.float32)
        return scores


def rule_table(log: EventLog, spec: ModelSpec, config: RuleConfig) -> sparse.csr_matrix:
    """Weights [V, V] of rules from the row's item to the column's."""
    known = np.flatnonzero(log.item < spec.item_count)
    item, fresh = log.item[known], np.exp(-config.staleness * lateness_of(log)[known])
    memory = stretch_of(memory_starts(log, spec), log.events)[known]
    total = sparse.csr_matrix((spec.item_count, spec.item_count), dtype=np.float32)
    for step in range(1, min(config.steps, max(1, len(item) - 1)) + 1):
        joined = np.flatnonzero(memory[step:] == memory[:-step])
        if not len(joined):
            break
        weight = fresh[joined + step] / np.float32(step)
        pairs = (item[joined], item[joined + step])
        total = total + sparse.csr_matrix((weight, pairs), shape=total.shape)
    return total
