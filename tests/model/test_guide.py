"""What a guide does to a training."""

import msgspec
import numpy as np
import pytest
import torch

from model.config import TrainConfig
from model.fit import Fitting
from model.guide import NO_GUIDE, Anchor, Guide
from tests.model.logs import learnable_log, spec_of

SPEC = spec_of()
LOG = learnable_log(SPEC, users=20)
CONFIG = TrainConfig(epochs=1, batch_sequences=8, learning_rate=1e-2)
DRAWN = Fitting(LOG, SPEC, msgspec.structs.replace(CONFIG, seed=9), 1).net.weights()


def fitted(guide: Guide, config: TrainConfig = CONFIG) -> dict[str, np.ndarray]:
    fitting = Fitting(LOG, SPEC, config, 1, guide)
    batches = fitting.batches(0)
    for number, batch in enumerate(batches):
        fitting.step(0, number, len(batches), batch)
    return fitting.average.weights()


def distance(first: dict[str, np.ndarray], second: dict[str, np.ndarray], name: str) -> float:
    return float(np.abs(first[name] - second[name]).max(initial=0.0))


def test_it_begins_where_the_guide_says() -> None:
    fitting = Fitting(LOG, SPEC, CONFIG, 1, Guide(weights=DRAWN))
    assert all(distance(fitting.net.weights(), DRAWN, name) == 0 for name in DRAWN)


def test_frozen_weights_stay_and_the_others_move() -> None:
    found = fitted(Guide(weights=DRAWN, frozen=frozenset({"item_embedding", "gru.weight_hh"})))
    moved = {name for name in DRAWN if distance(found, DRAWN, name) > 0}
    assert {"item_embedding", "gru.weight_hh"} & moved == set()
    assert {"gru.weight_ih", "action_head.weight", "initial_hidden"} <= moved


def test_what_is_not_kept_stays_zero_also_in_the_average() -> None:
    mask = np.random.default_rng(0).random(DRAWN["gru.weight_hh"].shape) < 0.5
    for averaging in (0.0, 0.9):
        config = msgspec.structs.replace(CONFIG, averaging=averaging)
        found = fitted(Guide(weights=DRAWN, kept={"gru.weight_hh": mask}), config)
        assert np.array_equal(found["gru.weight_hh"] != 0, mask)


def test_an_anchor_holds_what_mattered() -> None:
    everything = {name: np.ones_like(weight) for name, weight in DRAWN.items()}
    free = fitted(Guide(weights=DRAWN))
    held = fitted(Guide(weights=DRAWN, anchor=Anchor(DRAWN, everything, 1e4)))
    shift = {n: [np.square(w[n] - DRAWN[n]).sum() for w in (free, held)] for n in DRAWN}
    for name in ("item_embedding", "gru.weight_hh", "gru.weight_ih"):
        assert shift[name][1] < shift[name][0] / 4


def test_without_a_shift_the_anchor_costs_nothing() -> None:
    everything = {name: np.ones_like(weight) for name, weight in DRAWN.items()}
    guide = Guide(weights=DRAWN, anchor=Anchor(DRAWN, everything, 5.0))
    assert Fitting(LOG, SPEC, CONFIG, 1, guide).leash.penalty() == torch.zeros(())


@pytest.mark.parametrize(
    "guide",
    [
        Guide(weights=DRAWN),
        Guide(frozen=frozenset({"item_embedding"})),
        Guide(kept={"gru.weight_hh": DRAWN["gru.weight_hh"] > 0}),
        Guide(kept={"gru.weight_hh": DRAWN["gru.weight_hh"] < 0}),
        Guide(anchor=Anchor(DRAWN, {}, 1.0)),
        Guide(anchor=Anchor(DRAWN, {}, 2.0)),
        Guide(lora_rank=2),
    ],
)
def test_guides_have_names_of_their_own(guide: Guide) -> None:
    assert NO_GUIDE.name == ""
    assert guide.name not in ("", Guide(weights=DRAWN, lora_rank=3).name)
    assert guide.name == msgspec.structs.replace(guide).name
