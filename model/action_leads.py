"""By how much one contestant for the next action leads another: paired intervals over sessions."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from rich.table import Table

from model.bootstrap import draws
from model.lead import Lead, lead_text
from model.log import Longs
from model.spec import Floats, Ints

LIKELIHOOD, MACRO_F1, LEANING_F1, MACRO_AUC = (
    "log_likelihood",
    "macro_f1",
    "leaning_f1",
    "macro_auc",
)

_DRAWS = 200

Doubles = npt.NDArray[np.float64]


class Judged:
    """One contestant's answers to P questions, to be marked under any weights of the questions."""

    def __init__(self, voice: Floats, truth: Ints, leaning: Ints) -> None:
        """Log-probabilities [P, A], the actions that came [P], and the leaning answers [P]."""
        self.truth, self.classes = truth, np.unique(truth)
        self.likelihood = voice[np.arange(len(truth)), truth].astype(np.float64)
        self.answers = {MACRO_F1: voice.argmax(axis=1), LEANING_F1: leaning}
        self.ordered = [_Ordered(voice[:, code], truth == code) for code in self.classes]

    def marks(self, weight: Doubles) -> dict[str, float]:
        """Mean log-likelihood, both macro F1, and the AUC of each action against the rest under
        weights [P]: more is better. Actions of no weight are left out of the means."""
        found = {LIKELIHOOD: float((self.likelihood * weight).sum() / weight.sum())}
        for name, answer in self.answers.items():
            found[name] = self._macro_f1(answer, weight)
        if len(self.classes) < 2:
            return found
        aucs = {
            f"auc {code}": ordered.auc(weight)
            for code, ordered in zip(self.classes, self.ordered, strict=True)
        }
        there = [auc for auc in aucs.values() if not np.isnan(auc)]
        found[MACRO_AUC] = sum(there) / len(there) if there else float("nan")
        return found | aucs

    def _macro_f1(self, answer: Ints, weight: Doubles) -> float:
        count = int(max(self.truth.max(), answer.max())) + 1
        hit = answer == self.truth
        right = np.bincount(self.truth[hit], weight[hit], count)
        came, said = (np.bincount(codes, weight, count) for codes in (self.truth, answer))
        asked = came > 0
        return float((2 * right[asked] / (came + said)[asked]).mean())


class _Ordered:
    """Questions in the order of one action's probability, ties together."""

    def __init__(self, score: Floats, came: npt.NDArray[np.bool_]) -> None:
        self.order = np.argsort(score, kind="stable")
        self.came = came[self.order]
        self.tie_start = np.flatnonzero(np.diff(score[self.order], prepend=-np.inf))

    def auc(self, weight: Doubles) -> float:
        """Of the pairs of a question where the action came and one where it did not, the share in
        which the former has the higher probability, ties half; NaN without a pair."""
        weight = weight[self.order]
        came = np.add.reduceat(weight * self.came, self.tie_start)
        other = np.add.reduceat(weight * ~self.came, self.tie_start)
        pairs = came.sum() * other.sum()
        below = np.cumsum(other) - other
        return float((came * (below + other / 2)).sum() / pairs) if pairs else float("nan")


def leads_over(
    judged: Mapping[str, Judged], leaders: Sequence[str], rivals: Sequence[str], clusters: Longs
) -> dict[str, dict[str, Lead]]:
    """By how much each of the ``leaders`` leads each of the ``rivals`` in each mark, with paired
    intervals: whole clusters [P] of questions are drawn."""
    marks = {name: [each.marks(np.ones(len(clusters)))] for name, each in judged.items()}
    for weight in draws(clusters, _DRAWS, np.random.default_rng(0)):
        for name, each in judged.items():
            marks[name].append(each.marks(weight))
    return {
        leader: {rival: _lead(marks[leader], marks[rival]) for rival in rivals}
        for leader in leaders
    }


def _lead(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> Lead:
    """That of marks on all questions, and on each draw of them behind."""
    found = {}
    for name in ours[0]:
        value, *drawn = (mine[name] - other[name] for mine, other in zip(ours, theirs, strict=True))
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        found[name] = {"value": value, "low": float(low), "high": float(high)}
    return found


def leads_table(name: str, leads: Mapping[str, Lead], actions: Sequence[str]) -> Table:
    """The leads of the contestant ``name`` over each other one; codes index ``actions``."""
    shown = Table(title=f"{name} leads by")
    shown.add_column("")
    for other in leads:
        shown.add_column(f"over {other}", justify="right")
    for mark in next(iter(leads.values())):
        kind, _, code = mark.partition(" ")
        heading = f"AUC {actions[int(code)]}" if code else kind.replace("_", " ")
        shown.add_row(heading, *(lead_text(found[mark]) for found in leads.values()))
    return shown
