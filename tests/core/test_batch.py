"""What the core is given is frozen; what it gives begins empty every time."""

from collections.abc import Callable

import msgspec
import pytest

from model.engine import OnnxEngine
from stream_app.core.batch import OutputBatch, Record, Route
from stream_app.core.events import OUTCOMES
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, event_batch


def test_outputs_begin_empty_and_share_nothing() -> None:
    one, other = OutputBatch(), OutputBatch()
    one.predictions.append(Record(0, None, b""))
    one.reject_reasons["late"] = 1
    one.flags["surprise"] = 1
    one.outcomes["predicted"] += 1
    one.notices.append("x")
    assert other == OutputBatch()
    assert other.outcomes == dict.fromkeys(OUTCOMES, 0)


def test_a_batch_and_a_route_are_frozen() -> None:
    with pytest.raises(AttributeError):
        event_batch([b"x"]).partition = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Route("m").live = "n"  # type: ignore[misc]


def test_a_batch_that_would_double_events_is_refused_and_changes_nothing(
    tiny_engine_with: Callable[..., OnnxEngine],
) -> None:
    engine = tiny_engine_with()
    store, route = PartitionStore(0, engine, CONFIG), Route(engine.version)
    engines = {engine.version: engine}
    play(event_batch([b"x"] * 5, 10), store, engines, route)
    changes = store.take_changes()
    with pytest.raises(ValueError, match="begins at offset 14, the state already holds everything"):
        play(event_batch([b"x"], 14), store, engines, route)
    unending = msgspec.structs.replace(event_batch([b"x"] * 3, 15), next_offset=17)
    with pytest.raises(ValueError, match="ends at offset 17, the next one cannot start at 17"):
        play(unending, store, engines, route)
    assert store.take_changes() == changes
    assert play(event_batch([], 20), store, engines, route) == OutputBatch()
    assert store.next_offset == 20  # commit markers alone were there


def test_a_route_is_recorded_by_one_batch_and_in_force_from_the_next(
    tiny_engine_with: Callable[..., OnnxEngine],
) -> None:
    engine = tiny_engine_with()
    engines, store = {engine.version: engine}, PartitionStore(0, engine, CONFIG)
    first, second = Route(engine.version), Route(engine.version, as_of=4, items_as_of=2)
    with pytest.raises(ValueError, match="the route says as_of = 4, recorded is 0"):
        play(event_batch([b"x"]), store, engines, second)
    assert store.next_offset == 0
    play(event_batch([]), store, engines, first, next_route=second)
    assert store.record.route(frozenset(), ()) == second
    with pytest.raises(ValueError, match="the route says as_of = 0, recorded is 4"):
        play(event_batch([b"x"]), store, engines, first)
    play(event_batch([b"x"]), store, engines, second)
    assert store.record.route(frozenset(), ()) == second
