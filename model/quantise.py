"""The served step with its matrix products in int8, by ONNX Runtime's own quantisers."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from model.engine import OnnxEngine
from model.parity import first_rows
from model.served import Graphs
from model.spec import Tokens

Scale = Literal["dynamic", "static"]
Feed = dict[str, npt.NDArray[np.generic]]
# Gemm is the recurrent step and the heads; the scan over the items has an int8 form of its own,
# with an exact second pass.
_PRODUCTS = "Gemm"


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterator[Feed]) -> None:
        self._feeds = feeds

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def quantised(graphs: Graphs, scale: Scale, engine: OnnxEngine, steps: Sequence[Tokens]) -> Graphs:
    """The graphs with int8 weights and activations in their products.

    ``dynamic`` takes the activations' scale from each batch, ``static`` from the successive events
    ``steps``, which ``engine`` runs. Weights have 7 bits: with 8 the products saturate on
    processors without VNNI.
    """
    feeds = [*zip(*_feeds(engine, steps), strict=True)]  # of each graph
    made = (_quantised(*pair, scale) for pair in zip(graphs, feeds, strict=True))
    return Graphs(*made)


def _quantised(graph: bytes, feeds: Iterable[Feed], scale: Scale) -> bytes:
    model = onnx.load_from_string(graph)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"  # the quantisers know nodes by name
    # Else they ask for a preparation, which would merge nodes that are laid out by hand.
    add_pre_process_metadata(model)
    products = [node.name for node in model.graph.node if node.op_type == _PRODUCTS]
    # What the dynamic quantiser calls the product that it makes of a Gemm first.
    products += [f"{name}_MatMul" for name in products]
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        if scale == "dynamic":
            quantize_dynamic(
                source,
                target,
                op_types_to_quantize=[_PRODUCTS, "MatMul"],
                nodes_to_quantize=products,
                weight_type=QuantType.QInt8,
                reduce_range=True,
            )
        else:
            quantize_static(
                source,
                target,
                _Reader(iter(feeds)),
                quant_format=QuantFormat.QOperator,
                op_types_to_quantize=[_PRODUCTS],
                nodes_to_quantize=products,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,
            )
        return target.read_bytes()


def _feeds(engine: OnnxEngine, steps: Sequence[Tokens]) -> Iterator[tuple[Feed, Feed]]:
    """What the recurrence and the read-out are given at each of the steps."""
    memory = engine.initial(len(steps[0].item))
    for tokens in steps:
        memory = first_rows(memory, len(tokens.item))
        left = engine.advance(tokens, memory).memory
        told: Feed = {"item": tokens.item, "action": tokens.action, "gap": tokens.gap}
        if engine.spec.features:
            told["dense"] = tokens.dense
        asked: Feed = {"item": tokens.item, "chosen_action": tokens.action[:, None]}
        memories: Feed = {"before": memory.hidden, "after": left.hidden}
        yield {**told, "hidden": memory.hidden}, {**asked, **memories}
        memory = left
