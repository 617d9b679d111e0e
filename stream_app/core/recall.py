"""How often the live model's last top-K held the user's next item: what a guard watches.

Feeds metrics only, so it is kept in process, for a sample of users, and forgotten at a restart.
"""

from stream_app.core.batch import RecallSums

# One user in so many is watched, and no more users than MOST_USERS: about 4 MB a partition.
EVERY_ROWS, MOST_USERS = 8, 4096


class LiveRecall:
    """The last top-K of the watched users by row, and what came of it since ``take``."""

    def __init__(self) -> None:
        self._tops: dict[int, tuple[int, list[int]]] = {}
        self._judged = self._hits = 0

    def see(self, row: int, total: int, item: int, is_judged: bool, top: list[int]) -> None:
        """The user's event number ``total`` had ``item`` (a code); ``top`` [K] came of it.
        ``is_judged``: the model could have named the item, and it opened no session."""
        number, before = self._tops.get(row, (-1, []))
        # A row that another user took since begins with an event that does not follow on.
        if is_judged and number == total - 1:
            self._judged += 1
            self._hits += item in before
        if number >= 0 or len(self._tops) < MOST_USERS:
            self._tops[row] = total, top

    def take(self) -> RecallSums | None:
        """The sums since the last call; None where nothing was judged."""
        if not self._judged:
            return None
        sums = RecallSums(self._judged, self._hits)
        self._judged = self._hits = 0
        return sums
