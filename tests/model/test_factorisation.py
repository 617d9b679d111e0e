"""Factors find who belongs together, for sessions that training has not seen."""

import numpy as np
import pytest

from model.factorisation import FACTOR_METHODS, FactorConfig, FactorMethod, Factors
from model.questions import questions_of
from tests.model.logs import log_of, spec_of

SPEC = spec_of(items=10)
RNG = np.random.default_rng(0)


def circles(users: int) -> list[list[list[tuple[int, int]]]]:
    return [[[(int(i) + 5 * (n % 2), 2) for i in RNG.permutation(5)]] for n in range(users)]


@pytest.mark.parametrize("method", FACTOR_METHODS)
def test_unseen_sessions_get_their_own_circle(method: FactorMethod) -> None:
    train, test = log_of(circles(60), SPEC), log_of(circles(10), SPEC)
    config = FactorConfig(width=8, iterations=20)
    questions = questions_of(test, SPEC, "session")
    scores = Factors(train, SPEC, method, config).scores(test, questions)
    own = questions.target[:, None] // 5 == np.arange(10) // 5
    lead = np.where(own, scores, 0).sum(axis=1) - np.where(own, 0, scores).sum(axis=1)
    assert (lead > 0).mean() > 0.9
    again = Factors(train, SPEC, method, config).scores(test, questions)
    np.testing.assert_array_equal(scores, again)
