"""How a served model ranks: every event goes through the engine, as in a worker."""

import numpy as np

from model.data import NONE, memory_starts, stretch_of
from model.log import EventLog, Longs
from model.questions import Questions
from model.ranking import MISS
from model.spec import Engine, Memory, Tokens

# Memories that go through the engine side by side.
ROWS = 256


def served_ranks(engine: Engine, log: EventLog, questions: Questions) -> Longs:
    """Ranks [M] of the targets in the engine's top lists; ``MISS`` beyond them.

    The memory between two events is the rounded one that a worker keeps, and the ranking is the
    scan's, approximate where that is.
    """
    spec = engine.spec
    ranks = np.full(len(questions.event), MISS, np.int64)
    bounds = memory_starts(log, spec)
    memory_of = stretch_of(bounds, log.events)
    inside = np.flatnonzero(questions.after != NONE)
    asked = questions.after[inside]
    stop = np.zeros(len(bounds) - 1, np.int64)
    np.maximum.at(stop, memory_of[asked], asked + 1)
    read = np.unique(memory_of[asked])
    order = np.argsort(bounds[read] - stop[read], kind="stable")  # the longest first
    by_event = np.argsort(asked, kind="stable")
    sorted_events = asked[by_event]
    for begin in range(0, len(read), ROWS):
        rows = read[order[begin : begin + ROWS]]
        start, length = bounds[rows], stop[rows] - bounds[rows]
        memory = engine.initial(len(rows))
        for offset in range(int(length.max())):
            alive = int(np.count_nonzero(length > offset))
            place = start[:alive] + offset
            tokens = Tokens(log.item[place], log.action[place], log.gap[place], log.dense[place])
            before = Memory(memory.hidden[:alive], memory.log_z[:alive])
            after = engine.advance(tokens, before)
            memory = after.memory
            row, numbers = _asked_here(place, sorted_events)
            numbers = inside[by_event[numbers]]
            hits = after.top_items[row] == questions.target[numbers, None]  # [m, K]
            found = hits.any(axis=1)
            ranks[numbers[found]] = 1 + hits[found].argmax(axis=1)
    return ranks


def _asked_here(place: Longs, asked: Longs) -> tuple[Longs, Longs]:
    """For events ``place`` [B] and sorted events ``asked`` [M]: rows of ``place`` and indices of
    ``asked`` that are equal. Several questions may be asked of one memory."""
    first = np.searchsorted(asked, place, side="left")
    count = np.searchsorted(asked, place, side="right") - first
    row = np.repeat(np.arange(len(place)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, first[row] + within
