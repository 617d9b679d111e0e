"""What the projected scan reads of a model's items: rough vectors in 7-bit integers, corrections.

The rough vectors lie along the first principal directions of the items. Trained item vectors put
most of their length there, so that a part of the directions ranks well enough for the few best to
be scored again exactly (after the pruned maximum-inner-product search of Li et al., "FEXIPRO",
SIGMOD 2017; here without its bounds, with the recall measured at export instead).
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.spec import Floats

LANES, CHUNK = 8, 4
MAX_DIMS = 256
ITEM_STEPS, QUERY_STEPS = 63, 63
QUERY_OFFSET = 64
# exp(x) as a float's bits: 2 ** 23 a factor of two. The shift makes the mean error of the straight
# lines between powers of two nothing (Schraudolph, Neural Computation 11, 1999).
BITS_PER_NAT = (1 << 23) / math.log(2)
ONE_BITS = 127 << 23
LINE_SHIFT = 0.0579848 * (1 << 23)


class ScanIndex(msgspec.Struct, frozen=True):
    """Items of one model, ready for ``scan_items``. Logits are ``vectors @ query``."""

    STORED: ClassVar[tuple[str, ...]] = ("directions", "packed", "bias", "constants")

    vectors: Floats  # [V, H] unit vectors times the logit scale
    directions: Floats  # [H, D] principal directions
    packed: npt.NDArray[np.int8]  # [G, D / CHUNK, LANES, CHUNK] rough items, groups of LANES
    bias: npt.NDArray[np.int32]  # [G * LANES] takes QUERY_OFFSET out again; padding never wins
    constants: npt.NDArray[np.float64]  # [5] item step, largest logit, ``correction``, ``keep``

    def arrays(self) -> dict[str, Any]:
        """What a file has to hold besides the vectors, which the model's weights give."""
        return {name: getattr(self, name) for name in self.STORED}

    @classmethod
    def of(cls, vectors: Floats, stored: Mapping[str, Any]) -> "ScanIndex":
        """The index that ``arrays`` took apart. ValueError where the parts do not fit."""
        index = cls(vectors=vectors, **{name: stored[name] for name in cls.STORED})
        groups = -(-len(vectors) // LANES)
        shapes = {
            "directions": (vectors.shape[1], index.dims),
            "packed": (groups, index.dims // CHUNK, LANES, CHUNK),
            "bias": (groups * LANES,),
            "constants": (5,),
        }
        for name, shape in shapes.items():
            array = getattr(index, name)
            if array.shape != shape or array.dtype != _TYPES[name]:
                raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, not {list(shape)}")
        return index

    @property
    def dims(self) -> int:
        return int(self.directions.shape[1])

    @property
    def item_step(self) -> float:
        return float(self.constants[0])

    @property
    def largest(self) -> float:
        """No logit is above it, nats."""
        return float(self.constants[1])

    @property
    def correction(self) -> tuple[float, float]:
        """log of (true rest / rough rest) of the normaliser: a constant, and a slope over the share
        of the query that lies outside of the directions."""
        return float(self.constants[2]), float(self.constants[3])

    @property
    def keep(self) -> int:
        """Best rough items that are scored again exactly."""
        return int(self.constants[4])


def build_index(vectors: Floats, dims: int, keep: int) -> ScanIndex:
    """The index of item vectors [V, H] along ``dims`` directions, without corrections yet.

    ``dims`` is a multiple of 2 * CHUNK up to H, H one of LANES; ``keep`` is at most V.
    """
    directions = principal_directions(vectors)[:, :dims]  # [H, D]
    along = vectors @ directions  # [V, D]
    step = max(float(np.abs(along).max()), 1e-30) / ITEM_STEPS
    groups = -(-len(vectors) // LANES)
    whole = np.zeros((groups * LANES, dims), np.int8)
    whole[: len(vectors)] = np.rint(along / np.float32(step)).clip(-ITEM_STEPS, ITEM_STEPS)
    bias = -QUERY_OFFSET * whole.astype(np.int32).sum(axis=1, dtype=np.int32)
    bias[len(vectors) :] = -(1 << 30)
    packed = whole.reshape(groups, LANES, dims // CHUNK, CHUNK).transpose(0, 2, 1, 3)
    largest = float(np.linalg.norm(vectors, axis=1).max())
    return ScanIndex(
        vectors=np.ascontiguousarray(vectors, np.float32),
        directions=np.ascontiguousarray(directions, np.float32),
        packed=np.ascontiguousarray(packed),
        bias=bias.astype(np.int32),
        constants=np.array([step, largest, 0.0, 0.0, keep]),
    )


def index_bytes(index: ScanIndex) -> bytes:
    """The index as a safetensors file, without the vectors."""
    return save(index.arrays())


def read_index(content: bytes, vectors: Floats) -> ScanIndex:
    """What ``index_bytes`` wrote; ValueError where it is none or another model's."""
    try:
        return ScanIndex.of(vectors, load(content))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"no index of a scan: {error}") from None


def principal_directions(vectors: Floats) -> Floats:
    """Orthonormal directions [H, H], those with most of the vectors' length first."""
    wide = vectors.astype(np.float64)
    _, directions = np.linalg.eigh(wide.T @ wide)  # ascending
    return np.ascontiguousarray(directions[:, ::-1], np.float32)


_TYPES = {"directions": "float32", "packed": "int8", "bias": "int32", "constants": "float64"}
