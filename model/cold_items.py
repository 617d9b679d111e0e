"""How well items that training has never seen are ranked among themselves, beside what one knows
of them without a tower: how popular their category is, and what follows which category."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from model import baselines, checkpoint
from model.architectures import net_of
from model.baselines import Baselines
from model.bootstrap import interval, reciprocal_of
from model.content import Content
from model.data import NONE, stretch_of
from model.lead import lead_text
from model.log import EventLog
from model.questions import Protocol, Questions, part_of, questions_of
from model.ranking import metrics_of
from model.recommender import parts_of
from model.scoring import NetRecommender
from model.spec import Floats

MODEL, BY_CATEGORY, AFTER_CATEGORY = (
    "model",
    "popularity of the category",
    "category after category",
)


def cold_metrics(
    directory: Path,
    log: EventLog,
    content: Content,
    protocol: Protocol = "session",
    among: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Metrics of the model in ``directory`` and of two rivals on the questions of ``log`` (of its
    events ``among`` [N] alone, where given) whose target is an item that the training log does not
    hold and the catalogue describes.

    Ranks are among such items alone, equal scores at their mean rank. Keys: ``n`` questions,
    ``items``, ``ranked`` with metrics by name, and ``lead``, the model's lead in MRR@20 over each
    rival with the interval of a paired bootstrap over sessions; ``n`` alone where it is 0.
    """
    saved = checkpoint.load(directory)
    spec, counts = saved.spec, baselines.load(directory, saved.spec)
    cold = np.flatnonzero((counts.popularity == 0) & content.described)
    questions = questions_of(log, spec, protocol, among)
    asked = part_of(questions, np.flatnonzero(np.isin(questions.target, cold)))
    if len(asked.event) == 0:
        return {"n": 0}
    voice = NetRecommender(net_of(saved), spec)
    place = np.searchsorted(cold, asked.target)
    scores = np.concatenate(
        [voice.scores(log, part)[:, cold] for _, part in parts_of(asked, spec)]
    )  # [M, C]
    by_category, after_category = _rivals(counts, content, asked, cold)
    ranks = {
        MODEL: _mean_ranks(scores, place),
        BY_CATEGORY: _mean_ranks(by_category, place),
        AFTER_CATEGORY: _mean_ranks(after_category, place),
    }
    session = stretch_of(log.session_start, log.events)[asked.event]
    values = {name: reciprocal_of(found, 20) for name, found in ranks.items()}
    return {
        "n": len(place),
        "items": len(cold),
        "ranked": {name: metrics_of(found) for name, found in ranks.items()},
        "lead": {
            name: interval(
                values[MODEL] - values[name], session, np.random.default_rng(0)
            )._asdict()
            for name in (BY_CATEGORY, AFTER_CATEGORY)
        },
    }


def _rivals(
    counts: Baselines, content: Content, questions: Questions, cold: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Scores [M, C] of the cold items by their category's clicks in training, and by how often it
    came after the last item's category, with the former to settle ties."""
    categories = int(content.category.max(initial=NONE)) + 1
    of = np.where(content.category == NONE, categories, content.category)  # [V], none: the last
    clicks = np.bincount(of, counts.popularity, categories + 1)
    before = of[np.repeat(np.arange(len(of)), np.diff(counts.row_start))]
    follows = np.zeros((categories + 1, categories + 1))
    np.add.at(follows, (before, of[counts.follower]), counts.count)
    popular = clicks[of[cold]] / max(1.0, float(clicks.sum()))  # [C]
    last = questions.last_item
    known = (last != NONE) & (last < len(of))
    rows = follows[of[np.where(known, last, 0)]][:, of[cold]] * known[:, None]
    by_category = np.repeat(popular[None], len(last), axis=0)
    return by_category.astype(np.float32), (rows + popular).astype(np.float32)


def _mean_ranks(scores: Floats, place: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Ranks [M], from 1, of the columns ``place`` [M], equals sharing the mean of their ranks."""
    given = np.take_along_axis(scores, place[:, None], axis=1)
    ahead, equal = (scores > given).sum(axis=1), (scores == given).sum(axis=1)
    ranks: npt.NDArray[Any] = 1 + ahead + (equal - 1) / 2
    return ranks


def table(result: dict[str, Any]) -> Table:
    """``cold_metrics`` for a terminal."""
    shown = Table(title=f"{result['n']:,} next items among {result['items']:,} never trained on")
    names = ("recall@10", "recall@20", "mrr@20", "ndcg@20")
    for heading in ("", *names, "the model leads in mrr@20"):
        shown.add_column(heading, justify="right")
    for name, metrics in result["ranked"].items():
        lead = result["lead"].get(name)
        text = "" if lead is None else lead_text(lead)
        shown.add_row(name, *(f"{metrics[metric]:.4f}" for metric in names), text)
    return shown
