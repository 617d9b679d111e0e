"""Session neighbours: items of the past sessions that share the newest items of this one.

VMIS-kNN (Kersbergen et al., "Serenade: Low-latency session-based recommendation in e-commerce at
scale", SIGMOD 2022), a variant of VS-kNN (Ludewig & Jannach, "Evaluation of session-based
recommendation algorithms", UMUAI 2018) over an index from items to their newest sessions; with the
decay by distance inside the neighbour that STAN adds (Garg et al., SIGIR 2019).
"""

import msgspec
import numpy as np

from model.data import memory_starts, stretch_of
from model.log import EventLog, Longs
from model.questions import Questions, newest_items
from model.spec import Floats, Ints, ModelSpec

# Bits of the sort key that order neighbours by similarity, and those that number them.
_SIMILARITY_BITS, _NUMBER_BITS = 18, 32
# Questions answered side by side: bounds what is sorted at once.
_QUESTIONS = 256


class NeighbourConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How neighbours are found and weighed. The defaults are near those that Serenade publishes."""

    # Newest sessions looked at for each question, and for each item of the index.
    newest_sessions: int = 1_500
    neighbours: int = 300
    # Newest distinct items of the memory that count.
    newest_items: int = 4
    # Power of the linear decay with an item's age in the memory, for the similarity of sessions.
    age_power: float = 1.0
    # Items of a neighbour count ``1 + idf_weight * log(sessions / sessions with the item)`` times.
    idf_weight: float = 1.0
    # Items of a neighbour fade with their distance to the shared item, by exp(-distance / this).
    distance: float = np.inf
    # Factor for items of a neighbour that came before the shared item.
    before_weight: float = 1.0
    # Neighbours fade with the sessions that began after them, by exp(-share of all sessions * this)
    staleness: float = 0.0


class SessionIndex(msgspec.Struct, frozen=True):
    """S sessions in the order of their time, and for each of V items its sessions."""

    item_start: Longs  # [V+1]
    item_session: Ints  # [P] sessions of each item, newest first
    session_start: Longs  # [S+1]
    session_item: Ints  # [P] distinct known items of each session, ascending
    session_place: Ints  # [P] where in the session each of them stood last
    code: Longs  # [P] session * V + item, ascending


def index_of(log: EventLog, spec: ModelSpec, newest_sessions: int) -> SessionIndex:
    """Index the memories of a log (its sessions, or its users where memory runs on)."""
    bounds = memory_starts(log, spec)
    filled = bounds[1:] > bounds[:-1]
    count = len(filled)
    last_ms = np.where(filled, log.at_ms[np.maximum(bounds[1:] - 1, 0)] if log.events else 0, -1)
    age_order = np.empty(count, np.int64)
    age_order[np.argsort(last_ms, kind="stable")] = np.arange(count)
    known = np.flatnonzero(log.item < spec.item_count)
    session = age_order[stretch_of(bounds, log.events)[known]]
    place = known - bounds[stretch_of(bounds, log.events)[known]]
    pairs = session * spec.item_count + log.item[known]
    # The last place of each pair: np.unique keeps the first, so the order is turned round.
    code, first = np.unique(pairs[::-1], return_index=True)
    place = place[::-1][first]
    session, item = code // spec.item_count, code % spec.item_count
    order = np.lexsort((-session, item))
    item_start = np.append(0, np.cumsum(np.bincount(item, minlength=spec.item_count)))
    newest = np.arange(len(code)) - item_start[item[order]] < newest_sessions
    kept = order[newest]
    return SessionIndex(
        item_start=np.append(0, np.cumsum(np.bincount(item[kept], minlength=spec.item_count))),
        item_session=session[kept].astype(np.int32),
        session_start=np.append(0, np.cumsum(np.bincount(session, minlength=count))),
        session_item=item.astype(np.int32),
        session_place=place.astype(np.int32),
        code=code,
    )


class Neighbours:
    """A recommender by session neighbours; see the module."""

    def __init__(
        self, log: EventLog, spec: ModelSpec, config: NeighbourConfig | None = None
    ) -> None:
        self.spec = spec
        self.config = NeighbourConfig() if config is None else config
        self.index = index_of(log, spec, self.config.newest_sessions)
        sessions = max(1, len(self.index.session_start) - 1)
        holding = np.bincount(self.index.session_item, minlength=spec.item_count)
        rarity = np.log(sessions / np.maximum(holding, 1))
        self.item_weight = 1 + self.config.idf_weight * rarity  # [V]

    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises; zero for items of no neighbour."""
        items = distinct(newest_items(log, self.spec, questions, 3 * self.config.newest_items))
        items = items[:, : self.config.newest_items]
        out = np.zeros((len(items), self.spec.item_count), np.float32)
        for begin in range(0, len(items), _QUESTIONS):
            part = items[begin : begin + _QUESTIONS]
            out[begin : begin + _QUESTIONS] = self._scores(part)
        return out

    def _scores(self, items: Ints) -> Floats:
        """Scores [n, V] after distinct items [n, L], newest first."""
        config, index, count = self.config, self.index, self.spec.item_count
        question, session, age, similarity = self._nearest(items)
        matched = items[question, age].astype(np.int64)
        stood = index.session_place[np.searchsorted(index.code, session * count + matched)]
        fresh = (len(index.session_start) - 2 - session) / max(1, len(index.session_start) - 1)
        weight = similarity * np.maximum(0.0, 1 - 0.1 * age) * np.exp(-config.staleness * fresh)
        begin = index.session_start[session]
        neighbour, place = spread(begin, index.session_start[session + 1] - begin)
        item = index.session_item[place]
        distance = index.session_place[place] - stood[neighbour]
        fading = np.exp(-np.abs(distance) / config.distance)
        fading = np.where(distance < 0, config.before_weight * fading, fading)
        total = np.bincount(
            question[neighbour] * count + item,
            weights=weight[neighbour] * fading * self.item_weight[item],
            minlength=len(items) * count,
        )
        return total.reshape(len(items), count).astype(np.float32)

    def _nearest(self, items: Ints) -> tuple[Longs, Longs, Longs, Floats]:
        """The nearest sessions: question, session, age of the newest shared item, similarity."""
        config, index = self.config, self.index
        sessions = len(index.session_start) - 1
        length = items.shape[1]
        question, age = np.nonzero(items >= 0)
        held = np.count_nonzero(items >= 0, axis=1)  # [n]
        item = items[question, age]
        begin = index.item_start[item]
        asked, place = spread(begin, index.item_start[item + 1] - begin)
        newness = sessions - 1 - index.item_session[place].astype(np.int64)
        # Sorted: by question, newest session first, newest shared item first.
        key = np.sort((question[asked] * sessions + newness) * length + age[asked])
        pair, age = np.divmod(key, length)
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        share = (1 - age / np.maximum(held[pair // sessions], 1)) ** config.age_power
        similarity = np.add.reduceat(share, first) if len(first) else share
        question, newness = np.divmod(pair[first], sessions)
        near = rank_within(question) < config.newest_sessions
        nearest = _nearest_first(question[near], similarity[near], config.neighbours)
        chosen = np.flatnonzero(near)[nearest]
        return (
            question[chosen],
            sessions - 1 - newness[chosen],
            age[first][chosen],
            similarity[chosen].astype(np.float32),
        )


def distinct(items: Ints) -> Ints:
    """Rows [M, L] of codes, newest first, each code once where it is newest; ``NONE`` behind."""
    repeated = np.zeros(items.shape, bool)
    for column in range(1, items.shape[1]):
        repeated[:, column] = (items[:, :column] == items[:, column : column + 1]).any(axis=1)
    gone = repeated | (items < 0)
    order = np.argsort(gone, axis=1, kind="stable")
    return np.take_along_axis(np.where(gone, -1, items), order, axis=1).astype(np.int32)


def spread(begin: Longs, length: Longs) -> tuple[Longs, Longs]:
    """The places ``begin[i] .. begin[i] + length[i] - 1`` of all stretches, and each one's i."""
    stretch = np.repeat(np.arange(len(begin)), length)
    inside = np.arange(len(stretch)) - np.repeat(np.cumsum(length) - length, length)
    return stretch, begin[stretch] + inside


def rank_within(sorted_groups: Longs) -> Longs:
    """Each element's number, from 0, in its run of equal values."""
    first = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    return np.arange(len(sorted_groups)) - np.repeat(
        first, np.diff(np.append(first, len(sorted_groups)))
    )


def _nearest_first(question: Longs, similarity: Floats, count: int) -> Longs:
    """Numbers of the ``count`` most similar of each question; of equals those that come first.

    One sort of integers does it: similarity is rounded to 18 bits for that.
    """
    if not len(question):
        return np.zeros(0, np.int64)
    scale = ((1 << _SIMILARITY_BITS) - 1) / max(float(similarity.max()), 1e-9)
    unlike = (1 << _SIMILARITY_BITS) - 1 - np.round(similarity * scale).astype(np.int64)
    key = (question << _SIMILARITY_BITS) + unlike
    key = np.sort((key << _NUMBER_BITS) + np.arange(len(question)))
    number = key & ((1 << _NUMBER_BITS) - 1)
    chosen: Longs = number[rank_within(key >> (_SIMILARITY_BITS + _NUMBER_BITS)) < count]
    return chosen
