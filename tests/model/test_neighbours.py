"""Session neighbours against a plain implementation, question by question."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import memory_starts
from model.log import EventLog
from model.neighbours import NeighbourConfig, Neighbours, distinct, rank_within, spread
from model.questions import newest_items, questions_of
from tests.model.logs import log_of, logs, spec_of

SPEC = spec_of(items=6)


def plain_scores(
    log: EventLog, prefix: list[int], config: NeighbourConfig
) -> npt.NDArray[np.float64]:
    """VMIS-kNN read off its description: no index, no sorting tricks."""
    bounds = memory_starts(log, SPEC)
    sessions = [[int(i) for i in log.item[a:b]] for a, b in pairwise(bounds)]
    items = list(dict.fromkeys(prefix))[: config.newest_items]  # newest first
    total = np.zeros(SPEC.item_count)
    holding = [sum(i in s for s in sessions) for i in range(SPEC.item_count)]
    near = []
    for age_of_session, session in enumerate(reversed(sessions)):
        shared = [age for age, item in enumerate(items) if item in session]
        if shared:
            near.append(
                (sum(1 - a / len(items) for a in shared), age_of_session, shared[0], session)
            )
    near = near[: config.newest_sessions]
    near.sort(key=lambda found: (-round(found[0], 4), found[1]))
    for similarity, fresh, age, session in near[: config.neighbours]:
        stood = max(p for p, i in enumerate(session) if i == items[age])
        for item in {i for i in session if i < SPEC.item_count}:
            place = max(p for p, i in enumerate(session) if i == item)
            weight = similarity * max(0.0, 1 - 0.1 * age)
            weight *= np.exp(-config.staleness * fresh / len(sessions))
            weight *= np.exp(-abs(place - stood) / config.distance)
            weight *= config.before_weight if place < stood else 1
            rarity = np.log(len(sessions) / holding[item])
            total[item] += weight * (1 + config.idf_weight * rarity)
    return total


@settings(max_examples=40, deadline=None)
@given(
    log=logs(SPEC, min_events=4),
    near=st.integers(1, 4),
    distance=st.sampled_from([np.inf, 1.5]),
    idf=st.sampled_from([0.0, 2.0]),
)
def test_scores_equal_plain_ones(log: EventLog, near: int, distance: float, idf: float) -> None:
    # The most that one question may look at is no limit here: ties at its edge are cut freely.
    config = NeighbourConfig(
        neighbours=50, newest_items=near, distance=distance, idf_weight=idf,
        before_weight=0.5, staleness=1.0,
    )  # fmt: skip
    questions = questions_of(log, SPEC, "session")
    found = Neighbours(log, SPEC, config).scores(log, questions)
    prefixes = newest_items(log, SPEC, questions, 3 * near)
    for row, prefix in enumerate(prefixes):
        wanted = plain_scores(log, [int(i) for i in prefix if i >= 0], config)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-4, atol=1e-6)


def test_the_newest_of_equal_sessions_are_the_neighbours() -> None:
    # Sessions of different users, in the order of their time: 0 is followed by 1, then 2, then 3.
    log = log_of([[[(0, 2), (1, 2)]], [[(0, 2), (2, 2)]], [[(0, 2), (3, 2)]]], SPEC)
    config = NeighbourConfig(neighbours=1)
    scores = Neighbours(log, SPEC, config).scores(log, questions_of(log, SPEC, "session"))
    assert (scores[:, 3] > 0).all()
    assert (scores[:, [1, 2]] == 0).all()
    index_of_two = Neighbours(log, SPEC, NeighbourConfig(newest_sessions=2))
    scores = index_of_two.scores(log, questions_of(log, SPEC, "session"))
    assert (scores[:, 1] == 0).all()
    assert (scores[:, 2] > 0).all()


def test_repeats_count_where_they_are_newest() -> None:
    rows = np.array([[3, 3, 1, -1], [2, 1, 2, 1], [-1, -1, -1, -1]], np.int32)
    assert distinct(rows).tolist() == [[3, 1, -1, -1], [2, 1, -1, -1], [-1] * 4]


@pytest.mark.parametrize("sizes", [[2, 0, 3], [], [0, 0]])
def test_stretches_are_spread(sizes: list[int]) -> None:
    begin = np.array([10 * n for n in range(len(sizes))], np.int64)
    stretch, place = spread(begin, np.array(sizes, np.int64))
    wanted = [(n, 10 * n + k) for n, size in enumerate(sizes) for k in range(size)]
    assert list(zip(stretch.tolist(), place.tolist(), strict=True)) == wanted
    assert rank_within(stretch).tolist() == [k for size in sizes for k in range(size)]
