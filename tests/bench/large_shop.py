"""A shop of half a million items as columns: its clicks as lines would be half a gigabyte.

Items stand on shelves, each with its own popular end. A session keeps to one shelf or two: it
begins at an item by its popularity, goes on among the neighbours, and now and then begins anew. So
that every item is known, some sessions walk along every shelf from end to end.
"""

from pathlib import Path

import numpy as np

from model.checkpoint import CheckpointError, load
from model.config import TrainConfig
from model.log import EventLog, Longs
from model.train import train
from tests.tiny_model import tiny_spec

SHELF_ITEMS = 500
SESSION_EVENTS = 8
FREE_SESSIONS = 60_000
ZIPF = 1.1
FRESH_SHARE, OTHER_SHELF_SHARE = 0.2, 0.1
VIEW = 2


def clicks(items: int, sessions: int, seed: int) -> Longs:
    """Item codes of sessions of equal length, [sessions, SESSION_EVENTS]."""
    rng = np.random.default_rng(seed)
    shelves = items // SHELF_ITEMS
    shares = np.arange(1, SHELF_ITEMS + 1) ** -ZIPF
    ladder = np.cumsum(shares / shares.sum())
    shelf = np.minimum(rng.zipf(1.2, sessions) - 1, rng.integers(0, shelves, sessions))
    place = np.searchsorted(ladder, rng.random(sessions))
    found = np.empty((sessions, SESSION_EVENTS), np.int64)
    for event in range(SESSION_EVENTS):
        found[:, event] = shelf * SHELF_ITEMS + np.minimum(place, SHELF_ITEMS - 1)
        fresh = rng.random(sessions) < FRESH_SHARE
        steps = rng.choice([-2, -1, 1, 2, 3], sessions)
        popular = np.searchsorted(ladder, rng.random(sessions))
        place = np.where(fresh, popular, (place + steps) % SHELF_ITEMS)
        moved = rng.random(sessions) < OTHER_SHELF_SHARE
        shelf = np.where(moved, (shelf + 1) % shelves, shelf)
    return found


def log_of(items: int, seed: int = 1) -> EventLog:
    """The shop's sessions, each of a user of its own, in a random order."""
    walks = np.arange(items, dtype=np.int64).reshape(-1, SESSION_EVENTS)
    every = np.concatenate([walks, clicks(items, FREE_SESSIONS, seed)])  # [S, SESSION_EVENTS]
    every = np.random.default_rng(seed).permutation(every)
    sessions, events = len(every), every.size
    gap = np.ones((sessions, SESSION_EVENTS), np.int32)
    gap[:, 0] = 0
    return EventLog(
        item=every.reshape(-1).astype(np.int32),
        action=np.full(events, VIEW, np.int32),
        gap=gap.reshape(-1),
        dense=np.zeros((events, 0), np.float32),
        at_ms=1_700_000_000_000 + 5_000 * np.arange(events, dtype=np.int64),
        session_start=np.arange(0, events + 1, SESSION_EVENTS, dtype=np.int64),
        user_start=np.arange(sessions + 1, dtype=np.int64),
        closed=np.ones(sessions, np.bool_),
    )


def trained(folder: Path, items: int) -> Path:
    """The folder of a model of that shop, as the product trains it, not exported; made once."""
    model = folder / f"vectors-{items}"
    try:
        load(model)
    except CheckpointError:
        spec = tiny_spec(name="large", item_count=items, hidden_width=128)
        config = TrainConfig(
            epochs=1, item_loss="sampled", batch_sequences=1_024, batch_events=16_384
        )
        names = [f"i{code}" for code in range(items)]
        train(log_of(items), spec, names, config, model)
    return model
