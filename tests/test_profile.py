"""A profile counts what a plain count finds."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.clean import Cleaned, Click, Heartbeat, Rejected
from stream_app.profile import profile

LAW = settings(deadline=None)
NAMES = st.sampled_from(["a", "b", "c"])
CLICKS = st.builds(
    Click,
    NAMES,
    st.none() | NAMES,
    st.none() | NAMES,
    st.none() | NAMES,
    st.sampled_from(["view", "cart"]),
    st.integers(0, 1 << 42),
    st.none() | st.integers(0, 9),
)
CLEANED = st.lists(
    CLICKS | st.builds(Heartbeat, st.integers(0, 9)) | st.just(Rejected("user", "none")),
    max_size=30,
)


@LAW
@given(events=CLEANED)
def test_a_profile_is_a_plain_count(events: list[Cleaned]) -> None:
    clicks = [event for event in events if isinstance(event, Click)]
    found = profile(iter(events))
    assert found.clicks == len(clicks)
    assert found.rejected == sum(isinstance(event, Rejected) for event in events)
    assert found.users == len({click.user_id for click in clicks})
    assert found.items == Counter(click.item_id for click in clicks if click.item_id is not None)
    assert found.actions == Counter(click.action for click in clicks)
    assert found.with_dwell == sum(click.dwell_ms is not None for click in clicks)
    times = [click.at_ms for click in clicks] or [0]
    assert (found.first_ms, found.last_ms) == (min(times), max(times))
    assert found.one_session_per_user == all(click.session_id == click.user_id for click in clicks)


def test_a_user_of_two_sessions_is_no_session() -> None:
    def click(user: str, session: str | None) -> Click:
        return Click(user, None, session, "i", "view", 1, None)

    assert profile([click("a", "a"), click("b", "b")]).one_session_per_user
    assert not profile([click("a", "a"), click("b", "c")]).one_session_per_user
    assert not profile([click("a", "a"), click("b", None)]).one_session_per_user
