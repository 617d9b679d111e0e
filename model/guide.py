"""What a training has besides its log: weights to begin from, a teacher, and what must not move.

Distillation, pruning, transfer and continual learning are all trainings with a guide.
"""

import hashlib
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.lessons import Lessons
from model.nets import SequenceNet
from model.spec import Floats

Mask = npt.NDArray[np.bool_]


class Anchor(msgspec.Struct, frozen=True):
    """Weights that were good before, and how much each of their entries mattered.

    The penalty of elastic weight consolidation (Kirkpatrick et al., "Overcoming catastrophic
    forgetting in neural networks", PNAS 2017) is ``strength / 2 * sum(importance * shift ** 2)``.
    """

    weights: Mapping[str, Floats]
    importance: Mapping[str, Floats]
    strength: float


class Guide(msgspec.Struct, frozen=True, kw_only=True):
    """How a training differs from one from scratch; all names are those of ``weight_shapes``."""

    # Instead of drawn ones.
    weights: Mapping[str, Floats] | None = None
    # Weights that stay as they are.
    frozen: frozenset[str] = frozenset()
    # Entries that may be other than zero, of the weights that have any that may not.
    kept: Mapping[str, Mask] = {}
    anchor: Anchor | None = None
    # About the training log's events; only without a held-out part, whose events are others.
    lessons: Lessons | None = None
    # Rank of low-rank adapters, the only thing that is then trained; 0: none.
    lora_rank: int = 0

    @property
    def name(self) -> str:
        """Differs between any two guides; empty for one that says nothing."""
        if self == NO_GUIDE:
            return ""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((sorted(self.frozen), self.lora_rank)).encode())
        _add(digest, "weights", self.weights or {})
        _add(digest, "kept", self.kept)
        if self.anchor is not None:
            digest.update(repr(self.anchor.strength).encode())
            _add(digest, "anchor", self.anchor.weights)
            _add(digest, "importance", self.anchor.importance)
        if self.lessons is not None:
            digest.update(self.lessons.name.encode())
        return digest.hexdigest()


NO_GUIDE = Guide()


class Leash:
    """A guide's hold on one net while it is trained; ``kept`` are more of the guide's ``kept``."""

    def __init__(self, guide: Guide, net: SequenceNet, kept: Mapping[str, Mask] = {}) -> None:
        if guide.weights is not None:
            net.set_weights(guide.weights)
        named = {name.removesuffix("_l0"): p for name, p in net.named_parameters()}
        for name in guide.frozen:
            named[name].requires_grad_(False)
        masks = [*guide.kept.items(), *kept.items()]
        self._kept = [(named[name], torch.from_numpy(mask)) for name, mask in masks]
        self._pulls: list[tuple[Tensor, Tensor, Tensor]] = []
        if guide.anchor is not None:
            self._pulls = [
                (
                    named[name],
                    torch.from_numpy(guide.anchor.weights[name]),
                    torch.from_numpy(np.asarray(importance)) * (guide.anchor.strength / 2),
                )
                for name, importance in guide.anchor.importance.items()
            ]
        self.cut()

    def penalty(self) -> Tensor:
        """What leaving the anchor costs; 0 without one."""
        total = torch.zeros(())
        for parameter, before, importance in self._pulls:
            total = total + (importance * (parameter - before).square()).sum()
        return total

    @torch.no_grad()
    def cut(self) -> None:
        """Zero what is not kept."""
        for parameter, mask in self._kept:
            parameter.mul_(mask)


def _add(digest: hashlib.blake2b, name: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{name}.{key}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
