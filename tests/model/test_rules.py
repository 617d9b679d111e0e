"""Rules against a count by hand."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import memory_starts
from model.log import EventLog
from model.popularity import fame_of
from model.questions import newest_items, questions_of
from model.rules import RuleConfig, Rules, rule_table
from tests.model.logs import logs, spec_of

SPEC = spec_of(items=5)


@settings(max_examples=40, deadline=None)
@given(logs(SPEC, min_events=1), st.integers(1, 4))
def test_rules_count_by_one_over_their_distance(log: EventLog, steps: int) -> None:
    wanted = np.zeros((5, 5))
    bounds = memory_starts(log, SPEC)
    for a, b in pairwise(bounds):
        items = [int(item) for item in log.item[a:b] if item < 5]
        for i, left in enumerate(items):
            for step, right in enumerate(items[i + 1 : i + 1 + steps], 1):
                wanted[left, right] += 1 / step
    found = rule_table(log, SPEC, RuleConfig(steps=steps)).toarray()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(logs(SPEC, min_events=2))
def test_newer_items_speak_louder_and_fame_breaks_ties(log: EventLog) -> None:
    questions = questions_of(log, SPEC, "session")
    config = RuleConfig(steps=2, newest_items=3, decay=0.5)
    found = Rules(log, SPEC, config).scores(log, questions)
    table, fame = rule_table(log, SPEC, config).toarray(), fame_of(log, SPEC)
    for row, items in enumerate(newest_items(log, SPEC, questions, 3)):
        said = sum(0.5**age * table[item] for age, item in enumerate(items) if item >= 0)
        wanted = said + 1e-3 * fame / (fame.max() + 1)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-4, atol=1e-6)
