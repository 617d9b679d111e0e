import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.steady import Window, pieces, stalls, trend

MIB = 1 << 20
HOURS = 2
TIMES = np.arange(0, HOURS * 3_600, 5.0)


def memory(per_hour: float, noise: float, seed: int = 0) -> list[float]:
    """300 MiB that fill up in the first minutes, then grow at a rate under noise."""
    rng = np.random.default_rng(seed)
    filling = 100 * MIB * np.exp(-TIMES / 300)
    seen = 300 * MIB - filling + per_hour * TIMES / 3_600 + noise * rng.standard_normal(len(TIMES))
    return list(seen)


@pytest.mark.parametrize("seed", range(5))
def test_what_only_fills_up_in_the_beginning_is_flat(seed: int) -> None:
    assert trend(TIMES, memory(0, 2 * MIB, seed)).is_flat


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_is_seen_through_the_noise(seed: int) -> None:
    """A kilobyte for each of 5 events a second is 18 MiB an hour."""
    leaking = trend(TIMES, memory(18 * MIB, 2 * MIB, seed))
    assert not leaking.is_flat
    assert leaking.per_hour == pytest.approx(18 * MIB, rel=0.05)


def test_descriptors_that_go_up_and_down_are_flat_and_a_leak_of_them_is_not() -> None:
    sockets = [20.0 + (n % 3) for n in range(len(TIMES))]
    assert trend(TIMES, sockets).is_flat
    leaking = [count + n / 60 for n, count in enumerate(sockets)]
    assert not trend(TIMES, leaking).is_flat


def test_a_silence_counts_outside_the_windows_of_faults() -> None:
    arrivals = [1.0, 2.0, 9.0, 10.0, 30.0, 31.0]
    assert stalls(arrivals, 0.0, 32.0, [])[0] == 20.0
    assert stalls(arrivals, 0.0, 32.0, [Window(10.5, 29.0)]) == (7.0, 20.0)
    assert stalls(arrivals, 0.0, 32.0, [Window(3.0, 8.0), Window(10.0, 40.0)])[0] == 1.0
    assert stalls([], 0.0, 32.0, []) == (32.0, 32.0)


WINDOWS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda w: Window(w[0], w[0] + w[1]))
)


@given(st.integers(0, 50), st.integers(0, 50), WINDOWS)
def test_pieces_are_what_no_window_covers(begin: int, length: int, windows: list[Window]) -> None:
    seconds = range(begin, begin + length)
    free = sum(not any(w.start <= at < w.end for w in windows) for at in seconds)
    assert sum(pieces(begin, begin + length, windows)) == free
