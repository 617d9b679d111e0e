"""What matters to a net."""

import numpy as np

from model.config import TrainConfig
from model.fisher import importance_of
from model.fit import Fitting
from tests.model.logs import learnable_log, log_of, spec_of

SPEC = spec_of()
CONFIG = TrainConfig(input_dropout=0.3)


def test_what_the_log_never_touches_does_not_matter() -> None:
    log = log_of([[[(0, 2), (1, 2), (2, 2)], [(1, 2), (2, 2)]]] * 9, SPEC)
    weights = Fitting(log, SPEC, CONFIG, 1).net.weights()
    found = importance_of(weights, log, SPEC, CONFIG)
    assert found.keys() == weights.keys()
    assert all((found[name] >= 0).all() for name in found)
    assert (found["action_embedding"][[0, 1, 3, 4]] == 0).all()
    assert (found["action_embedding"][2] > 0).all()
    assert found["gru.weight_hh"].sum() > 0


def test_it_is_a_function_of_its_arguments() -> None:
    log = learnable_log(SPEC, users=10)
    weights = Fitting(log, SPEC, CONFIG, 1).net.weights()
    first, second = (importance_of(weights, log, SPEC, CONFIG) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
