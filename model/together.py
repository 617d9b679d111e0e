"""Several models of the same items as one: their log-probabilities averaged, their ranks fused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from rich.table import Table

from model import checkpoint
from model.architectures import net_of
from model.candidates import Member
from model.checkpoint import Checkpoint
from model.ensembles import joint_ranks, unlearned
from model.log import EventLog
from model.questions import Protocol, Questions, questions_of
from model.ranking import metrics_of
from model.scoring import NetRecommender
from model.spec import Floats


class TogetherError(ValueError):
    """Models that do not speak of the same things."""

    exit_code: ClassVar[int] = 2


def together(
    folders: Sequence[Path],
    log: EventLog,
    protocol: Protocol = "session",
    *,
    filter_seen: bool = False,
    among: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Ranking metrics of the models of several folders, and of both ways to join them, by name.

    ``log`` is coded with the first one's vocabulary. Raises TogetherError, CheckpointError.
    """
    saved = [checkpoint.load(folder) for folder in folders]
    for folder, other in zip(folders, saved, strict=True):
        _check(folder, saved[0], other)
    spec = saved[0].spec
    questions = questions_of(log, spec, protocol, among)
    voices = {
        str(folder): NetRecommender(net_of(one), spec)
        for folder, one in zip(folders, saved, strict=True)
    }
    members = [Member(name, voice, "logits") for name, voice in voices.items()]

    def join(said: Mapping[str, Floats], part: Questions) -> dict[str, Floats]:
        return unlearned([*said.values()])

    ranks = joint_ranks(members, join, log, spec, questions, filter_seen=filter_seen)
    return {name: metrics_of(found) for name, found in ranks.items()}


def _check(folder: Path, first: Checkpoint, other: Checkpoint) -> None:
    read = ("actions", "features", "gap_edges_ms", "cold_buckets", "reset_at_session")
    is_same = all(getattr(first.spec, name) == getattr(other.spec, name) for name in read)
    if other.items != first.items or not is_same:
        raise TogetherError(
            f"{folder} knows other items, actions or features than the first model; join models "
            "that were trained on the same files"
        )


def table(result: dict[str, Any]) -> Table:
    """``together`` for a terminal."""
    names = ("recall@10", "recall@20", "mrr@20", "ndcg@20")
    shown = Table(title="models and their ensembles")
    for heading in ("", *names):
        shown.add_column(heading, justify="right")
    for name, metrics in result.items():
        shown.add_row(name, *(f"{metrics[metric]:.4f}" for metric in names))
    return shown
