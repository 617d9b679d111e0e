"""The core is no slower than it was, and whoever makes it slower is told."""

import time
from collections.abc import Callable

import pytest

from model.engine import OnnxEngine
from model.spec import Engine
from stream_app.core.batch import EventBatch, OutputBatch
from stream_app.core.store import PartitionStore
from tests.bench.guard import core, form, read_baseline, slower, speeds

TRIES = 4


def test_the_core_costs_what_it_did(tiny_engine_with: Callable[[], OnnxEngine]) -> None:
    baseline, found = read_baseline()[form()], list[str]()
    for _ in range(TRIES):
        found = slower(speeds(tiny_engine_with()), baseline)
        if not found:
            return
    pytest.fail(
        f"The core got slower: {'; '.join(found)}. If that is meant, make bench-baseline renews it."
    )


def test_a_core_that_needs_half_as_much_again_is_noticed(
    tiny_engine_with: Callable[[], OnnxEngine],
) -> None:
    def slow(batch: EventBatch, store: PartitionStore, engine: Engine) -> OutputBatch:
        begun = time.process_time()
        out = core(batch, store, engine)
        until = time.process_time() + 0.5 * (time.process_time() - begun)
        while time.process_time() < until:
            pass
        return out

    baseline = speeds(tiny_engine_with())
    for _ in range(TRIES):
        if len(found := slower(speeds(tiny_engine_with(), slow), baseline)) == len(baseline):
            return
    pytest.fail(f"only {found} was noticed")
