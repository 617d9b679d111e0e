"""What a served step costs, and how well an approximate scan agrees with the exact one."""

import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from model.parity import rows_of
from model.spec import Engine, Memory, Tokens
from model.stand_in import random_tokens

BATCH_SIZES = (1, 64, 256)
SECONDS_PER_SIZE = 0.05


class Agreement(msgspec.Struct, frozen=True):
    """An approximate scan against the exact one, on ``queries`` memories."""

    queries: int
    recall: float  # share of the exact best K that were found
    log_z_error_median: float  # nats, signed
    log_z_error_p99: float  # nats, of the absolute error
    log_z_error_max: float


def agreement(exact: Engine, approximate: Engine, steps: Sequence[Tokens]) -> Agreement:
    """Both engines fed with the same events and memories; ``steps`` as ``export`` takes them."""
    memory = exact.initial(len(steps[0].item))
    recalls, errors = [], []
    for tokens in steps:
        rows = len(tokens.item)
        before = Memory(memory.hidden[:rows], memory.log_z[:rows])
        wanted, found = exact.advance(tokens, before), approximate.advance(tokens, before)
        hits = (wanted.top_items[:, :, None] == found.top_items[:, None, :]).any(axis=2)  # [B, K]
        recalls.append(hits.mean(axis=1))
        errors.append(found.memory.log_z - wanted.memory.log_z)
        memory = wanted.memory
    error = np.concatenate(errors).astype(np.float64)
    return Agreement(
        queries=len(error),
        recall=float(np.concatenate(recalls).mean()),
        log_z_error_median=float(np.median(error)),
        log_z_error_p99=float(np.quantile(np.abs(error), 0.99)),
        log_z_error_max=float(np.abs(error).max()),
    )


def latency_us(engine: Engine, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Microseconds an event, by batch size: the best of as many rounds as fit SECONDS_PER_SIZE,
    so that other work on the machine counts little."""
    result = {}
    for rows in BATCH_SIZES:
        (tokens,) = random_tokens(engine.spec, rows=rows, length=1, seed=rows)
        memory = engine.advance(tokens, engine.initial(rows)).memory
        best, deadline = float("inf"), clock() + SECONDS_PER_SIZE
        while clock() < deadline:
            start = clock()
            engine.advance(tokens, memory)
            best = min(best, clock() - start)
        result[str(rows)] = round(best / rows * 1e6, 2)
    return result


def raced_us(
    engines: Sequence[Engine],
    steps: Sequence[Tokens],
    clock: Callable[[], float] = time.process_time,
) -> list[dict[str, float]]:
    """Microseconds of processor time an event of each engine by batch size, on the newest of one or
    two successive ``steps`` of held-out users (as ``export`` takes them; repeated where they are
    too few).

    The engines run in turn, the best round counts: other work on the machine meets all alike.
    """
    *before, last = steps[:2]
    found: list[dict[str, float]] = [{} for _ in engines]
    for rows in BATCH_SIZES:
        users = np.arange(rows) % len(last.item)
        memories = []
        for engine in engines:
            memory = engine.initial(rows)
            for tokens in before:
                memory = engine.advance(rows_of(tokens, users), memory).memory
            memories.append(memory)
        asked, best = rows_of(last, users), [float("inf")] * len(engines)
        deadline = clock() + SECONDS_PER_SIZE * len(engines)
        while clock() < deadline:
            for number, engine in enumerate(engines):
                start = clock()
                engine.advance(asked, memories[number])
                best[number] = min(best[number], clock() - start)
        for number, seconds in enumerate(best):
            found[number][str(rows)] = round(seconds / rows * 1e6, 2)
    return found
