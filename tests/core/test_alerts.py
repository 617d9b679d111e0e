"""Laws of an alert's life, over any stream of p-values."""

from math import floor, log10

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.alerts import NO_ALERT, Alert, alert_id, calibrated, decades_below, judge
from stream_app.core.config import CoreConfig
from tests.core.streams import KEY

LAW = settings(deadline=None, max_examples=200)
RATES = st.sampled_from([0.5, 0.4, 0.1, 0.001, 1e-6])


@st.composite
def streams(draw: st.DrawFn) -> tuple[CoreConfig, list[tuple[float, float]]]:
    """A config and (p-value, score) of consecutive events."""
    rate = draw(RATES)
    close_after = draw(st.integers(1, 4))
    config = CoreConfig(pseudonym_key=KEY, alert_rate=rate, alert_close_after_events=close_after)
    near = st.sampled_from(
        [rate, rate * 1.5, 2 * rate, min(2.01 * rate, 1), rate / 10, rate / 1000]
    )
    p_values = st.one_of(near, st.floats(1e-9, 1))
    scores = st.floats(0, 100)
    return config, draw(st.lists(st.tuples(p_values, scores), max_size=40))


@LAW
@given(stream=streams())
def test_the_life_of_an_alert(stream: tuple[CoreConfig, list[tuple[float, float]]]) -> None:
    config, events = stream
    rate, alert, quiet, raises = config.alert_rate, NO_ALERT, 0, 0
    scores: list[float] = []
    for offset, (p_value, score) in enumerate(events):
        before, (alert, phase) = alert, judge(alert, p_value, score, 10 * offset, offset, config)
        if not before.is_open:
            assert (phase == "open") == (p_value <= rate)
            assert phase in ("open", None)
            if phase is None:
                assert alert == before
                continue
            assert (alert.opened_ms, alert.offset) == (10 * offset, offset)
            scores, quiet, raises = [], 0, 0
        else:
            assert phase != "open"
            assert (alert.opened_ms, alert.offset) == (before.opened_ms, before.offset)
            assert alert.severity >= before.severity
            assert (phase == "raise") == (alert.severity > before.severity)
            quiet = quiet + 1 if p_value > 2 * rate else 0
            assert (phase == "close") == (quiet == config.alert_close_after_events)
            assert phase != "raise" or p_value <= rate
            raises += phase == "raise"
            assert raises <= 9
        scores.append(score)
        assert alert.events == len(scores)
        assert alert.peak == max(scores)
        if phase == "close":
            alert = NO_ALERT


@LAW
@given(p_value=st.floats(1e-12, 1), other=st.floats(1e-12, 1), rate=RATES)
def test_decades_count_powers_of_ten(p_value: float, other: float, rate: float) -> None:
    low, high = sorted((p_value, other))
    assert 9 >= decades_below(low, rate) >= decades_below(high, rate) >= 0
    exact = log10(rate / p_value)
    if abs(exact - round(exact)) > 1e-9:  # between two powers rounding cannot decide
        assert decades_below(p_value, rate) == min(max(floor(exact), 0), 9)


def test_a_p_value_of_nothing_is_nine_decades_below() -> None:
    assert decades_below(0.0, 0.1) == 9


@LAW
@given(rate=st.floats(1e-6, 0.5), scores=st.integers(0, 10**8))
def test_a_rate_needs_ten_times_its_inverse(rate: float, scores: int) -> None:
    assert calibrated(scores, rate) == (scores >= 10 / rate)
    assert not calibrated(19, rate)


@LAW
@given(
    one=st.tuples(
        st.sampled_from(["surprise", "session_close"]),
        st.binary(min_size=16, max_size=16),
        st.sampled_from(["events", "events-2"]),
        st.integers(0, 12),
        st.integers(0, 120),
    ),
    other=st.tuples(
        st.sampled_from(["surprise", "session_close"]),
        st.binary(min_size=16, max_size=16),
        st.sampled_from(["events", "events-2"]),
        st.integers(0, 12),
        st.integers(0, 120),
    ),
)
def test_an_alert_is_named_by_what_opened_it(
    one: tuple[str, bytes, str, int, int], other: tuple[str, bytes, str, int, int]
) -> None:
    assert (alert_id(*one) == alert_id(*other)) == (one == other)
    assert alert_id(*one) == alert_id(*one)
    assert len(bytes.fromhex(alert_id(*one))) == 12


def test_the_id_of_an_alert_never_changes() -> None:
    # Subscribers and replays of older versions know alerts by these.
    found = alert_id("surprise", bytes(16), "clickahead.events", 3, 17)
    assert found == "0d9b8c93a6f6edf0e4f2bd9a"


def test_an_alert_is_open_from_offset_0_on() -> None:
    assert Alert(offset=0).is_open
    assert not NO_ALERT.is_open
