"""Both forms of a user index, C and Python, tell the same after whatever was done to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core import compiled
from stream_app.core.user_index import MOST_ROWS, PlainUserIndex, UserIndex, user_index

USERS = 600
LAW = settings(deadline=None, max_examples=60)


def name_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def row_of(number: int) -> int:
    return 7 * number % USERS


def change(index: UserIndex, what: str, numbers: list[int]) -> None:
    """Do it for those of the users who may be asked for it."""
    for number in numbers:
        name = name_of(number)
        if what == "put" and name not in index:
            index.put(name, row_of(number))
        elif what == "pop" and name in index:
            assert index.pop(name) == row_of(number)
        elif what == "touch" and name in index:
            index.touch(name)
    if what == "arrange":
        rows = np.frombuffer(index.rows(), np.int64)
        index.arrange(np.roll(rows[::-1], numbers[0]))


def refuse(index: UserIndex) -> None:
    """What would make it contradict itself."""
    rows = np.frombuffer(index.rows(), np.int64)
    wrong = [np.append(rows, 0)]
    if len(rows):
        wrong += [rows[1:], rows - USERS]
        for name, row in ((index.oldest(), USERS), (name_of(USERS), index[index.oldest()])):
            with pytest.raises(ValueError, match="there already"):
                index.put(name, row)
    if len(rows) > 1:
        wrong.append(np.append(rows[:-1], rows[0]))
    for order in wrong:
        with pytest.raises(ValueError, match="each user's row once"):
            index.arrange(order)


def tell(index: UserIndex) -> tuple[object, ...]:
    names, rows = [*index], np.frombuffer(index.rows(), np.int64).tolist()
    assert [index[name] for name in names] == rows
    assert [index.name_of(row) for row in rows] == names
    assert len(index) == len(names)
    first = index.oldest() if names else b""
    everybody = [index.get(name_of(number)) for number in range(USERS)]
    return names, first, everybody, index.names(0, USERS), index.names(30, 70)


@LAW
@given(
    orders=st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "pop", "pop", "touch", "arrange"]),
            st.integers(0, USERS - 1),
            st.sampled_from([1, 3, 80, 400]),
            st.sampled_from([1, 7, 11]),
        ),
        max_size=20,
    )
)
def test_both_forms_know_the_same_users_in_the_same_order(
    orders: list[tuple[str, int, int, int]],
) -> None:
    forms = compiled.passes.UserIndex(), PlainUserIndex()
    for what, first, count, stride in orders:
        for index in forms:
            change(index, what, [(first + n * stride) % USERS for n in range(count)])
    for index in forms:
        refuse(index)
    assert tell(forms[0]) == tell(forms[1])


@pytest.mark.parametrize("index", [user_index(), PlainUserIndex()])
def test_who_is_not_there_is_refused(index: UserIndex) -> None:
    index.put(bytes(16), 5)
    for name in (b"", b"short", bytes(17), name_of(1)):
        assert index.get(name) is None
        assert name not in index
        for ask in (index.__getitem__, index.pop, index.touch):
            with pytest.raises(KeyError):
                ask(name)
    with pytest.raises(ValueError, match="16 bytes"):
        index.put(b"short", 1)
    for row in (-1, MOST_ROWS, 1 << 40):
        with pytest.raises(ValueError, match="no row"):
            index.put(name_of(1), row)
    assert [*index] == [bytes(16)]
    assert index.pop(bytes(16)) == 5
    with pytest.raises(KeyError):
        index.oldest()
    for row in (-1, 5, 1 << 40):
        with pytest.raises(KeyError):
            index.name_of(row)
