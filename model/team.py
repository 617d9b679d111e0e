"""Several processes that train one net together, as ``torchrun`` starts them.

Each computes its share of every batch, DistributedDataParallel averages the gradients (Li et al.,
"PyTorch distributed", VLDB 2020), and so all of them hold the same weights after every step. The
first one alone measures and writes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from model.config import TrainConfig
from model.data import DataError
from model.rendezvous import met
from model.share import Share

T = TypeVar("T")

# The others wait while the first measures, calibrates and exports; one that has died is noticed by
# its closed connection.
PATIENCE = timedelta(hours=12)
ARRIVAL = timedelta(minutes=5)


class TeamError(DataError):
    """The work cannot be divided among the processes that were started."""


class Team(NamedTuple):
    """Process ``rank`` of ``size``, ``beside`` of which share its machine, itself included."""

    rank: int = 0
    size: int = 1
    beside: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that measures, writes and speaks."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        return Share(self.rank, self.size, self._gathered)

    def check(self, config: TrainConfig) -> None:
        """Raise TeamError unless a batch can be cut into equal shares."""
        if config.batch_sequences % self.size:
            raise TeamError(
                f"batch_sequences={config.batch_sequences} cannot be divided among {self.size} "
                f"processes; use --set batch_sequences=N with a multiple of {self.size}, or start "
                "another number of processes"
            )

    def told(self, make: Callable[[], T]) -> T:
        """What the leading process makes, in all of them; the others make nothing."""
        if self.size == 1:
            return make()
        made: list[Any] = [make() if self.leads else None]
        distributed.broadcast_object_list(made, src=0)
        result: T = made[0]
        return result

    def summed(self, values: Tensor) -> Tensor:
        """The sum of all processes' values, in all of them."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def learner(self, net: nn.Module, leaves_out: bool = False) -> nn.Module:
        """A module that calls what it is given: a loss of ``net``, the gradients of whose
        parameters are then those of all processes' mean loss. ``leaves_out`` says whether some
        losses have no use for a part of the net."""
        learner = _Learner(net)
        if self.size == 1:
            return learner
        return DistributedDataParallel(learner, find_unused_parameters=leaves_out)

    def _gathered(self, values: Tensor) -> Tensor:
        if self.size == 1:
            return values
        count = torch.zeros(self.size, dtype=torch.long)
        count[self.rank] = len(values)
        self.summed(count)
        parts = [values.new_zeros(int(count.max()), *values.shape[1:]) for _ in range(self.size)]
        padded = torch.zeros_like(parts[0])
        padded[: len(values)] = values
        distributed.all_gather(parts, padded)
        return torch.cat([part[:rows] for part, rows in zip(parts, count.tolist(), strict=True)])


ALONE = Team()


@contextmanager
def joined() -> Iterator[Team]:
    """The team of this process: what ``torchrun`` started beside it, or it alone.

    Raises TeamError where the others do not come."""
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    store, rank, size = next(rendezvous("env://", timeout=ARRIVAL))
    try:
        store = met(store, rank, size, uuid4().hex, ARRIVAL.total_seconds())
    except TimeoutError as error:
        raise TeamError(str(error)) from error
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE
    )
    try:
        yield Team(rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    finally:
        distributed.destroy_process_group()


class _Learner(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, loss: Callable[[], Any]) -> Any:
        return loss()
