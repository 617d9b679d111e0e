"""Small logs of events: any at all, for laws, and one whose next item can be learned."""

import hypothesis.strategies as st
import numpy as np

from model.log import EventLog
from model.spec import ModelSpec

ACTIONS = ("_close", "other", "view", "cart", "purchase")


def spec_of(
    items: int = 6,
    reset: bool = True,
    width: int = 8,
    actions: tuple[str, ...] = ACTIONS,
    features: tuple[str, ...] = (),
) -> ModelSpec:
    return ModelSpec(
        name="small",
        actions=actions,
        item_count=items,
        cold_buckets=2,
        hidden_width=width,
        features=features,
        gap_edges_ms=(1_000, 60_000),
        reset_at_session=reset,
        top_k=1,
    )


def log_of(
    sessions: list[list[list[tuple[int, int]]]], spec: ModelSpec, closed: list[bool] | None = None
) -> EventLog:
    """A log from users, each a list of sessions, each a list of (item code, action code)."""
    flat = [session for user in sessions for session in user]
    events = [event for session in flat for event in session]
    gap = [1 + number % (spec.gap_count - 1) for number in range(len(events))]
    return EventLog(
        item=np.array([item for item, _ in events], np.int32),
        action=np.array([action for _, action in events], np.int32),
        gap=np.array(gap, np.int32),
        dense=np.zeros((len(events), len(spec.features)), np.float32),
        at_ms=np.arange(len(events), dtype=np.int64) * 1_000,
        session_start=np.cumsum([0, *map(len, flat)], dtype=np.int64),
        user_start=np.cumsum([0, *map(len, sessions)], dtype=np.int64),
        closed=np.ones(len(flat), bool) if closed is None else np.array(closed, bool),
    )


@st.composite
def logs(draw: st.DrawFn, spec: ModelSpec, min_events: int = 0) -> EventLog:
    """Any log that follows ``spec``: cold and absent items, open sessions, users of one event."""
    event = st.tuples(st.integers(0, spec.input_count - 1), st.integers(1, len(spec.actions) - 1))
    session = st.lists(event, min_size=1, max_size=6)
    user = st.lists(session, min_size=1, max_size=4)
    users = draw(
        st.lists(user, max_size=5).filter(
            lambda found: sum(len(s) for u in found for s in u) >= min_events
        )
    )
    count = sum(map(len, users))
    closed = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return log_of(users, spec, closed)


def learnable_log(spec: ModelSpec, users: int = 60, seed: int = 0) -> EventLog:
    """Two sessions a user; item i is followed by 2i + 1 mod V nine times in ten; a cart event is
    always followed by a purchase."""
    rng = np.random.default_rng(seed)
    sessions = []
    for _ in range(users):
        item = int(rng.integers(spec.item_count))
        user = []
        for _ in range(2):
            session = []
            for place in range(int(rng.integers(3, 9))):
                action = 4 if place and session[-1][1] == 3 else int(rng.integers(2, 4))
                session.append((item, action if len(spec.actions) > 3 else 2))
                likely = rng.random() < 0.9
                item = int(
                    (2 * item + 1) % spec.item_count if likely else rng.integers(spec.item_count)
                )
            user.append(session)
        sessions.append(user)
    return log_of(sessions, spec)
