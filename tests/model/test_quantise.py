"""The quantised step computes nearly the same, and with fixed scales a row's bits are its own."""

from pathlib import Path

import msgspec
import onnx
import pytest
import torch

from model import checkpoint
from model.engine import OnnxEngine, open_engine
from model.export import export
from model.measure import agreement
from model.nets import GruNet
from model.parity import ParityError, check_batching
from model.quantise import Scale, quantised
from model.served import GRAPH_FILES, Graphs
from model.session import StepSession
from model.stand_in import random_tokens
from tests.model.logs import spec_of

SPEC = msgspec.structs.replace(
    spec_of(items=40, width=32, features=("dwell",)), top_k=10, memory_dtype="float32"
)


@pytest.mark.parametrize("scale", ["static", "dynamic"])
def test_products_in_int8(scale: Scale, tmp_path: Path) -> None:
    net = GruNet(SPEC, torch.Generator().manual_seed(1))
    checkpoint.save(tmp_path, SPEC, tuple(map(str, range(40))), net.weights())
    export(tmp_path)
    exact = open_engine(tmp_path)
    graphs = Graphs(*((tmp_path / name).read_bytes() for name in GRAPH_FILES))
    steps = random_tokens(SPEC, rows=64, length=6, seed=1)
    made = quantised(graphs, scale, exact, steps)
    for content in made:
        names = {node.op_type for node in onnx.load_from_string(content).graph.node}
        assert names & {"QGemm", "MatMulInteger"}
        assert "Gemm" not in names
    engine = OnnxEngine(checkpoint.load(tmp_path), StepSession(made, SPEC), 0.0, {})
    found = agreement(exact, engine, steps)
    assert found.recall > 0.9
    if scale == "static":
        check_batching(engine, steps)
    else:
        with pytest.raises(ParityError, match="changes bits"):
            check_batching(engine, steps)
