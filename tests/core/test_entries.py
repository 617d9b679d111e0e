"""The columns of a pass begin empty, share nothing, and grow together."""

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.admit import Admission
from stream_app.core.entries import Refusal, SessionEnd, StepAt, Steps
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, event_batch, records

LAW = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# `late` has an entry for late events alone.
COLUMNS = [name for name in Steps.__struct_fields__ if name != "late"]


def test_steps_begin_empty_and_share_nothing() -> None:
    one = Steps()
    for name in COLUMNS:
        getattr(one, name).append(None)
    one.late[0] = None  # type: ignore[assignment]
    assert Steps() == Steps(*[[] for _ in COLUMNS])


@LAW
@given(values=st.lists(records(), max_size=60))
def test_every_column_has_an_entry_for_every_step(
    values: list[bytes | None], tiny_engine_with: Callable[..., OnnxEngine]
) -> None:
    engine = tiny_engine_with()
    store, batch = PartitionStore(0, engine, CONFIG), event_batch(values)
    cleaned = [store.read(None, value, -1) for value in values]
    admission = Admission(batch, cleaned, store, engine)
    admitted = admission.run(0)  # fewer than all, where a user has to go who is not played yet
    steps, entries = admission.steps, admission.entries
    lengths = {name: len(getattr(steps, name)) for name in COLUMNS}
    assert set(lengths.values()) == {len(steps.row)}
    assert [e.number for e in entries if isinstance(e, StepAt)] == [*range(len(steps.row))]
    outcomes = len(steps.row) + sum(isinstance(entry, Refusal) for entry in entries)
    assert outcomes + admission.duplicates + admission.heartbeats == admitted
    places = [
        steps.batch_row[entry.number] if isinstance(entry, StepAt) else entry.batch_row
        for entry in entries
    ]
    assert places == sorted(places)
    ends = [entry for entry in entries if isinstance(entry, SessionEnd)]
    assert all(-1 <= end.previous < len(steps.row) and end.events >= 1 for end in ends)
