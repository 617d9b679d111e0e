"""Both forms of the core's inner loops, C and Python, leave the same bytes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib import reload
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.engine import OnnxEngine
from stream_app.core import compiled
from stream_app.core.config import CoreConfig
from tests.core.streams import KEY, START_MS, flows, played, records

FEATURES = ("hour_sin", "weekday_cos", "dwell", "interval", "burst", "repeat_share")
FEATURES += ("session_position", "share_view", "share_cart")
LAW = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CONFIGS = st.sampled_from(
    [
        {"max_users_per_partition": 2, "user_ttl_ms": 86_400_000},
        {"allowed_lateness_ms": 0},
        {"allowed_lateness_ms": 86_400_000},
    ]
)


@contextmanager
def plain() -> Iterator[None]:
    """Stores that are made in here, and what they play in here, know nothing compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "passes", None)
        yield


def test_a_changed_interface_has_another_number() -> None:
    stub = Path(compiled.__file__).with_name("extension") / "passes.pyi"
    known = (1, 0x9E2684C6)
    assert (compiled.INTERFACE, crc32(stub.read_bytes())) == known, (
        "count INTERFACE up in compiled.py and module.c: who updates without installing has a"
        " compiled form that is called as it no longer is"
    )


def test_a_form_of_another_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    held = compiled.passes
    try:
        with monkeypatch.context() as patch:
            patch.setattr(held, "INTERFACE", 0)
            assert not reload(compiled).is_compiled()
    finally:
        assert reload(compiled).passes is held


def test_the_install_compiled_them() -> None:
    assert compiled.is_compiled(), "no C compiler or no Python.h? see what make setup-dev said"


@LAW
@given(
    values=st.one_of(flows(80), flows(80), st.lists(records(), max_size=80)),
    cuts=st.lists(st.integers(0, 80), max_size=4),
    crashes=st.lists(st.integers(0, 4), max_size=2),
    limits=CONFIGS,
    reset=st.booleans(),
)
def test_both_forms_give_the_same_outputs_and_the_same_state(
    values: list[bytes | None],
    cuts: list[int],
    crashes: list[int],
    limits: dict[str, int],
    reset: bool,
    tiny_engine_with: Callable[..., OnnxEngine],
) -> None:
    engine = tiny_engine_with(features=FEATURES, reset_at_session=reset, ring_length=6)
    config = CoreConfig(pseudonym_key=KEY, reservoir_size=256, alert_rate=0.4, **limits)
    cuts = [min(cut, len(values)) for cut in cuts]
    found = played(values, cuts, engine, config, crashes)
    with plain():
        told = played(values, cuts, engine, config, crashes)
    assert found == told


def test_so_many_new_users_that_their_table_grows_under_a_batch(
    tiny_engine_with: Callable[..., OnnxEngine],
) -> None:
    values: list[bytes | None] = [
        b'{"user_id":"u%d","timestamp":%d,"item_id":"i%d"}' % (n % 700, START_MS + n, n % 7)
        for n in range(1_400)
    ]
    engine, config = tiny_engine_with(), CoreConfig(pseudonym_key=KEY)
    found = played(values, [700], engine, config, [])
    with plain():
        assert found == played(values, [700], engine, config, [])


@LAW
@given(
    key=st.binary(min_size=16, max_size=64),
    message=st.binary(min_size=1, max_size=400),
    size=st.integers(1, 64),
)
def test_hashes_are_those_of_hashlib(key: bytes, message: bytes, size: int) -> None:
    person = b"clickahead-test"
    found = compiled.passes.digest(compiled.passes.keyed(key, size, person), message, size)
    assert found == blake2b(message, key=key, digest_size=size, person=person).digest()


@settings(deadline=None, max_examples=500)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_becomes_a_half_as_numpy_rounds_it(value: float) -> None:
    with np.errstate(over="ignore"):
        half = np.float32(value).astype(np.float16)
    assert compiled.passes.half(value) == (int(half.view(np.uint16)), float(half))
