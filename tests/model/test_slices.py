"""Kinds of questions by hand, and that the kinds of one question add up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.log import EventLog
from model.questions import questions_of
from model.ranking import MISS
from model.slices import head_of, sliced, slices_of
from tests.model.logs import log_of, logs, spec_of

SPEC = spec_of(items=4, reset=True)


def test_by_hand() -> None:
    cold = SPEC.item_count
    log = log_of([[[(0, 2), (1, 2), (0, 2)], [(2, 2), (cold, 2)]]], SPEC)
    questions = questions_of(log, SPEC, "session")
    kinds = slices_of(log, SPEC, questions, np.array([10, 5, 4, 1]))
    names = [[name for name, mask in kinds.items() if mask[row]] for row in range(3)]
    assert names == [
        ["target tail", "user new", "position 1"],
        ["target head", "target repeated", "user new", "position 2"],
        ["target cold", "user returning", "position 1"],
    ]
    found = sliced(np.array([1, 2, MISS]), kinds, np.array([0, 1, 2]))
    interval = found["user new"].pop("interval")["mrr@20"]
    assert found["user new"] == {"n": 2, "recall@20": 1.0, "mrr@20": 0.75}
    assert interval == {"value": 0.75, "low": 0.5, "high": 1.0}
    assert found["position 3-5"] == {"n": 0}


def test_the_head_holds_half_of_the_clicks() -> None:
    assert head_of(np.array([1, 5, 4])).tolist() == [False, True, False]
    assert head_of(np.array([4, 4, 4])).tolist() == [True, True, False]


@settings(max_examples=30, deadline=None)
@given(logs(SPEC, min_events=2), st.booleans())
def test_kinds_of_one_sort_are_a_partition(log: EventLog, reset: bool) -> None:
    spec = spec_of(items=4, reset=reset)
    questions = questions_of(log, spec, "session")
    kinds = slices_of(log, spec, questions, np.array([1, 2, 3, 4]))
    targets = [kinds[f"target {name}"] for name in ("head", "tail", "cold")]
    positions = [mask for name, mask in kinds.items() if name.startswith("position")]
    users = [kinds["user new"], kinds["user returning"]]
    for sort in (targets, positions, users):
        assert (np.sum(sort, axis=0) == 1).all()
    for row, event in enumerate(questions.event):
        first = 0 if not reset else int(log.session_start[log.session_start <= event][-1])
        first = first if reset else int(log.session_start[log.user_start][
            log.session_start[log.user_start] <= event][-1])  # fmt: skip
        held = log.item[first:event]
        assert kinds["target repeated"][row] == (log.item[event] in held)
