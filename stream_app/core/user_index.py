"""Who is in which row of a table, and in what order they are evicted."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stream_app.core import compiled
from stream_app.core.privacy import PSEUDONYM_BYTES

MOST_ROWS = (1 << 31) - 1

Rows = npt.NDArray[np.int64]


class UserIndex(Protocol):
    """Pseudonym -> row, both unique; iteration goes from who is evicted first to who is last."""

    def __len__(self) -> int: ...

    def __contains__(self, name: bytes) -> bool: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def __getitem__(self, name: bytes) -> int:
        """The user's row; KeyError where they have none."""

    def get(self, name: bytes) -> int | None:
        """The user's row, None where they have none."""

    def put(self, name: bytes, row: int) -> None:
        """Take a user in, the last to be evicted; ValueError where the name is no pseudonym, the
        row none, or one of them is taken."""

    def pop(self, name: bytes) -> int:
        """Forget a user; the row that they had. KeyError where they had none."""

    def touch(self, name: bytes) -> None:
        """Make a user the last one to be evicted; KeyError for nobody."""

    def oldest(self) -> bytes:
        """Who is evicted first; KeyError where nobody is."""

    def name_of(self, row: int) -> bytes:
        """Whose row it is; KeyError where it is nobody's."""

    def names(self, first: int, end: int) -> list[bytes]:
        """Who is in the rows from ``first`` on and before ``end``, by row."""

    def rows(self) -> bytes:
        """All rows in the order of eviction, as int64 [N]."""

    def arrange(self, rows: Rows) -> None:
        """Evict in the order of these rows [N]; ValueError where not each user's is there once."""


class PlainUserIndex:
    """The form in Python."""

    def __init__(self) -> None:
        self._row_of: OrderedDict[bytes, int] = OrderedDict()
        self._name_of: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, name: bytes) -> bool:
        return name in self._row_of

    def __iter__(self) -> Iterator[bytes]:
        return iter([*self._row_of])

    def __getitem__(self, name: bytes) -> int:
        return self._row_of[name]

    def get(self, name: bytes) -> int | None:
        return self._row_of.get(name)

    def put(self, name: bytes, row: int) -> None:
        if len(name) != PSEUDONYM_BYTES:
            raise ValueError(f"a pseudonym has {PSEUDONYM_BYTES} bytes")
        if not 0 <= row < MOST_ROWS:
            raise ValueError(f"there is no row {row}")
        if name in self._row_of or row in self._name_of:
            raise ValueError(f"the user or row {row} is there already")
        self._row_of[name], self._name_of[row] = row, name

    def pop(self, name: bytes) -> int:
        row = self._row_of.pop(name)
        del self._name_of[row]
        return row

    def touch(self, name: bytes) -> None:
        self._row_of.move_to_end(name)

    def oldest(self) -> bytes:
        for name in self._row_of:
            return name
        raise KeyError("there are no users")

    def name_of(self, row: int) -> bytes:
        return self._name_of[row]

    def names(self, first: int, end: int) -> list[bytes]:
        return [self._name_of[row] for row in range(first, end) if row in self._name_of]

    def rows(self) -> bytes:
        return np.fromiter(self._row_of.values(), np.int64, len(self)).tobytes()

    def arrange(self, rows: Rows) -> None:
        order = rows.tolist()
        if len(order) != len(self) or {*order} != self._name_of.keys():
            raise ValueError("an order has each user's row once")
        self._row_of = OrderedDict((self._name_of[row], row) for row in order)


def user_index() -> UserIndex:
    """One without users."""
    return PlainUserIndex() if compiled.passes is None else compiled.passes.UserIndex()
