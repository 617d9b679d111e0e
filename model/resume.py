"""The state of an unfinished training run: one safetensors file, replaced in one step, no pickle.

Batches, dropout and learning rate are functions of (seed, epoch, batch), so weights, the
optimizer's moments and the position are all that a run needs to go on as if nothing had happened.
"""

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from model.checkpoint import write_atomically

Arrays = dict[str, npt.NDArray[Any]]


class ResumeError(ValueError):
    """A folder holds an unfinished run that is not this one."""

    exit_code: ClassVar[int] = 2


class EpochRecord(msgspec.Struct, frozen=True):
    """One finished epoch. The loss is the mean over its item targets, in nats; what was measured
    on held-out sessions is None where there are none."""

    phase: str
    epoch: int
    item_loss: float
    seconds: float
    events_per_second: float
    recall_at_20: float | None = None
    mrr_at_20: float | None = None


class Position(msgspec.Struct, frozen=True):
    """Where a run stands: the next batch to train on, and what is known so far."""

    phase: str
    epoch: int = 0
    batch: int = 0
    step: int = 0
    # Of the epoch that is under way:
    item_loss_sum: float = 0.0
    item_count: int = 0
    events: int = 0
    seconds: float = 0.0
    # Of the epochs that are done, of all phases:
    history: tuple[EpochRecord, ...] = ()

    @property
    def mean_loss(self) -> float:
        return self.item_loss_sum / max(self.item_count, 1)

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds if self.seconds > 0 else 0.0


def save(path: Path, identity: str, position: Position, arrays: Arrays) -> None:
    """Write a run's state. ``identity`` names data, spec and settings."""
    notes = {"identity": identity, "position": msgspec.json.encode(position).decode()}
    write_atomically(path, save_arrays(arrays, metadata=notes))


def load(path: Path, identity: str) -> tuple[Position, Arrays] | None:
    """Read a run's state; None where there is none. Raises ResumeError for another run's."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as state:
            notes = state.metadata() or {}
            arrays = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
        position = msgspec.json.decode(notes["position"], type=Position)
    except (SafetensorError, KeyError, msgspec.DecodeError, OSError) as error:
        raise ResumeError(f"{path} cannot be read ({error}); delete it to begin anew") from None
    if notes.get("identity") != identity:
        raise ResumeError(
            f"{path} belongs to an unfinished run on other data or with other settings; "
            "repeat that command to finish it, or delete the file to begin anew"
        )
    return position, arrays
