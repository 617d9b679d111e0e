"""A catalogue as numbers."""

import numpy as np
import pytest

from model.content import ContentError, Described, content_of
from model.data import NONE

CATALOGUE = [
    Described("a", "shoes", "x", 10.0, (3.0, 4.0), (1.0,)),
    Described("b", "hats", None, None, (0.0, 2.0)),
    Described("c", "shoes", "y", 1000.0),
    Described("elsewhere", "shoes"),
]


def test_rows_follow_the_vocabulary() -> None:
    content = content_of(CATALOGUE, ("b", "unknown", "a", "c"))
    assert content.described.tolist() == [True, False, True, True]
    assert not content.features[1].any()
    assert content.category[2] == content.category[3] != content.category[0] != NONE
    assert content.category[1] == NONE
    np.testing.assert_allclose(content.features[2, :3], [0.6, 0.8, 1.0], rtol=1e-6)
    np.testing.assert_allclose(content.features[0, :3], [0.0, 1.0, 0.0], atol=1e-6)
    # Dearer items have larger numbers; who has no price says so.
    assert content.features[3, -2] > content.features[2, -2]
    assert content.features[:, -1].tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("vectors", "says"),
    [(((1.0,), (1.0, 2.0)), "a has 1 numbers, that of b 2"), (((1.0,), (np.nan,)), "b holds NaN")],
)
def test_vectors_that_cannot_be_compared_are_told(
    vectors: tuple[tuple[float, ...], ...], says: str
) -> None:
    one, other = vectors
    with pytest.raises(ContentError, match=says):
        content_of([Described("a", text=one), Described("b", text=other)], ("a", "b"))
