"""What the core is given is frozen; what it gives begins empty every time."""

import pytest

from stream_app.core.batch import OutputBatch, Record, Route
from stream_app.core.events import OUTCOMES
from tests.core.streams import event_batch


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
