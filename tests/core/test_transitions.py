"""Transitions learned in the stream equal a naive count, and survive the changelog."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.transitions import (
    LATEST,
    POPULAR,
    RANK_EVERY_OFFSETS,
    SUCCESSORS,
    Transitions,
)

LAW = settings(deadline=None)
LIMIT = 3
# (source item's hash, item, offsets skipped before it)
STREAM = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from("abcdefgh"), st.integers(1, 40)), max_size=80
)
Event = tuple[int, str, int]


class Naive:
    """Keeps every event and counts anew for every question."""

    def __init__(self) -> None:
        self.events: list[Event] = []  # source, item, offset

    def sources(self) -> dict[int, list[str]]:
        kept: dict[int, list[str]] = {}
        for source, item, _ in self.events:
            if source == 0:
                continue
            kept[source] = [*kept.pop(source, []), item][-SUCCESSORS:]
            if len(kept) > LIMIT:
                del kept[next(iter(kept))]
        return kept

    def popular(self) -> list[tuple[str, int]]:
        """The latest items as they were when a block of offsets began."""
        ranked_at = 0
        for number, (_, _, offset) in enumerate(self.events):
            block = offset // RANK_EVERY_OFFSETS
            if number == 0 or block != self.events[number - 1][2] // RANK_EVERY_OFFSETS:
                ranked_at = number + 1
        latest = [item for _, item, _ in self.events[:ranked_at]][-LATEST:]
        return sorted(Counter(latest).items(), key=lambda pair: (-pair[1], pair[0]))[:POPULAR]

    def rank(self, source: int, k: int) -> list[tuple[str, float]]:
        own = self.sources().get(source, [])
        newest = {item: place for place, item in enumerate(own)}
        ranked = sorted(Counter(own).items(), key=lambda pair: (-pair[1], -newest[pair[0]]))
        weight = len(own) / (len(own) + 1)
        total = max(min(len(self.events), LATEST), 1)
        shares = [(item, weight * count / len(own)) for item, count in ranked]
        for item, count in self.popular():
            if item not in newest:
                shares.append((item, (1 - weight) * count / total))
        return shares[:k]


@LAW
@given(stream=STREAM, crashes=st.sets(st.integers(0, 80)), k=st.integers(1, 12))
def test_ranks_are_naive_counts_through_any_crash(
    stream: list[Event], crashes: set[int], k: int
) -> None:
    learned, naive, offset = Transitions(LIMIT), Naive(), 0
    changelog: dict[bytes, bytes] = {}
    for number, (source, item, step) in enumerate(stream):
        offset += step
        learned.learn(source, item, offset)
        naive.events.append((source, item, offset))
        if number in crashes:
            for key, value in learned.take_changes():
                changelog.pop(key, None)
                if value is not None:
                    changelog[key] = value
            learned = Transitions(LIMIT)
            for key, value in changelog.items():
                learned.restore(key, value)
            learned.order()
            assert learned.take_changes() == []
    assert len(learned) == len(naive.sources())
    for source in range(8):
        assert learned.rank(source, k) == naive.rank(source, k)


@LAW
@given(stream=STREAM, source=st.integers(0, 6))
def test_shares_are_a_part_of_one(stream: list[Event], source: int) -> None:
    learned, offset = Transitions(LIMIT), 0
    for origin, item, step in stream:
        offset += step
        learned.learn(origin, item, offset)
    shares = learned.rank(source, 1000)
    assert sum(share for _, share in shares) <= 1 + 1e-12
    assert all(share > 0 for _, share in shares)
    assert len({item for item, _ in shares}) == len(shares)


def test_what_followed_most_comes_first_and_the_newest_of_equals() -> None:
    learned = Transitions(16)
    for offset, item in enumerate("abcbca"):
        learned.learn(7, item, offset)
    learned.learn(7, "b", 6)
    assert [item for item, _ in learned.rank(7, 3)] == ["b", "a", "c"]


def test_the_latest_items_are_bounded_after_a_crash_too() -> None:
    one = Transitions(16)
    for offset in range(LATEST + 100):
        one.learn(0, f"i{offset % 90}", offset)
    other = Transitions(16)
    for key, value in one.take_changes():
        other.restore(key, value)
    other.order()
    for offset in range(LATEST + 100, LATEST + 300):
        one.learn(0, f"i{offset % 7}", offset)
        other.learn(0, f"i{offset % 7}", offset)
        assert other.rank(0, 80) == one.rank(0, 80)


def test_a_source_that_is_forgotten_leaves_a_tombstone() -> None:
    learned = Transitions(1)
    learned.learn(1, "a", 0)
    learned.take_changes()
    learned.learn(2, "b", 1)
    changes = dict(learned.take_changes())
    assert changes[(1).to_bytes(4, "big")] is None
    assert changes[(2).to_bytes(4, "big")] is not None
    assert len(learned) == 1
