"""Items in clusters that a query skips as wholes: what an index keeps of them.

A query scans the few clusters whose centres score best; what the others add to its normaliser is
taken from their centres. Logits within a cluster spread nearly as a normal distribution, so that
n items at a centre's logit m add n exp(m + spread / 2), with the variance of the query's logits as
spread (the cumulant expansion of the log of a mean of exp, cut after the second term).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import Floats


class Clusters(msgspec.Struct, frozen=True):
    """C clusters of equal size, but for the last one."""

    STORED: ClassVar[tuple[str, ...]] = (
        "order", "centre_packed", "centre_bias", "log_weight", "spread", "cluster_constants",
    )  # fmt: skip

    order: npt.NDArray[np.int32]  # [V] codes of the items, cluster by cluster
    centre_packed: npt.NDArray[np.int8]  # rough centres as ``ScanIndex.packed`` has items
    centre_bias: npt.NDArray[np.int32]
    log_weight: Floats  # as many as ``centre_bias``: what a cluster adds beside its centre's logit
    spread: npt.NDArray[np.float64]  # [D + 1] mean variance within a cluster along each direction,
    # and along one of those that the index leaves out
    cluster_constants: npt.NDArray[np.float64]  # [3] centre step, ``block``, ``taken``

    def arrays(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STORED}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Clusters | None":
        """The clusters that ``arrays`` took apart; None where a file has none. KeyError where it
        has a part of them."""
        if not any(name in stored for name in cls.STORED):
            return None
        return cls(**{name: stored[name] for name in cls.STORED})

    @property
    def centre_step(self) -> float:
        return float(self.cluster_constants[0])

    @property
    def block(self) -> int:
        """Groups of items in a cluster."""
        return int(self.cluster_constants[1])

    @property
    def taken(self) -> int:
        """Clusters that each query scans."""
        return int(self.cluster_constants[2])

    def _count(self, items: int, lanes: int) -> int:
        return -(-items // (lanes * max(self.block, 1)))

    def shapes(self, items: int, dims: int, lanes: int, chunk: int) -> dict[str, tuple[int, ...]]:
        """What the arrays must be for so many items."""
        groups = -(-self._count(items, lanes) // lanes)
        return {
            "order": (items,),
            "centre_packed": (groups, dims // chunk, lanes, chunk),
            "centre_bias": (groups * lanes,),
            "log_weight": (groups * lanes,),
            "spread": (dims + 1,),
            "cluster_constants": (3,),
        }

    def check(self, items: int, keep: int, lanes: int) -> None:
        """ValueError where a scan would read what is not there."""
        clusters = self._count(items, lanes)
        if not (1 <= self.taken <= clusters):
            raise ValueError(f"{self.taken} of {clusters} clusters are to be scanned")
        if (self.taken - 1) * self.block * lanes < keep:
            raise ValueError(f"{self.taken} clusters need not have {keep} items")
        if not np.array_equal(np.sort(self.order), np.arange(items)):
            raise ValueError("the order of the items names not each of them once")
        if not (np.isfinite(self.log_weight).all() and np.isfinite(self.spread).all()):
            raise ValueError("a cluster's weight is no number")


def log_correction(
    clusters: Clusters, along: Floats, outside: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What the spread of logits adds to log sums of rough exps [B], in nats: of the clusters at
    their centres, and of the scanned items, which lack but the directions left out."""
    lacking = clusters.spread[-1] * outside / 2  # [B]
    within = (np.square(along.astype(np.float64)) * clusters.spread[:-1]).sum(axis=1) / 2  # [B]
    return within + lacking, lacking
