"""The next action by the net's head beside its rivals, and by net and trees together.

The likeliest action is hardly ever a rare one, so that a macro F1 of likeliest actions says little
about those. Each contestant therefore also answers with a lean towards rare actions (logit
adjustment, Menon et al., "Long-tail learning via logit adjustment", ICLR 2021): by log p(action) -
lean * log rate(action), with the lean that is best on what was held out: the same means for all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table
from sklearn.metrics import f1_score

from model.action_leads import LEANING_F1, LIKELIHOOD, Judged, leads_over
from model.action_rivals import Rivals
from model.data import NONE, stretch_of, targets_of
from model.head_metrics import action_metrics
from model.log import EventLog, Longs
from model.nets import SequenceNet
from model.questions import part_of, questions_of
from model.scoring import answer
from model.spec import Floats, Ints, ModelSpec

NET, MARKOV, TREES, TOGETHER = "net", "Markov, two actions", "boosted trees", "net with trees"
_LEANS = np.linspace(0, 1, 11)

Mask = npt.NDArray[np.bool_]


def action_voices(
    net: SequenceNet, rivals: Rivals, log: EventLog, spec: ModelSpec, after: Longs
) -> dict[str, Floats]:
    """Log-probabilities [P, A] of the next action after the events ``after`` [P] of ``log``, by
    contestant."""
    nothing = part_of(questions_of(log, spec, "session"), slice(0, 0))
    found = {
        NET: _log_shares(answer(net, log, spec, nothing, after).action_logits),
        MARKOV: _log_shares(rivals.markov_logits(log)[after]),
        TREES: _log_shares(rivals.boosted_logits(log, after)),
    }
    found[TOGETHER] = np.logaddexp(found[NET], found[TREES]) - np.float32(np.log(2))
    return found


def fit_leans(
    net: SequenceNet, rivals: Rivals, log: EventLog, late: Mask, spec: ModelSpec
) -> dict[str, float]:
    """The lean of each contestant with the best macro F1 on the events ``late`` [N] of ``log``,
    the least of equals; ``net`` and ``rivals`` have not seen these."""
    after = np.flatnonzero(late)
    target, rates = targets_of(log, spec).action[after], log_rates(rivals.train, spec)
    voices = action_voices(net, rivals, log, spec, after)
    return {name: best_lean(voice, target, rates) for name, voice in voices.items()}


def best_lean(voice: Floats, target: Ints, rates: Floats) -> float:
    """Of log-probabilities [P, A] with targets [P], NONE where unknown; 0 without a target."""
    if not (target != NONE).any():
        return 0.0
    scores = [macro_f1(voice, target, rates, lean) for lean in _LEANS]
    return float(_LEANS[int(np.argmax(scores))])


def macro_f1(voice: Floats, target: Ints, rates: Floats, lean: float) -> float:
    """Macro F1 over the actions that occur, of the answers with this lean."""
    known = target != NONE
    truth = target[known]
    answered = (voice[known] - lean * rates).argmax(axis=1)
    return float(
        f1_score(truth, answered, labels=np.unique(truth), average="macro", zero_division=0)
    )


def contest(
    net: SequenceNet,
    rivals: Rivals,
    log: EventLog,
    spec: ModelSpec,
    leans: Mapping[str, float],
    among: Mask | None = None,
) -> dict[str, Any]:
    """What ``action_metrics`` says of each contestant, with ``log_likelihood``, the mean in nats,
    ``lean``, and ``leaning_f1``, the macro F1 of its leaning answers. The net, alone and with the
    trees, has also ``leads`` over each rival. ``among`` [N] are the events of ``log`` to ask
    after."""
    after = np.arange(log.events) if among is None else np.flatnonzero(among)
    target, rates = targets_of(log, spec).action[after], log_rates(rivals.train, spec)
    known = target != NONE
    result, judged = dict[str, Any](), dict[str, Judged]()
    for name, voice in action_voices(net, rivals, log, spec, after).items():
        result[name] = action_metrics(voice, target)
        if known.any():
            lean = leans.get(name, 0.0)
            leaning = (voice[known] - lean * rates).argmax(axis=1)
            judged[name] = Judged(voice[known], target[known], leaning)
            marks = judged[name].marks(np.ones(int(known.sum())))
            result[name] |= {"lean": lean} | {key: marks[key] for key in (LIKELIHOOD, LEANING_F1)}
    session = stretch_of(log.session_start, log.events)[after][known]
    if judged:
        leads = leads_over(judged, (NET, TOGETHER), (MARKOV, TREES), session)
        for name, found in leads.items():
            result[name]["leads"] = found
    return result


_HEADINGS = (
    ("log_likelihood", "log-likelihood"),
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("leaning_f1", "leaning F1"),
    ("macro_auc", "macro AUC"),
    ("ece", "ECE"),
)


def action_table(contestants: dict[str, Any], actions: Sequence[str]) -> Table:
    """The next action by each of the ``contestants`` (``contest``'s answer), one against the rest
    for each action; codes index ``actions``."""
    first = next(iter(contestants.values()))
    shown = Table(
        title=f"{first['n']:,} next actions",
        caption="leaning F1: of answers that lean to rare actions, as far as it was best on what "
        "was held out",
    )
    shown.add_column("")
    for name in contestants:
        shown.add_column(name, justify="right")
    rows = [(heading, [row[key] for row in contestants.values()]) for key, heading in _HEADINGS]
    for code in sorted(first.get("auc", {}), key=int):
        told = [row["auc"].get(code) for row in contestants.values()]
        rows.append((f"AUC {actions[int(code)]}", told))
    for heading, values in rows:
        shown.add_row(heading, *("" if value is None else f"{value:.4f}" for value in values))
    return shown


def log_rates(log: EventLog, spec: ModelSpec) -> Floats:
    """Log of each action's share among the next actions, none of them 0. [A]"""
    target = targets_of(log, spec).action
    counts = np.bincount(target[target != NONE], minlength=len(spec.actions)) + 0.5
    rates: Floats = np.log(counts / counts.sum()).astype(np.float32)
    return rates


def _log_shares(logits: Floats) -> Floats:
    peak = logits.max(axis=1, keepdims=True)
    shares: Floats = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
    return shares
