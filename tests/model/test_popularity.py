"""Fame, and how it fades."""

import numpy as np

from model.popularity import Popularity, fame_of, lateness_of
from model.questions import questions_of
from tests.model.logs import log_of, spec_of

SPEC = spec_of(items=3)
LOG = log_of(
    [[[(0, 2), (0, 2), (SPEC.no_item, 2), (1, 2)]], [[(2, 2), (SPEC.item_count, 2)]]], SPEC
)


def test_clicks_of_known_items_count() -> None:
    assert fame_of(LOG, SPEC).tolist() == [2, 1, 1]
    scores = Popularity(LOG, SPEC).scores(LOG, questions_of(LOG, SPEC, "session"))
    assert (scores == [2, 1, 1]).all()


def test_older_clicks_fade() -> None:
    late = lateness_of(LOG)
    assert late.tolist() == sorted(late, reverse=True)
    assert late[-1] == 0
    faded = fame_of(LOG, SPEC, staleness=4.0)
    np.testing.assert_allclose(faded[[1, 2]], np.exp(-4.0 * np.array([2, 1]) / 6), rtol=1e-5)
    assert faded[2] > faded[1]
