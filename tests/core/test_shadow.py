"""A shadow reads what the live model reads, is compared with it, and touches nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from model.spec import Advance, Engine, Memory, Rounds, Tokens
from stream_app.core import shadow as shadow_module
from stream_app.core.batch import OutputBatch, Route, ShadowSums
from stream_app.core.pipeline import play
from stream_app.core.store import PartitionStore
from tests.core.streams import CONFIG, compact, event_batch, flows

Make = Callable[..., OnnxEngine]
FEATURES = ("hour_sin", "interval", "burst", "session_position", "share_cart")
RELAXED = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def watched(
    values: Sequence[bytes | None],
    engines: Sequence[Engine],
    cuts: Sequence[int] = (),
    crashes: Sequence[int] = (),
) -> tuple[list[Any], dict[bytes, bytes], ShadowSums]:
    """Outputs, changelog and sums of a stream that the second engine, if any, watches."""
    live, shadow = engines[0].version, engines[1].version if len(engines) > 1 else None
    by_version: Mapping[str, Engine] = {engine.version: engine for engine in engines}
    store, changelog = PartitionStore(0, engines[0], CONFIG), dict[bytes, bytes]()
    route = Route(live, shadow=shadow)
    play(event_batch([]), store, by_version, Route(live), next_route=route)
    outputs, sums, start = list[Any](), ShadowSums(), 0
    for number, stop in enumerate([*sorted(cuts), len(values)]):
        out = play(event_batch(values[start:stop], start), store, by_version, route)
        outputs += [r.value for r in (*out.predictions, *out.anomalies, *out.rejected)]
        sums = added(sums, out)
        compact(changelog, store.take_changes())
        start = stop
        if number in crashes:
            store = PartitionStore(0, engines[0], CONFIG)
            store.restore(changelog.items())
            store.recovered()
    return sorted(outputs), changelog, sums


def added(sums: ShadowSums, out: OutputBatch) -> ShadowSums:
    if out.shadow is None:
        return sums
    more = msgspec.structs.asdict(out.shadow)
    failed = more.pop("failed")
    return ShadowSums(failed=failed, **{k: getattr(sums, k) + v for k, v in more.items()})


def without_route(changelog: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in changelog.items() if key != b"p"}


@RELAXED
@given(data=st.data(), values=flows(max_size=40))
def test_a_shadow_of_equal_weights_agrees_in_everything(
    data: st.DataObject, values: list[bytes | None], tiny_engine_with: Make
) -> None:
    """However the stream is cut, and where a crash makes it read the rings again."""
    spec: dict[str, Any] = {"features": FEATURES, "ring_length": 60}
    live, twin = tiny_engine_with(**spec), tiny_engine_with(name="twin", **spec)
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=5))
    crashes = data.draw(st.lists(st.integers(0, 5), max_size=2))
    _, _, sums = watched(values, [live, twin], cuts, crashes)
    assert sums.failed is None
    assert sums.divergence == pytest.approx(0, abs=1e-6)
    assert sums.overlap == pytest.approx(sums.steps)
    assert sums.live_hits == sums.shadow_hits <= sums.judged <= sums.steps <= len(values)


@RELAXED
@given(data=st.data(), values=flows(max_size=50))
def test_a_shadow_touches_nothing(
    data: st.DataObject, values: list[bytes | None], tiny_engine_with: Make
) -> None:
    live = tiny_engine_with(features=FEATURES, ring_length=6)
    other = tiny_engine_with(seed=3, hidden_width=4, ring_length=4, reset_at_session=True)
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=5))
    alone, changelog, _ = watched(values, [live], cuts)
    outputs, beside, sums = watched(values, [live, other], cuts, [1])
    assert outputs == alone
    assert without_route(beside) == without_route(changelog)
    assert sums.failed is None
    assert sums.divergence >= -1e-9
    assert 0 <= sums.overlap <= sums.steps


class Broken:
    """A real engine that fails from its third call on."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.spec, self.version, self.fingerprint = engine.spec, "broken-1", engine.fingerprint
        self.vocabulary, self.calibration = engine.vocabulary, engine.calibration
        self.initial, self._engine, self._calls = engine.initial, engine, 0

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        self._calls += 1
        if self._calls > 2:
            raise MemoryError("no room")
        return self._engine.advance(tokens, memory, rounds)


def test_a_shadow_that_fails_says_so_and_the_live_model_goes_on(tiny_engine_with: Make) -> None:
    live = tiny_engine_with(ring_length=6)
    values = [
        msgspec.json.encode({"user_id": "u1", "timestamp": 1_700_000_000_000 + n, "item_id": "i1"})
        for n in range(9)
    ]
    alone, _, _ = watched(values, [live])
    outputs, _, sums = watched(values, [live, Broken(live)], cuts=[1, 2, 3, 4])
    assert outputs == alone
    assert sums.failed == "MemoryError: no room"
    assert sums.steps == 2


def test_a_shadow_that_is_not_there_says_so(tiny_engine_with: Make) -> None:
    live = tiny_engine_with()
    store, engines = PartitionStore(0, live, CONFIG), {live.version: live}
    route = Route(live.version, shadow="gone-1")
    play(event_batch([]), store, engines, Route(live.version), next_route=route)
    out = play(event_batch([b"x"]), store, engines, route)
    assert out.shadow == ShadowSums(failed="model gone-1 is not there")
    play(event_batch([], 1), store, engines, route, next_route=Route(live.version))
    assert play(event_batch([], 1), store, engines, Route(live.version)).shadow is None


def test_users_beyond_the_bound_are_not_watched(
    tiny_engine_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "WATCHED_ROWS", 5)
    values = [
        msgspec.json.encode({"user_id": f"u{n % 20}", "timestamp": 1_700_000_000_000 + n})
        for n in range(60)
    ]
    _, _, sums = watched(values, [tiny_engine_with(), tiny_engine_with(seed=2)], cuts=[20, 40])
    assert sums.steps == 15


def test_divergence_is_that_of_the_textbook() -> None:
    live = np.log(np.array([[0.5, 0.25, 0.25]], np.float32))
    other = np.log(np.array([[0.25, 0.75]], np.float32))
    actions = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # the third name is other there
    found = shadow_module._divergence(live, other, actions)
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert found == pytest.approx(expected, abs=1e-6)
