"""Steps are kept to the bit, and all that is admitted is told in order."""

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.admit import Admission
from stream_app.core.clean import Click
from stream_app.core.entries import Refusal, SessionEnd, Step, StepAt, Steps
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, event_batch, records

CLICK = Click("u1", None, None, None, "view", 0, None)
LAW = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def steps() -> st.SearchStrategy[Step]:
    whole = st.integers(-(1 << 62), 1 << 62)
    kinds = dict.fromkeys(Step._fields, whole)
    kinds |= dict.fromkeys(("item_hash", "source_item"), st.integers(0, (1 << 32) - 1))
    kinds |= dict.fromkeys(("item", "dwell_ms"), st.integers(-1, (1 << 31) - 1))
    kinds |= dict.fromkeys(("mark", "dwell"), st.integers(0, 255))
    return st.builds(
        Step,
        **kinds
        | {
            "id_hash": st.integers(0, (1 << 64) - 1),
            "starts": st.booleans(),
            "fallback": st.booleans(),
            "pseudonym": st.binary(min_size=16, max_size=16),
        },
    )


@settings(deadline=None)
@given(given=st.lists(steps(), max_size=5))
def test_steps_are_kept_as_they_are_given(given: list[Step]) -> None:
    kept = Steps()
    for step in given:
        kept.add(step, CLICK)
    assert [kept[k] for k in range(len(kept))] == given
    assert kept.pseudonym == [step.pseudonym for step in given]
    for name in Step._fields[:-1]:
        assert kept.of(name) == [getattr(step, name) for step in given]
    assert len(Steps()) == 0


@LAW
@given(values=st.lists(records(), max_size=60))
def test_everything_that_is_admitted_has_its_place(
    values: list[bytes | None], tiny_engine_with: Callable[..., OnnxEngine]
) -> None:
    engine = tiny_engine_with()
    store, batch = PartitionStore(0, engine, CONFIG), event_batch(values)
    cleaned = [store.read(None, value, -1) for value in values]
    admission = Admission(batch, cleaned, store, engine)
    admitted = admission.run(0)  # fewer than all, where a user has to go who is not played yet
    steps, entries = admission.steps, admission.entries
    assert len(steps) == len(steps.click) == len(steps.columns)
    assert [e.number for e in entries if isinstance(e, StepAt)] == [*range(len(steps))]
    outcomes = len(steps) + sum(isinstance(entry, Refusal) for entry in entries)
    assert outcomes + admission.duplicates + admission.heartbeats == admitted
    places = [
        steps[entry.number].batch_row if isinstance(entry, StepAt) else entry.batch_row
        for entry in entries
    ]
    assert places == sorted(places)
    ends = [entry for entry in entries if isinstance(entry, SessionEnd)]
    assert all(-1 <= end.previous < len(steps) and end.events >= 1 for end in ends)
