"""The edge of a store: sealing, and changelogs that are not this program's."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core.batch import Route
from stream_app.core.pipeline import play
from stream_app.core.state import StateError
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, START_MS, changelog_of, event_batch, repeatable, restored

Make = Callable[..., OnnxEngine]
RELAXED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_every_value_goes_through_seal_and_open(tiny_engine_with: Make) -> None:
    def seal(key: bytes, value: bytes) -> bytes:
        return b"sealed" + key + value

    def open_(key: bytes, value: bytes) -> bytes:
        assert value.startswith(b"sealed" + key)
        return value.removeprefix(b"sealed" + key)

    engine = tiny_engine_with()
    engines, route = {engine.version: engine}, Route(engine.version)
    store = PartitionStore(0, engine, CONFIG, seal, open_)
    values = [
        msgspec.json.encode({"user_id": f"u{n % 3}", "timestamp": START_MS + n, "item_id": f"x{n}"})
        for n in range(40)
    ]
    play(event_batch(values), store, engines, route)
    changes = store.take_changes()
    assert {key[:1] for key, _ in changes} == {b"u", b"c", b"t", b"p"}
    assert all(value is None or value.startswith(b"sealed" + key) for key, value in changes)
    other = PartitionStore(0, engine, CONFIG, seal, open_)
    other.restore(changes)
    other.recovered()
    batch = event_batch(values, 40)
    assert repeatable(play(batch, other, engines, route)) == repeatable(
        play(batch, store, engines, route)
    )


@pytest.mark.parametrize("key", [b"", b"x", b"user-1", b"u" + b"0" * 15, b"c\x00", b"pp", b"t123"])
def test_the_keys_of_another_program_are_refused(key: bytes, tiny_engine_with: Make) -> None:
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    with pytest.raises(StateError, match=r"choose another worker\.app_id"):
        store.restore([(key, b"value")])


@settings(parent=RELAXED, max_examples=150)
@given(
    kind=st.sampled_from([b"u", b"p", b"c", b"t"]),
    name=st.sampled_from([b"", b"\0\0\0", b"\2\0\0", b"\1\0\1", b"abcd", b"u" * 16])
    | st.binary(max_size=20).filter(lambda name: len(name) != 3),
    value=st.none() | st.binary(max_size=60) | st.binary(max_size=9).map(msgspec.msgpack.encode),
)
def test_any_record_is_applied_or_refused_as_state(
    kind: bytes, name: bytes, value: bytes | None, tiny_engine_with: Make
) -> None:
    store = PartitionStore(0, tiny_engine_with(), CONFIG)
    try:
        store.restore([(kind + name, value)])
    except StateError as error:
        assert str(error)
        return
    store.recovered()


@RELAXED
@given(data=st.data())
def test_a_record_with_bytes_cut_or_changed_is_applied_or_refused(
    data: st.DataObject, tiny_engine_with: Make
) -> None:
    engine = tiny_engine_with()
    changelog = changelog_of(engine)
    key = data.draw(st.sampled_from(sorted(changelog)))
    value = changelog[key]
    at = data.draw(st.integers(0, len(value) - 1))
    changed = data.draw(
        st.sampled_from([value[:at], value[:at] + b"\xff" + value[at + 1 :], value + b"\0"])
    )
    try:
        restored((changelog | {key: changed}).items(), engine)
    except StateError as error:
        assert str(error)
