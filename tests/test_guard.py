"""The guard: silent on noise and on too little, sure of a real drop, and never back and forth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.guard import Breach, Guard, GuardConfig, Tally, breach, noted, tally

CONFIG = GuardConfig(min_events=1_000, watched_events=10_000, settle_events=100)
FAST, SLOW = 10.0, 400.0


def batch(recall: float, latency_ms: float = FAST, events: int = 100, seed: int = 0) -> Tally:
    hits = int(np.random.default_rng(seed).binomial(events, recall))
    return tally(events, hits, np.full(events, latency_ms))


def served(
    guard: Guard, model: str, recall: float, events: int, latency_ms: float = FAST, seed: int = 0
) -> tuple[Guard, Breach | None]:
    """The guard after so many events, and the first breach on the way."""
    first = None
    for number in range(events // 100):
        guard = noted(guard, model, batch(recall, latency_ms, seed=seed * 7919 + number), CONFIG)
        first = first or breach(guard, CONFIG)
    return guard, first


@given(recall=st.floats(0.02, 0.6), seed=st.integers(0, 1_000))
def test_a_model_that_is_as_good_stands(recall: float, seed: int) -> None:
    guard, _ = served(Guard(), "a", recall, 5_000, seed=seed)
    guard, found = served(guard, "b", recall, 12_000, seed=seed + 5_000)
    assert found is None
    assert guard.baseline is None


@given(recall=st.floats(0.05, 0.6), seed=st.integers(0, 1_000))
def test_half_the_recall_is_a_breach(recall: float, seed: int) -> None:
    guard, found = served(Guard(), "a", recall, 5_000, seed=seed)
    assert found is None
    _, found = served(guard, "b", recall / 2, 10_000, seed=seed + 5_000)
    assert found is not None
    assert (found.model, found.before, found.what) == ("b", "a", "recall")
    assert "live recall fell from" in found.sentence


def test_a_model_that_takes_much_longer_is_a_breach() -> None:
    guard, _ = served(Guard(), "a", 0.3, 5_000)
    _, found = served(guard, "b", 0.3, 5_000, SLOW, seed=9)
    assert found is not None
    assert found.what == "latency"


def test_longer_but_still_short_is_none() -> None:
    guard, _ = served(Guard(), "a", 0.3, 5_000, 2.0)
    _, found = served(guard, "b", 0.3, 9_000, 80.0, seed=9)
    assert found is None


def test_without_enough_before_or_after_nothing_is_said() -> None:
    guard, _ = served(Guard(), "a", 0.5, 900)
    _, found = served(guard, "b", 0.0, 9_000)
    assert found is None
    guard, _ = served(Guard(), "a", 0.5, 5_000)
    _, found = served(guard, "b", 0.0, 1_000)
    assert found is None


def test_what_comes_while_memories_are_made_anew_counts_for_nothing() -> None:
    guard, _ = served(Guard(), "a", 0.5, 5_000)
    guard, _ = served(guard, "b", 0.0, 100, SLOW)
    assert guard.seen.judged == 0
    _, found = served(guard, "b", 0.5, 9_000)
    assert found is None


def test_a_model_that_comes_back_is_not_watched() -> None:
    """Else two models, one of them quicker and one better, would take turns for ever."""
    guard, _ = served(Guard(), "better", 0.5, 5_000, SLOW)
    guard, found = served(guard, "quicker", 0.1, 5_000, FAST, seed=1)
    assert found is not None
    # Batches of partitions that still serve the other one are no return.
    guard = Guard("better", Tally(), "quicker")
    guard, found = served(guard, "better", 0.5, 9_000, SLOW, seed=2)
    assert found is None


def test_batches_of_partitions_that_are_not_there_yet_change_nothing() -> None:
    guard, _ = served(Guard(), "a", 0.5, 5_000)
    guard = noted(guard, "b", batch(0.5), CONFIG)
    mixed, _ = served(guard, "a", 0.0, 900)
    assert (mixed.live, mixed.seen, mixed.baseline) == ("b", guard.seen, guard.baseline)


def test_after_a_return_the_next_model_is_compared_with_the_one_that_returned() -> None:
    guard, _ = served(Guard(), "a", 0.5, 5_000)
    guard, _ = served(guard, "b", 0.1, 2_000)
    guard, _ = served(guard, "a", 0.5, 9_000)
    assert (guard.live, guard.baseline) == ("a", None)
    guard, _ = served(guard, "c", 0.5, 100)
    assert guard.baseline is not None
    assert guard.baseline.recall == pytest.approx(0.5, abs=0.05)


def test_switched_off_it_sees_nothing() -> None:
    guard, _ = served(Guard(), "a", 0.5, 5_000)
    for number in range(50):
        guard = noted(guard, "b", batch(0.0, seed=number), CONFIG)
    assert breach(guard, CONFIG) is not None
    assert breach(guard, GuardConfig(enabled=False, min_events=1_000)) is None


@pytest.mark.parametrize("latency_ms", [0.0, 1.0, 1.1, 5_000.0, 1e9])
def test_any_latency_has_a_bucket(latency_ms: float) -> None:
    one = tally(1, 0, np.array([latency_ms]))
    assert one.latencies.sum() == 1
    assert 0 <= one.bucket(0.99) < len(one.latencies)
