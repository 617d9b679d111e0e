"""The next k actions of a log, foretold and measured step by step."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.table import Table

from model.data import NONE, targets_of
from model.encoder_decoder import EncoderDecoderNet, following_actions
from model.head_metrics import action_metrics
from model.log import EventLog, Longs
from model.scoring import hidden_states
from model.spec import CLOSE, Floats, ModelSpec

DECODER, CHAIN = "decoder", "Markov"
BEAMS = 8
_FLOOR = 1e-9


def foretell(
    net: EncoderDecoderNet, log: EventLog, spec: ModelSpec, after: Longs, beams: int = BEAMS
) -> tuple[Longs, Floats]:
    """What users do next after the events ``after`` [P]: the likeliest sequences [P, k] of action
    codes, and each step's probabilities [P, k, A]; CLOSE from the session's end on."""
    actions = np.zeros((len(after), net.horizon), np.int64)
    shares = np.zeros((len(after), net.horizon, len(spec.actions)), np.float32)
    place = np.zeros(log.events, np.int64)
    place[after] = np.arange(len(after))
    with torch.no_grad():
        for events, hidden in hidden_states(net, log, spec, after):
            found = net.foretell(hidden, beams)
            actions[place[events]] = found.actions.numpy()
            shares[place[events]] = found.shares.numpy()
    return actions, shares


def action_chain(log: EventLog, spec: ModelSpec) -> list[list[float]]:
    """How likely each action follows each other one, CLOSE for good: a chain whose repetition is
    what a decoder has to beat. [A, A]"""
    target = targets_of(log, spec).action
    known = target != NONE
    counts = np.full((len(spec.actions), len(spec.actions)), 0.1)
    np.add.at(counts, (log.action[known], target[known]), 1.0)
    counts[CLOSE] = 0.0
    counts[CLOSE, CLOSE] = 1.0
    rows: list[list[float]] = (counts / counts.sum(axis=1, keepdims=True)).tolist()
    return rows


def horizon_metrics(
    net: EncoderDecoderNet,
    log: EventLog,
    spec: ModelSpec,
    after: Longs,
    chain: list[list[float]],
    beams: int = BEAMS,
) -> list[dict[str, Any]]:
    """For each step 1 .. k: ``n`` known answers after the events ``after`` [P], a session that is
    over counted as CLOSE, and accuracy, macro-F1 and macro-AUC of the decoder and of the repeated
    chain."""
    _, shares = foretell(net, log, spec, after, beams)
    truth = _ended(following_actions(
        torch.from_numpy(targets_of(log, spec).action), torch.from_numpy(after), net.horizon
    ).numpy())  # fmt: skip
    moves = np.array(chain)
    repeated = np.eye(len(spec.actions))[log.action[after]]  # [P, A]
    steps = []
    for step in range(net.horizon):
        repeated = repeated @ moves
        target = truth[:, step].astype(np.int32)
        answers = {DECODER: shares[:, step], CHAIN: repeated}
        measured = {
            name: action_metrics(np.log(np.maximum(share, _FLOOR)).astype(np.float32), target)
            for name, share in answers.items()
        }
        kept = ("accuracy", "macro_f1", "macro_auc")
        steps.append({
            "step": step + 1,
            "n": measured[DECODER]["n"],
            **{name: {key: found.get(key) for key in kept} for name, found in measured.items()},
        })  # fmt: skip
    return steps


def _ended(following: Longs) -> npt.NDArray[np.int64]:
    """Following actions [P, k] with CLOSE instead of nothing behind a CLOSE."""
    over = np.maximum.accumulate(following == CLOSE, axis=1)
    ended: npt.NDArray[np.int64] = np.where(over, CLOSE, following)
    return ended


def table(steps: list[dict[str, Any]]) -> Table:
    """``horizon_metrics`` for a terminal."""
    shown = Table(title=f"the next {len(steps)} actions, step by step")
    for heading in ("step", "answers", "accuracy", f"{CHAIN}", "macro F1", f"{CHAIN}",
                    "macro AUC", f"{CHAIN}"):  # fmt: skip
        shown.add_column(heading, justify="right")
    for row in steps:
        values = [
            row[name][key]
            for key in ("accuracy", "macro_f1", "macro_auc")
            for name in (DECODER, CHAIN)
        ]
        texts = ("" if value is None else f"{value:.4f}" for value in values)
        shown.add_row(str(row["step"]), f"{row['n']:,}", *texts)
    return shown
