"""The served step with its matrix products in int8, by ONNX Runtime's own quantisers."""

from collections.abc import Iterator, Sequence
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
from model.spec import Tokens

Scale = Literal["dynamic", "static"]
# Gemm is the recurrent step and the heads; the scan over the items has an int8 form of its own,
# with an exact second pass.
_PRODUCTS = "Gemm"


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterator[dict[str, npt.NDArray[np.generic]]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        return next(self._feeds, None)


def quantised(graph: bytes, scale: Scale, engine: OnnxEngine, steps: Sequence[Tokens]) -> bytes:
    """The graph with int8 weights and activations in its products.

    ``dynamic`` takes the activations' scale from each batch, ``static`` from the successive events
    ``steps``, which ``engine`` runs. Weights have 7 bits: with 8 the products saturate on
    processors without VNNI.
    """
    model = onnx.load_from_string(graph)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"  # the quantisers know nodes by name
    # Else they ask for a preparation, which would merge nodes that are laid out by hand.
    add_pre_process_metadata(model)
    products = [node.name for node in model.graph.node if node.op_type == _PRODUCTS]
    # What the dynamic quantiser calls the product that it makes of a Gemm first.
    products += [f"{name}_MatMul" for name in products]
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "step.onnx", Path(folder) / "int8.onnx"
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
                _Reader(_feeds(engine, steps)),
                quant_format=QuantFormat.QOperator,
                op_types_to_quantize=[_PRODUCTS],
                nodes_to_quantize=products,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,
            )
        return target.read_bytes()


def _feeds(
    engine: OnnxEngine, steps: Sequence[Tokens]
) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    memory = engine.initial(len(steps[0].item))
    for tokens in steps:
        memory = first_rows(memory, len(tokens.item))
        feed: dict[str, npt.NDArray[np.generic]] = {
            "item": tokens.item,
            "action": tokens.action,
            "gap": tokens.gap,
            "chosen_action": tokens.action[:, None],
            "hidden": memory.hidden,
            "log_z": memory.log_z[:, None],
        }
        if engine.spec.features:
            feed["dense"] = tokens.dense
        yield feed
        memory = engine.advance(tokens, memory).memory
