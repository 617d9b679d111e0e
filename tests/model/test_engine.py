"""The served engine: same bits in any batch, refusals that say what to do, no torch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint import MANIFEST_FILE, save
from model.engine import EngineError, OnnxEngine, open_engine
from model.parity import outputs_of
from model.served import GRAPH_FILES, STEP_FILE, digest_of
from model.session import rows_per_call
from model.spec import Memory, Tokens
from model.stand_in import random_tokens
from tests.tiny_model import random_weights, write_tiny_model

MOST_ROWS = 300


def rows_of(tokens: Tokens, memory: Memory, rows: np.ndarray) -> tuple[Tokens, Memory]:
    picked = Tokens(*(getattr(tokens, name)[rows] for name in Tokens.__struct_fields__))
    return picked, Memory(memory.hidden[rows], memory.log_z[rows])


# Widths and catalogues that are no multiple of a vector register, or of a group of items.
SHAPES = [
    {"scan": "exact", "item_count": 30, "hidden_width": 8, "features": ("a", "b", "c")},
    {"scan": "exact", "item_count": 33, "hidden_width": 7, "gap_edges_ms": ()},
    {"scan": "exact", "item_count": 1_100, "hidden_width": 33, "features": ("a",)},
    {"scan": "int8", "item_count": 1_100, "hidden_width": 33, "features": ("a",)},
    {"scan": "int8", "item_count": 1_056, "hidden_width": 16},
    {"scan": "projected", "item_count": 1_100, "hidden_width": 32, "features": ("a",)},
    {"scan": "projected", "item_count": 1_057, "hidden_width": 24},
]


@cache
def third_step(engine: OnnxEngine) -> tuple[Tokens, Memory, dict[str, np.ndarray]]:
    """Tokens, memory before and everything after, of MOST_ROWS users in one batch."""
    *before, tokens = random_tokens(engine.spec, rows=MOST_ROWS, length=3, seed=5)
    memory = engine.initial(MOST_ROWS)
    for earlier in before:
        memory = engine.advance(earlier, memory).memory
    return tokens, memory, outputs_of(engine.advance(tokens, memory))


@pytest.mark.parametrize("memory_dtype", ["float16", "float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s['scan']}_{s['item_count']}")
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_row_has_the_same_bits_in_any_batch(
    tiny_engine_with: Callable[..., OnnxEngine],
    shape: dict[str, object],
    memory_dtype: str,
    data: st.DataObject,
) -> None:
    engine = tiny_engine_with(memory_dtype=memory_dtype, **shape)
    tokens, memory, whole = third_step(engine)
    size = data.draw(st.integers(1, MOST_ROWS))
    seed = data.draw(st.integers(0, 2**31))
    rows = np.random.default_rng(seed).permutation(MOST_ROWS)[:size]
    part = outputs_of(engine.advance(*rows_of(tokens, memory, rows)))
    for name, wanted in whole.items():
        np.testing.assert_array_equal(part[name], wanted[rows], err_msg=name)


def tokens_of(engine: OnnxEngine, rows: int, **changes: np.ndarray) -> Tokens:
    (tokens,) = random_tokens(engine.spec, rows=rows, length=1, seed=0)
    columns = {name: getattr(tokens, name) for name in Tokens.__struct_fields__}
    return Tokens(**(columns | changes))


def test_batches_of_any_length_are_taken(tiny_engine: OnnxEngine) -> None:
    slices = 3 * rows_per_call(tiny_engine.spec) + 7
    tokens = tokens_of(tiny_engine, slices)
    whole = outputs_of(tiny_engine.advance(tokens, tiny_engine.initial(slices)))
    one = np.array([slices - 1])
    last = outputs_of(tiny_engine.advance(*rows_of(tokens, tiny_engine.initial(slices), one)))
    for name, values in last.items():
        np.testing.assert_array_equal(values[0], whole[name][-1], err_msg=name)
    none = tiny_engine.advance(tokens_of(tiny_engine, 0), tiny_engine.initial(0))
    assert none.top_items.shape == (0, tiny_engine.spec.top_k)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40), seed=st.integers(0, 99))
@pytest.mark.parametrize("shape", SHAPES[::2], ids=lambda s: f"{s['scan']}_{s['item_count']}")
def test_many_rounds_are_one_after_the_other(
    tiny_engine_with: Callable[..., OnnxEngine],
    shape: dict[str, object],
    lengths: list[int],
    seed: int,
) -> None:
    engine = tiny_engine_with(**shape)
    lengths.sort(reverse=True)
    rounds = [sum(length > n for length in lengths) for n in range(lengths[0])]
    earlier, *_ = random_tokens(engine.spec, rows=len(lengths), length=1, seed=seed)
    (tokens,) = random_tokens(engine.spec, rows=sum(rounds), length=1, seed=seed + 1)
    memory = engine.advance(earlier, engine.initial(len(lengths))).memory
    whole, start = outputs_of(engine.advance(tokens, memory, rounds)), 0
    for size in rounds:
        own = slice(start, start + size)
        before = Memory(memory.hidden[:size], memory.log_z[:size])
        step = engine.advance(tokens.rows(own), before)
        for name, wanted in outputs_of(step).items():
            np.testing.assert_array_equal(whole[name][own], wanted, err_msg=name)
        memory, start = step.memory, start + size


@pytest.mark.parametrize("rounds", [[4], [2, 3], [3, 3], [0, 5]])
def test_rounds_that_are_none_are_refused(tiny_engine: OnnxEngine, rounds: list[int]) -> None:
    with pytest.raises(EngineError, match="5 tokens do not come in rounds of"):
        tiny_engine.advance(tokens_of(tiny_engine, 5), tiny_engine.initial(rounds[0]), rounds)


def test_results_belong_to_the_caller(tiny_engine: OnnxEngine) -> None:
    first = tiny_engine.advance(tokens_of(tiny_engine, 5), tiny_engine.initial(5))
    kept = {name: values.copy() for name, values in outputs_of(first).items()}
    tiny_engine.advance(tokens_of(tiny_engine, 9), tiny_engine.initial(9))
    for name, values in outputs_of(first).items():
        np.testing.assert_array_equal(values, kept[name], err_msg=name)


def test_inputs_are_left_alone(tiny_engine: OnnxEngine) -> None:
    tokens, memory = tokens_of(tiny_engine, 5), tiny_engine.initial(5)
    for array in (tokens.item, tokens.action, tokens.gap, tokens.dense, memory.hidden):
        array.flags.writeable = False
    tiny_engine.advance(tokens, memory)


def test_probabilities_are_some(tiny_engine: OnnxEngine) -> None:
    step = tiny_engine.advance(tokens_of(tiny_engine, 50), tiny_engine.initial(50))
    for logp in (step.action_logp, step.gap_logp):
        np.testing.assert_allclose(np.exp(logp).sum(axis=1), 1.0, atol=1e-5)
    assert (np.exp(step.top_logp).sum(axis=1) <= 1 + 1e-5).all()
    assert (np.diff(step.top_logp, axis=1) <= 0).all()
    for share in (step.cart, step.purchase):
        assert ((share > 0) & (share < 1)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item": np.array([0, 47], np.int32)}, "row 1 has item code 47; allowed are 0 to 46"),
        ({"item": np.array([-1, 0], np.int32)}, "row 0 has item code -1"),
        ({"action": np.array([0, 6], np.int32)}, "row 1 has action code 6; allowed are 0 to 5"),
        ({"gap": np.array([5, 0], np.int32)}, "row 0 has gap code 5; allowed are 0 to 4"),
        ({"gap": np.array([0, 0], np.int64)}, "gap is int64"),
        ({"action": np.zeros(3, np.int32)}, r"action is int32\[3\]; 2 rows .* need int32\[2\]"),
        ({"dense": np.zeros((2, 3), np.float32)}, r"need float32\[2, 4\]"),
        ({"dense": np.zeros((2, 4))}, "dense is float64"),
        ({"dense": np.full((2, 4), np.nan, np.float32)}, "dense holds NaN"),
        ({"dense": np.full((2, 4), np.inf, np.float32)}, "dense holds NaN, infinity"),
    ],
)
def test_impossible_tokens_are_refused(
    tiny_engine: OnnxEngine, changes: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        tiny_engine.advance(tokens_of(tiny_engine, 2, **changes), tiny_engine.initial(2))


@pytest.mark.parametrize(
    ("hidden", "log_z", "message"),
    [
        (np.zeros((2, 8), np.float32), np.zeros(2, np.float32), "hidden is float32"),
        (np.zeros((2, 9), np.float16), np.zeros(2, np.float32), "hidden is float16"),
        (np.zeros((2, 8), np.float16), np.zeros(2), "log_z is float64"),
        (np.zeros((2, 8), np.float16), np.array([0, np.nan], np.float32), "row 1 of 2 got nan"),
        (np.full((2, 8), np.nan, np.float16), np.zeros(2, np.float32), "row 0 of 2 got nan"),
        (np.full((2, 8), np.inf, np.float16), np.zeros(2, np.float32), "row 0 of 2 got"),
    ],
)
def test_impossible_memory_is_refused(
    tiny_engine: OnnxEngine, hidden: np.ndarray, log_z: np.ndarray, message: str
) -> None:
    tokens = tokens_of(tiny_engine, 2, item=np.zeros(2, np.int32))
    with pytest.raises(EngineError, match=message):
        tiny_engine.advance(tokens, Memory(hidden, log_z))


@pytest.fixture
def model_dir(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize("name", [MANIFEST_FILE, "items.json", "model.safetensors"])
def test_half_a_model_is_refused(model_dir: Path, name: str) -> None:
    (model_dir / name).unlink()
    with pytest.raises(EngineError, match=f"{name} cannot be read"):
        open_engine(model_dir)


@pytest.mark.parametrize("name", [*GRAPH_FILES, STEP_FILE])
def test_a_model_that_was_not_exported_is_refused(model_dir: Path, name: str) -> None:
    (model_dir / name).unlink()
    with pytest.raises(EngineError, match=f"{name} cannot be read .* export it"):
        open_engine(model_dir)


def test_a_model_trained_anew_asks_for_an_export(model_dir: Path) -> None:
    spec = open_engine(model_dir).spec
    save(model_dir, spec, [f"i{code}" for code in range(30)], random_weights(spec, seed=1))
    with pytest.raises(EngineError, match=r"the weights beside it are .* export the model again"):
        open_engine(model_dir)


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_a_changed_graph_is_refused(model_dir: Path, name: str) -> None:
    content = bytearray((model_dir / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model_dir / name).write_bytes(content)
    with pytest.raises(EngineError, match=r"are not the files that step\.json describes"):
        open_engine(model_dir)


def rewrite_step(model_dir: Path, **changes: object) -> None:
    step = json.loads((model_dir / STEP_FILE).read_text())
    (model_dir / STEP_FILE).write_text(json.dumps(step | changes))


def digests(model_dir: Path) -> list[str]:
    return [digest_of((model_dir / name).read_bytes()) for name in GRAPH_FILES]


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_a_graph_of_another_model_is_refused(model_dir: Path, tmp_path: Path, name: str) -> None:
    other = write_tiny_model(tmp_path / "other", open_engine(model_dir).spec, seed=1)
    shutil.copy(other / name, model_dir / name)
    rewrite_step(model_dir, graph_digests=digests(model_dir))
    with pytest.raises(EngineError, match=f"{name} names format 2 and model"):
        open_engine(model_dir)


def test_a_file_that_is_no_graph_is_refused(model_dir: Path) -> None:
    (model_dir / GRAPH_FILES[0]).write_bytes(b"no graph")
    rewrite_step(model_dir, graph_digests=digests(model_dir))
    with pytest.raises(EngineError, match="cannot open the graph"):
        open_engine(model_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1, "graph_digest": "0"}, "has format 1, this version serves 2; export"),
        ({"format": 3}, "has format 3, this version serves 2"),
        ({"scan": "magic"}, "describes no served step"),
        ({"surprise": 1}, "describes no served step"),
    ],
)
def test_another_format_is_refused(
    model_dir: Path, changes: dict[str, object], message: str
) -> None:
    rewrite_step(model_dir, **changes)
    with pytest.raises(EngineError, match=message):
        open_engine(model_dir)


def test_a_file_beyond_the_limit_is_not_read(model_dir: Path) -> None:
    with (model_dir / GRAPH_FILES[1]).open("r+b") as file:
        file.truncate(1 << 31)  # sparse: takes no space
    with pytest.raises(EngineError, match="at most 2147483647 can be served"):
        open_engine(model_dir)


def test_a_broken_calibration_is_refused(model_dir: Path) -> None:
    (model_dir / "calibration.safetensors").write_bytes(b"nothing")
    with pytest.raises(EngineError, match="calibrate again, or delete it"):
        open_engine(model_dir)


def test_the_import_is_quick_and_brings_no_training_libraries() -> None:
    program = (
        "import sys, time, numpy; start = time.process_time(); import model.engine;"
        "print(time.process_time() - start, *sorted(sys.modules))"
    )
    seconds, *modules = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"torch", "onnx", "sklearn", "scipy", "duckdb"} & set(modules)
    assert float(seconds) < 0.5
