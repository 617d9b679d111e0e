"""What a click log is like, counted in one pass: the ground for a vocabulary and a model's spec."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from stream_app.core.clean import Cleaned, Click, Rejected


class LogProfile(msgspec.Struct):
    """Counts over the clicks of a log."""

    items: Counter[str]
    actions: Counter[str]
    users: int = 0
    clicks: int = 0
    rejected: int = 0
    with_session_id: int = 0
    sessions_are_users: bool = True
    with_dwell: int = 0
    first_ms: int = 0
    last_ms: int = 0
    made_up_times: bool = False  # known to be a count of rows

    @property
    def is_timed(self) -> bool:
        """Whether times tell anything: files without them get a click a second."""
        counted = self.last_ms - self.first_ms == (self.clicks - 1) * 1000
        return not (counted or self.made_up_times)

    @property
    def one_session_per_user(self) -> bool:
        """Whether the log's users are its sessions, as in anonymous session logs."""
        return self.with_session_id == self.clicks and self.sessions_are_users


def profile(cleaned: Iterable[Cleaned]) -> LogProfile:
    """Count a log; memory grows with its items and users, not with its events."""
    found = LogProfile(items=Counter(), actions=Counter())
    users: set[str] = set()
    for event in cleaned:
        if isinstance(event, Rejected):
            found.rejected += 1
        if not isinstance(event, Click):
            continue
        if not found.clicks:
            found.first_ms = found.last_ms = event.at_ms
        found.clicks += 1
        found.first_ms = min(found.first_ms, event.at_ms)
        found.last_ms = max(found.last_ms, event.at_ms)
        found.actions[event.action] += 1
        users.add(event.user_id)
        if event.item_id is not None:
            found.items[event.item_id] += 1
        if event.session_id is not None:
            found.with_session_id += 1
            found.sessions_are_users &= event.session_id == event.user_id
        found.with_dwell += event.dwell_ms is not None
    found.users = len(users)
    return found
