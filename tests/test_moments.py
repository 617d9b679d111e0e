"""How long ago, or when: people may say either."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.invocation import UserError
from stream_app.moments import moment_ms

NOW_MS = 1_700_000_000_000


@given(st.integers(0, 10_000))
def test_units_agree(hours: int) -> None:
    at_ms = moment_ms(f"{hours}h", NOW_MS)
    assert at_ms == NOW_MS - hours * 3_600_000
    assert moment_ms(f"{hours * 60}m", NOW_MS) == moment_ms(f"{hours * 3600}s", NOW_MS) == at_ms
    assert moment_ms(f"{hours * 24}h", NOW_MS) == moment_ms(f"{hours}d", NOW_MS)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001
def test_a_date_means_utc(moment: datetime) -> None:
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    expected = int(whole.timestamp()) * 1000
    assert moment_ms(whole.isoformat(), NOW_MS) == expected
    assert moment_ms(whole.replace(tzinfo=None).isoformat(), NOW_MS) == expected


def test_nothing_lies_before_the_epoch() -> None:
    assert moment_ms("999999999w", NOW_MS) == 0


@pytest.mark.parametrize("text", ["", "yesterday", "2 h", "-1h", "h", "2026-13-01"])
def test_other_texts_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match="give how long ago"):
        moment_ms(text, NOW_MS)
