"""Which rows of a batch a process computes, where several train one net together.

What is drawn at random is drawn for the whole batch by each of them, and means are taken over the
whole batch, so that the gradients of all shares add up to those of the batch in one piece.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Among(NamedTuple):
    """Where some rows stand among those of a whole batch."""

    start: int
    total: int


def _alone(values: Tensor) -> Tensor:
    return values


class Share(NamedTuple):
    """That of process ``rank`` among ``size``: a run of neighbouring rows."""

    rank: int = 0
    size: int = 1
    # The rows [B, ...] of all processes in their order, from this one's; without gradients.
    gathered: Callable[[Tensor], Tensor] = _alone

    def splits(self, rows: int) -> bool:
        """Whether a batch is divided; one of fewer rows than processes is computed by each."""
        return 1 < self.size <= rows

    def of(self, rows: int) -> slice:
        """This process's rows among so many."""
        if not self.splits(rows):
            return slice(0, rows)
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)


WHOLE = Share()
