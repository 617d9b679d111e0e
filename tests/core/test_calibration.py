"""Laws of the reservoir: conformal p-values, learning that is a function of the offset, blocks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.calibration import BLOCK, LEARN_EVERY, Reservoir, mix

LAW = settings(deadline=None)
# Few values, so that there are ties; all of them float32 numbers.
SCORES = st.lists(st.integers(0, 12).map(lambda n: n / 4), max_size=40)
NONE = np.zeros(0, np.float32)


def reservoir(scores: list[float], size: int = 256) -> Reservoir:
    return Reservoir(np.array(scores, np.float32), size)


def test_mix_is_splitmix64() -> None:
    # The published first outputs of the generator seeded with 0.
    assert mix(0) == 0xE220A8397B1DCDAF
    assert mix(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


@LAW
@given(values=st.sets(st.integers(0, (1 << 64) - 1), min_size=2, max_size=50))
def test_mix_keeps_64_bits_apart(values: set[int]) -> None:
    mixed = {mix(value) for value in values}
    assert len(mixed) == len(values)
    assert all(0 <= value < 1 << 64 for value in mixed)


@LAW
@given(scores=SCORES, score=st.integers(-1, 13).map(lambda n: n / 4))
def test_a_p_value_counts_the_scores_at_least_as_large(scores: list[float], score: float) -> None:
    n = len(scores)
    p_value = reservoir(scores).p_value(score)
    assert p_value == (1 + sum(other >= score for other in scores)) / (n + 1)
    assert 1 / (n + 1) <= p_value <= 1


@LAW
@given(scores=SCORES.filter(bool))
def test_exchangeable_scores_are_never_surer_than_their_share(scores: list[float]) -> None:
    """Each score judged by the others: at most k of n are among the k/n smallest p-values."""
    n = len(scores)
    found = [reservoir(scores[:i] + scores[i + 1 :]).p_value(scores[i]) for i in range(n)]
    for k in range(1, n + 1):
        assert sum(p_value <= k / n for p_value in found) <= k


@LAW
@given(scores=SCORES, low=st.floats(0, 3, width=32), high=st.floats(0, 3, width=32))
def test_a_larger_score_is_never_more_ordinary(
    scores: list[float], low: float, high: float
) -> None:
    low, high = sorted((low, high))
    assert reservoir(scores).p_value(low) >= reservoir(scores).p_value(high)


@LAW
@given(
    shipped=st.lists(st.floats(0, 50, width=32), max_size=600),
    stream=st.lists(st.floats(0, 50, width=32), max_size=300),
    first_offset=st.integers(0, 1 << 40),
    cuts=st.sets(st.integers(0, 300)),
)
def test_learning_and_its_blocks_are_a_function_of_the_stream(
    shipped: list[float], stream: list[float], first_offset: int, cuts: set[int]
) -> None:
    kept, slots = reservoir(shipped), reservoir(shipped)
    blocks: dict[int, bytes] = {}
    for number, score in enumerate(stream):
        kept.learn(score, first_offset + number)
        slots.learn(score, first_offset + number)
        if number in cuts:
            blocks |= slots.take_changes()
            slots = reservoir(shipped)
            for block, value in blocks.items():
                slots.restore(block, value)
            slots.rank()
        assert len(kept) == len(slots) <= max(256, len(shipped[:256]))
    probes = [*shipped[:20], *stream[:20], 0.0, 25.0, 60.0]
    assert [kept.p_value(probe) for probe in probes] == [slots.p_value(probe) for probe in probes]
    assert kept.take_changes() == sorted({**blocks, **dict(slots.take_changes())}.items())


@LAW
@given(stream=st.lists(st.floats(0, 9, width=32), min_size=1, max_size=600))
def test_the_ranks_are_those_of_what_is_held(stream: list[float]) -> None:
    held = reservoir([], 256)
    for offset, score in enumerate(stream):
        held.learn(score, offset)
    blocks = dict(held.take_changes())
    scores = np.concatenate([np.frombuffer(value, "<f4") for value in blocks.values()])
    assert len(scores) == len(held) == min(len(stream), 256)
    assert set(scores.tolist()) <= set(stream)
    for probe in {*stream[:10], 4.5}:
        assert held.p_value(probe) == (1 + int((scores >= probe).sum())) / (len(scores) + 1)


def test_a_full_reservoir_learns_one_score_in_so_many() -> None:
    held = reservoir([0.0] * 4096, 4096)
    offered = 8 * LEARN_EVERY * BLOCK
    for offset in range(offered):
        held.learn(1.0, offset)
    scores = np.concatenate([np.frombuffer(value, "<f4") for _, value in held.take_changes()])
    taken = 4096 * -np.log1p(-scores.mean())  # slots are drawn with replacement
    assert 0.9 < taken / (offered / LEARN_EVERY) < 1.1


def test_only_changed_blocks_are_given_and_given_once() -> None:
    held = reservoir([], 3 * BLOCK)
    for offset in range(BLOCK + 1):
        held.learn(float(offset), offset)
    assert [(block, len(value)) for block, value in held.take_changes()] == [
        (0, 4 * BLOCK),
        (1, 4),
    ]
    assert held.take_changes() == []
    held.learn(7.0, 1)
    assert [block for block, _ in held.take_changes()] == [1]


@LAW
@given(
    seed=st.integers(0, 1 << 32), count=st.integers(257, 3000), ties=st.sampled_from([1, 9, 1e6])
)
def test_more_shipped_scores_than_places_keep_both_tails(
    seed: int, count: int, ties: float
) -> None:
    shipped = np.random.default_rng(seed).integers(0, int(ties), count).astype(np.float32)
    held = Reservoir(shipped, 256)
    assert len(held) == 256
    low, high = float(shipped.min()), float(shipped.max())
    assert held.p_value(low) == 1 > held.p_value(low + 0.5)
    assert held.p_value(high) > held.p_value(high + 0.5) == 1 / 257
    middle = float(np.median(shipped))
    assert abs(held.p_value(middle) - (shipped >= middle).mean()) < 0.02


def test_no_scores_at_all_are_sure_of_nothing() -> None:
    held = Reservoir(NONE, 256)
    assert held.p_value(1e9) == 1
    assert held.take_changes() == []
