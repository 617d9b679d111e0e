"""Measure a saved model on a log that it has not seen, beside two baselines from its training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from model import baselines, checkpoint
from model.anchors import recognised
from model.architectures import net_of
from model.baselines import Baselines, Ranker
from model.bootstrap import intervals_of
from model.breadth import breadth
from model.config import TrainConfig
from model.data import INTENTS, check_log, data_hash, stretch_of, targets_of
from model.encoder_decoder import EncoderDecoderNet
from model.foretelling import horizon_metrics
from model.head_metrics import action_metrics, intent_metrics
from model.lineage import was_chosen
from model.log import EventLog, Longs
from model.predicted_actual import by_class, by_item
from model.questions import (
    PROTOCOLS,
    Protocol,
    Questions,
    heads_asked,
    questions_of,
    seen_before,
)
from model.ranking import CUTS, metrics_of
from model.recommender import user_firsts
from model.reliability import reliability
from model.scoring import Answers, answer
from model.slices import sliced, slices_of
from model.spec import ModelSpec
from model.tasks import task_targets


class EvaluationError(ValueError):
    """There is nothing to measure, or it was asked for in a way that does not exist."""

    exit_code: ClassVar[int] = 2


def evaluate(
    directory: Path,
    log: EventLog,
    protocol: Protocol = "session",
    *,
    filter_seen: bool = False,
    among: npt.NDArray[np.bool_] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Metrics of the model in ``directory`` on ``log`` (coded with the model's vocabulary).

    Keys: ``recall@K``, ``mrr@K``, ``ndcg@K`` for K in 1, 5, 10, 20 and ``n``, by full ranking of
    the known items with ties worst; the same under ``baselines`` for ``popular`` and ``markov``;
    ``unknown_target_share``, the share of targets that training has not seen: misses; ``action``,
    ``cart``, ``purchase`` and the model's tasks (``churn``, ``promotion``) for the heads;
    ``foretold`` for an encoder-decoder, what ``horizon_metrics`` gives; ``interval``, the 95 %
    bootstrap intervals of Recall@20 and MRR@20 over sessions; ``slices`` by kind of question;
    ``breadth``, coverage and popularity bias; ``item_calibration`` of the best item's probability;
    ``predicted_actual``, numbers of items, actions and gaps; ``published`` where the data
    set is known by its counts.
    ``filter_seen`` takes the user's earlier items out of every ranking. ``among`` [N] marks the
    events that are asked for, where the others only lead up to them. Raises EvaluationError,
    DataError, CheckpointError.
    """
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    saved = checkpoint.load(directory)
    spec = saved.spec
    check_log(log, spec, saved.items)
    questions = questions_of(log, spec, protocol, among)
    if len(questions.event) == 0:
        raise EvaluationError(
            f"the log holds {log.events} events in {log.sessions} sessions and no next item to "
            f"predict by the protocol {protocol!r}; give one with longer sessions"
        )
    counts = baselines.load(directory, spec)
    net = net_of(saved)
    after = heads_asked(log, questions, protocol, among)
    with _progress(console) as shown:
        ask = shown.add_task("model", total=len(np.union1d(after, questions.event - 1)))
        answers = answer(
            net,
            log,
            spec,
            questions,
            after,
            filter_seen=filter_seen,
            with_lists=True,
            on_progress=lambda events: shown.advance(ask, events),
        )
        count = shown.add_task("baselines", total=len(questions.event))
        popular, markov = _baseline_ranks(
            log, spec, questions, counts, filter_seen, lambda: shown.advance(count)
        )
    result: dict[str, Any] = dict(metrics_of(answers.ranks))
    result["protocol"], result["filter_seen"] = protocol, filter_seen
    result |= _items(answers, log, spec, questions, counts)
    result |= _heads(answers, log, spec, after)
    answered = task_targets(log, spec, saved.manifest.net)[after]
    for column, task in enumerate(saved.manifest.net.tasks):
        result[task] = intent_metrics(answers.task_logits[:, column], answered[:, column])
    if isinstance(net, EncoderDecoderNet):
        chain = saved.manifest.metrics["action_chain"]
        result["foretold"] = horizon_metrics(net, log, spec, after, chain)
    result["predicted_actual"]["items"] = by_item(answers.expected, questions.target)
    result["published"] = published(saved, questions)
    result["baselines"] = {"popular": metrics_of(popular), "markov": metrics_of(markov)}
    return result


def heads_table(result: dict[str, Any]) -> Table:
    """The heads that answer yes or no: discrimination and calibration."""
    shown = Table(title="will it come?")
    for heading in ("", "answers", "share", "AUC", "average precision", "ECE"):
        shown.add_column(heading, justify="right")
    for name in (*INTENTS, "churn", "promotion"):
        found = result.get(name, {"n": 0})
        if found["n"]:
            keys = ("share", "auc", "average_precision", "ece")
            texts = ("" if found[key] is None else f"{found[key]:.4f}" for key in keys)
            shown.add_row(name, f"{found['n']:,}", *texts)
    return shown


