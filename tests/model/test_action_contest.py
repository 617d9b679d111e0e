"""The contest asks all the same, and a lean helps what it was fitted to."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.action_contest import (
    MARKOV,
    NET,
    TOGETHER,
    TREES,
    action_voices,
    best_lean,
    contest,
    fit_leans,
    log_rates,
    macro_f1,
)
from model.action_rivals import Rivals
from model.data import NONE, targets_of
from model.holdout import hold_out
from model.nets import GruNet
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of(items=12)
LOG = learnable_log(SPEC, users=60)
TEST = learnable_log(SPEC, users=10, seed=1)
RIVALS = Rivals(LOG, SPEC)
GRU = GruNet(SPEC, torch.Generator().manual_seed(1))


def test_contestants_answer_the_same_questions() -> None:
    among = np.arange(TEST.events) % 3 == 0
    after = np.flatnonzero(among)
    voices = action_voices(GRU, RIVALS, TEST, SPEC, after)
    for voice in voices.values():
        assert voice.shape == (len(after), len(SPEC.actions))
        np.testing.assert_allclose(np.exp(voice).sum(axis=1), 1, atol=1e-5)
    mean = (np.exp(voices[NET]) + np.exp(voices[TREES])) / 2
    np.testing.assert_allclose(np.exp(voices[TOGETHER]), mean, atol=1e-6)
    found = contest(GRU, RIVALS, TEST, SPEC, {TREES: 0.3}, among)
    assert list(found) == [NET, MARKOV, TREES, TOGETHER]
    assert {row["n"] for row in found.values()} == {len(after)}
    assert [row["lean"] for row in found.values()] == [0, 0, 0.3, 0]
    for row in found.values():
        assert row["lean"] or row["leaning_f1"] == row["macro_f1"]


def test_leans_are_those_of_the_held_out_part() -> None:
    held = hold_out(LOG, 0.3)
    rivals = Rivals(held.early, SPEC)
    leans = fit_leans(GRU, rivals, LOG, held.late, SPEC)
    after = np.flatnonzero(held.late)
    rates = log_rates(held.early, SPEC)
    voices = action_voices(GRU, rivals, LOG, SPEC, after)
    target = targets_of(LOG, SPEC).action[after]
    assert leans == {name: best_lean(voice, target, rates) for name, voice in voices.items()}
    assert len(leans) == 4


@given(st.integers(0, 2**31))
def test_the_best_lean_is_no_worse_than_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.choice(4, 60, p=[0.7, 0.2, 0.05, 0.05]).astype(np.int32)
    target[::7] = NONE
    voice = (rng.normal(size=(60, 4)) + np.log([0.7, 0.2, 0.05, 0.05])).astype(np.float32)
    voice[np.arange(60), np.maximum(target, 0)] += 1
    rates = np.log(np.array([0.7, 0.2, 0.05, 0.05], np.float32))
    lean = best_lean(voice, target, rates)
    assert macro_f1(voice, target, rates, lean) >= macro_f1(voice, target, rates, 0.0)
    assert best_lean(voice, np.full(60, NONE, np.int32), rates) == 0
