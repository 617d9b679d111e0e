"""What the projected scan reads of a model's items: rough vectors in 7-bit integers, corrections.

The rough vectors lie along the directions that matter most to the products of queries and items. A
part of the directions ranks well enough for the few best to be scored again exactly (after the
pruned maximum-inner-product search of Li et al., "FEXIPRO", SIGMOD 2017; here without its bounds,
with the recall measured at export instead). Items may stand in clusters: see ``scan_clusters``.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.scan_clusters import Clusters, log_correction
from model.spec import Floats

Doubles = npt.NDArray[np.float64]

LANES, CHUNK = 8, 4
MAX_DIMS = 256
ITEM_STEPS, QUERY_STEPS = 63, 63
QUERY_OFFSET = 64
# exp(x) as a float's bits: 2 ** 23 a factor of two. The shift makes the mean error of the straight
# lines between powers of two nothing (Schraudolph, Neural Computation 11, 1999).
BITS_PER_NAT = (1 << 23) / math.log(2)
ONE_BITS = 127 << 23
LINE_SHIFT = 0.0579848 * (1 << 23)


class RoughTable(NamedTuple):
    """Vectors of N items or clusters in steps, in groups of LANES; what fills up never wins."""

    packed: npt.NDArray[np.int8]  # [G, D / CHUNK, LANES, CHUNK]
    bias: npt.NDArray[np.int32]  # [G * LANES] takes QUERY_OFFSET out again
    step: float
    shift: Floats  # [LANES] or [G * LANES] a score of 0 as the bits of exp(logit - largest)


class ScanIndex(msgspec.Struct, frozen=True):
    """Items of one model, ready for a scan. Logits are ``vectors @ query``."""

    STORED: ClassVar[tuple[str, ...]] = ("directions", "packed", "bias", "constants")

    vectors: Floats  # [V, H] unit vectors times the logit scale, in the order of places
    directions: Floats  # [H, D] orthonormal
    packed: npt.NDArray[np.int8]  # [G, D / CHUNK, LANES, CHUNK] rough items by place
    bias: npt.NDArray[np.int32]  # [G * LANES]
    constants: Doubles  # [5] item step, largest logit, ``correction``, ``keep``
    clusters: Clusters | None = None

    def arrays(self) -> dict[str, Any]:
        """What a file has to hold besides the vectors, which the model's weights give."""
        own = {name: getattr(self, name) for name in self.STORED}
        return own if self.clusters is None else own | self.clusters.arrays()

    @classmethod
    def of(cls, vectors: Floats, stored: Mapping[str, Any]) -> "ScanIndex":
        """The index that ``arrays`` took apart, of vectors [V, H] in the order of their codes.
        ValueError where the parts do not fit."""
        clusters = Clusters.of(stored)
        index = cls(vectors, clusters=clusters, **{name: stored[name] for name in cls.STORED})
        for name, shape in _shapes(index).items():
            array = stored[name]
            if array.shape != shape or array.dtype != _TYPES[name]:
                raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, not {list(shape)}")
        if not (np.isfinite(index.constants).all() and 1 <= index.keep <= len(vectors)):
            raise ValueError(f"its constants are {index.constants.tolist()}")
        if index.dims > MAX_DIMS:
            raise ValueError(f"it has {index.dims} directions, not {MAX_DIMS} at most")
        if clusters is None:
            return index
        clusters.check(len(vectors), index.keep, LANES)
        return msgspec.structs.replace(index, vectors=vectors[clusters.order])

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
        """log of (true rest / rough rest) of the normaliser: a constant, and a slope over what
        ``rest`` gives beside the rest."""
        return float(self.constants[2]), float(self.constants[3])

    @property
    def keep(self) -> int:
        """Best rough items that are scored again exactly."""
        return int(self.constants[4])

    @property
    def items(self) -> RoughTable:
        shift = np.full(LANES, _bits_of_zero(0.0, self.largest), np.float32)
        return RoughTable(self.packed, self.bias, self.item_step, shift)

    @property
    def centres(self) -> RoughTable | None:
        """The clusters, where there are any."""
        found = self.clusters
        if found is None:
            return None
        shift = _bits_of_zero(found.log_weight.astype(np.float64), self.largest).astype(np.float32)
        return RoughTable(found.centre_packed, found.centre_bias, found.centre_step, shift)

    def rest(self, along: Floats, scanned: Doubles, skipped: Doubles) -> tuple[Doubles, Doubles]:
        """The rest of the normaliser as far as theory goes, from rough sums over scanned items and
        skipped clusters [B], and what its error grows with [B]; both before ``correction``."""
        outside = 1.0 - np.square(along.astype(np.float64)).sum(axis=1)  # [B]
        if self.clusters is None:
            return scanned, outside
        within, lacking = log_correction(self.clusters, along, outside)
        return scanned * np.exp(lacking) + skipped * np.exp(within), within


def index_bytes(index: ScanIndex) -> bytes:
    """The index as a safetensors file, without the vectors."""
    return save(index.arrays())


def read_index(content: bytes, vectors: Floats) -> ScanIndex:
    """What ``index_bytes`` wrote; ValueError where it is none or another model's."""
    try:
        return ScanIndex.of(vectors, load(content))
    except (SafetensorError, LookupError) as error:
        raise ValueError(f"no index of a scan: {error}") from None


def _bits_of_zero(log_weight: Any, largest: float) -> Any:
    return ONE_BITS - LINE_SHIFT + (log_weight - largest) * BITS_PER_NAT


def _shapes(index: ScanIndex) -> dict[str, tuple[int, ...]]:
    (items, width), found = index.vectors.shape, index.clusters
    block = 1 if found is None else max(found.block, 1)
    groups = -(-items // (LANES * block)) * block
    own: dict[str, tuple[int, ...]] = {
        "directions": (width, index.dims),
        "packed": (groups, index.dims // CHUNK, LANES, CHUNK),
        "bias": (groups * LANES,),
        "constants": (5,),
    }
    return own if found is None else own | found.shapes(items, index.dims, LANES, CHUNK)


_TYPES = {
    "directions": "float32", "packed": "int8", "bias": "int32", "constants": "float64",
    "order": "int32", "centre_packed": "int8", "centre_bias": "int32", "log_weight": "float32",
    "spread": "float64", "cluster_constants": "float64",
}  # fmt: skip