def _items(
    answers: Answers, log: EventLog, spec: ModelSpec, questions: Questions, counts: Baselines
) -> dict[str, Any]:
    """What ``evaluate`` says of the ranked items beside the ranks' metrics."""
    session = stretch_of(log.session_start, log.events)[questions.event]
    kinds = slices_of(log, spec, questions, counts.popularity)
    return {
        "unknown_target_share": float((questions.target >= spec.item_count).mean()),
        "interval": intervals_of(answers.ranks, session),
        "slices": sliced(answers.ranks, kinds, session),
        "breadth": breadth(answers.shown, counts.popularity, questions.target),
        "item_calibration": reliability(answers.best_share, answers.ranks == 1),
    }


def _heads(answers: Answers, log: EventLog, spec: ModelSpec, after: Longs) -> dict[str, Any]:
    """What ``evaluate`` says of the heads, asked after the events ``after`` [P]."""
    targets = targets_of(log, spec)
    result: dict[str, Any] = {
        "actions": list(spec.actions),
        "action": action_metrics(answers.action_logits, targets.action[after]),
        "gap_edges_ms": list(spec.gap_edges_ms),
        "predicted_actual": {
            "actions": by_class(answers.action_logits, targets.action[after]),
            "gaps": by_class(answers.gap_logits, targets.gap[after]),
        },
    }
    for column, name in enumerate(INTENTS):
        result[name] = intent_metrics(
            answers.intent_logits[:, column], targets.intent[after, column]
        )
    return result


def published(saved: checkpoint.Checkpoint, questions: Questions) -> dict[str, Any] | None:
    """The ``KnownSplit`` that has the counts of a model's training log and of these questions."""
    learned = saved.manifest.metrics.get("events", 0)
    split = recognised(learned, saved.spec.item_count, len(questions.event))
    found: dict[str, Any] | None = None if split is None else msgspec.to_builtins(split)
    return found


class Unseen(NamedTuple):
    """Which folder to measure, a sentence where there is something to say on it, and whether the
    model has learned the rest of the very log it is asked about."""

    model: Path
    notice: str = ""
    knows_rest: bool = False


def unseen_by(directory: Path, log: EventLog, protocol: Protocol) -> Unseen:
    """The model of a folder that has not been trained on what the protocol asks of ``log``.

    Under leave-one-out a single file is both: where the folder's model was trained on exactly this
    log, the one beside it that was trained without each user's last item is measured instead.
    """
    loaded = checkpoint.load(directory)
    saved = loaded.manifest
    if data_hash(log, loaded.items) != saved.data_hash:
        return Unseen(directory)
    chosen = directory / checkpoint.CHOSEN
    for folder in (directory, chosen):
        if protocol != "leave-one-out" or not (folder / checkpoint.MANIFEST_FILE).exists():
            continue
        probe = checkpoint.load(folder).manifest
        settings = msgspec.convert(probe.config, TrainConfig)
        is_without = settings.leave_one_out and settings.is_probe
        if is_without and probe.data_hash == saved.data_hash:
            beside = None if folder == directory else folder
            return Unseen(folder, _of_last_items(probe, beside), knows_rest=True)
    return Unseen(
        directory,
        "the model was trained on this very file, so the figures say what it remembers, not how "
        "well it predicts; give a later file",
    )


def _of_last_items(probe: checkpoint.Manifest, beside: Path | None) -> str:
    """What there is to say on a model of this file that was kept from each user's last item."""
    texts = []
    if beside is not None:
        texts.append(
            "the model was trained on this file; measured is the one beside it that was "
            f"trained in the same way without each user's last item ({beside})"
        )
    if was_chosen(probe):
        texts.append(
            "each user's last item has chosen among its epochs, so the figures flatter it; train "
            "with --set patience=0, or on a folder that `clickahead prepare` made: there each "
            "user's second last item chooses"
        )
    return "; ".join(texts)


def table(result: dict[str, Any]) -> Table:
    """The ranking metrics of ``evaluate`` for a terminal, the baselines beside the model."""
    shown = Table(
        title=f"{result['n']:,} next items, full ranking, protocol {result['protocol']}",
        caption=f"{result['unknown_target_share']:.2%} of the targets are unknown to the model "
        "and count as misses",
    )
    if result["published"]:
        told = (
            f"{anchor['system']} " + ", ".join(f"{k} {v:.4f}" for k, v in anchor["metrics"].items())
            for anchor in result["published"]["anchors"]
        )
        shown.caption = f"{shown.caption}\n{result['published']['name']}, published: " + "; ".join(
            told
        )
    columns = {"model": result, **result["baselines"]}
    for heading in ("metric", *columns):
        shown.add_column(heading, justify="right")
    for metric in ("recall", "mrr", "ndcg"):
        for cut in CUTS:
            name = f"{metric}@{cut}"
            shown.add_row(name, *(f"{values[name]:.4f}" for values in columns.values()))
    return shown


def _baseline_ranks(
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    counts: Baselines,
    filter_seen: bool,
    on_question: Callable[[], None],
) -> tuple[Longs, Longs]:
    """Ranks of the questions' targets by popularity and by the first-order Markov chain."""
    ranker = Ranker(counts)
    user_first = user_firsts(log)
    nothing = np.zeros(0, np.int32)
    ranks = np.empty((2, len(questions.event)), np.int64)
    for number, event in enumerate(questions.event):
        seen = seen_before(log, spec, event, user_first[event]) if filter_seen else nothing
        target, last = int(questions.target[number]), int(questions.last_item[number])
        ranks[0, number] = ranker.popular(target, seen)
        ranks[1, number] = ranker.markov(last, target, seen)
        on_question()
    return ranks[0], ranks[1]


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
    )
