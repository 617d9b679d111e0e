"""The order in which a model takes many events of many users: round by round, see
``model.spec.Rounds``."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.spec import Places


class Lanes(NamedTuple):
    """A lane is a run of a user's events in which each meets the memory that the one before it
    left."""

    place: Places  # [N] where each event comes
    rounds: list[int]


def lanes(users: Places, begins: npt.NDArray[np.bool_] | None = None) -> Lanes:
    """Lanes of N > 0 events of ``users`` [N] in order; an event of ``begins`` [N] opens a new
    one."""
    n = len(users)
    if n == 1:
        return Lanes(np.zeros(1, np.intp), [1])
    order = np.argsort(users, kind="stable")
    sorted_users = users[order]
    opens = np.ones(n, np.bool_)
    np.not_equal(sorted_users[1:], sorted_users[:-1], out=opens[1:])
    if begins is not None:
        opens |= begins[order]
    first = np.flatnonzero(opens)  # [lanes]
    if len(first) == n:
        return Lanes(np.arange(n), [n])
    length = np.diff(first, append=n)
    rank = np.empty(len(first), np.intp)  # the longest lane has 0, of equals who came first
    rank[np.lexsort((order[first], -length))] = np.arange(len(first))
    lane = np.cumsum(opens) - 1  # [N], sorted
    number = np.arange(n) - first[lane]
    rounds = np.bincount(number)
    place = np.empty(n, np.intp)
    place[order] = (np.cumsum(rounds) - rounds)[number] + rank[lane]
    return Lanes(place, rounds.tolist())
