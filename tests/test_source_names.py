"""The name of an input record leads back to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.events import Source
from stream_app.invocation import UserError
from stream_app.source_names import find_source, parse_source, source_name

SOURCES = st.builds(
    Source,
    st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True),
    st.integers(0, 9_999),
    st.integers(0, 2**63 - 1),
)


@given(SOURCES)
def test_a_name_leads_back(source: Source) -> None:
    assert parse_source(source_name(source)) == source


@pytest.mark.parametrize("text", ["", "events", "events-1", "events-1-x", "a b-1-2", "e-1-2\n"])
def test_other_texts_are_refused_in_a_sentence(text: str) -> None:
    assert find_source(text) is None
    with pytest.raises(UserError, match="give topic-partition-offset"):
        parse_source(text)
