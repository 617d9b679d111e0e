"""Shares of a batch: every row belongs to one process."""

import hypothesis.strategies as st
from hypothesis import given

from model.share import WHOLE, Share


@given(rows=st.integers(0, 50), size=st.integers(1, 7))
def test_shares_make_up_the_batch(rows: int, size: int) -> None:
    shares = [Share(rank, size) for rank in range(size)]
    if not shares[0].splits(rows):
        assert all(share.of(rows) == slice(0, rows) for share in shares)
        return
    found = [row for share in shares for row in range(rows)[share.of(rows)]]
    assert found == list(range(rows))
    assert all(share.of(rows).stop > share.of(rows).start for share in shares)


def test_one_process_has_everything() -> None:
    assert WHOLE.of(5) == slice(0, 5)
    assert not WHOLE.splits(5)
