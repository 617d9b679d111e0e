"""What teachers say of a log's events, written down once: their best items and log-probabilities.

Knowledge distillation (Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network",
2015) with the best few items of each answer, as in ranking distillation (Tang & Wang, KDD 2018):
all the scores of all events would be gigabytes.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.data import NONE, memory_starts, next_index, stretch_of, targets_of
from model.log import EventLog
from model.questions import Questions
from model.recommender import Recommender, parts_of
from model.spec import ModelSpec

# Bytes of the written lessons at most, and items of an event at most.
BUDGET_BYTES = 512 << 20
MOST_LISTED = 64
_CELL = np.dtype([("item", np.int32), ("log_share", np.float16)])


class LessonsError(ValueError):
    """A log is too long to be taught about."""

    exit_code: ClassVar[int] = 2


class Lessons(msgspec.Struct, frozen=True):
    """The best K items of teachers after each of N events, and how a student learns from them."""

    items: npt.NDArray[np.int32]  # [N, K], any where an event has no next item
    log_shares: npt.NDArray[np.float16]  # [N, K] log-probabilities of them
    temperature: float = 1.0
    # Share of the item loss that listens to the teachers; the rest looks at what came.
    weight: float = 0.7
    source: str = ""  # names teachers and log

    @property
    def name(self) -> str:
        return f"{self.source} {self.items.shape} {self.temperature} {self.weight}"

    def about(self, events: Tensor) -> tuple[Tensor, Tensor]:
        """Items [M, K] and their shares [M, K] at the temperature, of events [M]; what the list
        leaves out of 1 is spread over all items."""
        places = events.numpy()
        logs = torch.from_numpy(self.log_shares[places].astype(np.float32))  # [M, K]
        shares = logs.exp() if self.temperature == 1 else (logs / self.temperature).softmax(1)
        # Rounding may take a list's sum above 1.
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1.0)
        return torch.from_numpy(self.items[places].astype(np.int64)), shares


def listed(events: int, item_count: int) -> int:
    """How many items of each event are written down."""
    fitting = BUDGET_BYTES // (_CELL.itemsize * max(events, 1))
    if fitting < 1:
        raise LessonsError(
            f"{events:,} events are more than teachers can be heard about; give a log of at most "
            f"{BUDGET_BYTES // _CELL.itemsize:,}"
        )
    return min(MOST_LISTED, fitting, item_count)


def asked_of(log: EventLog, spec: ModelSpec) -> Questions:
    """The questions that training asks: after each event with a known next item, that item."""
    memory = stretch_of(memory_starts(log, spec), log.events)
    bearing = log.item < spec.no_item
    target = targets_of(log, spec).item
    after = np.flatnonzero(target != NONE)
    event = next_index(bearing, memory)[after]
    place = np.maximum.accumulate(np.where(bearing, np.arange(log.events), NONE))[after]
    found = np.where(place != NONE, memory[place] == memory[after], False)
    last = np.where(found, log.item[place], NONE).astype(np.int32)
    return Questions(event, target[after], after, last)


def hear(
    teacher: Recommender,
    log: EventLog,
    spec: ModelSpec,
    path: Path,
    source: str,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Lessons:
    """Ask a teacher, whose scores are log-probabilities, about a log and write the answers to
    ``path``; an earlier answer to the same question (by ``source``) is read again.

    ``told`` hears of the questions done. The answers are read from the disk as they are needed.
    """
    name = hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
    path = path.with_name(f"{path.stem}-{name}.npy")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for earlier in path.parent.glob(f"{path.stem.rpartition('-')[0]}-*"):
            earlier.unlink()
        unfinished = path.with_name(path.name + ".unfinished")
        count = listed(log.events, spec.item_count)
        cells = np.lib.format.open_memmap(unfinished, "w+", _CELL, (log.events, count))
        questions, done = asked_of(log, spec), 0
        for place, part in parts_of(questions, spec):
            scores = teacher.scores(log, part)  # [m, V]
            best = np.argpartition(scores, -count, axis=1)[:, -count:]  # [m, K]
            after = questions.after[place]
            cells["item"][after] = best
            cells["log_share"][after] = np.take_along_axis(scores, best, axis=1)
            done += len(part.event)
            told(done, len(questions.event))
        cells.flush()
        del cells
        unfinished.replace(path)
    cells = np.load(path, mmap_mode="r")
    return Lessons(cells["item"], cells["log_share"], source=source)


def source_of(fingerprints: Sequence[str], data: str) -> str:
    """Names what teachers with these fingerprints say of a log with this hash."""
    return " ".join([*fingerprints, data])
