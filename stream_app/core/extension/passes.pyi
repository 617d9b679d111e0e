from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_app.core import user_index

INTERFACE: int
FIELDS: tuple[str, ...]
RING_FIELDS: tuple[str, ...]

def layout(
    row_bytes: int,
    offsets: tuple[int, ...],
    entry_bytes: int,
    ring_offsets: tuple[int, ...],
    ring_length: int,
    memory_bytes: int,
) -> object: ...
def keyed(key: bytes, digest_bytes: int, person: bytes) -> bytes: ...
def digest(keyed: bytes, message: bytes, digest_bytes: int) -> bytes: ...
def reading(
    names: tuple[str, ...],
    canonical_action: Callable[[str | None], str | None],
    limits: tuple[int, int, int, int, int, int],
) -> object: ...
def read(
    reading: object,
    click: type,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    received_ms: Sequence[int],
) -> list[Any]: ...
def admit(
    admission: object,
    start: int,
    made: tuple[type, type],
    duration_edges_ms: npt.NDArray[np.int64],
    bucket_ms: int,
    vocabulary_horizon: int,
    vocabulary_min_events: int,
) -> int: ...
def heap() -> object: ...
def push(heap: object, deadline_ms: int, offset: int, number: int, row: int) -> None: ...
def pop(heap: object, now_ms: int) -> tuple[int, int, int, int] | None: ...
def half(value: float) -> tuple[int, float]:
    """The bits of a float32 as a float16, and what those are worth."""

def lanes(
    table: npt.NDArray[np.uint8],
    chosen: npt.NDArray[np.intp],
    places: npt.NDArray[np.intp],
    resets: bool,
) -> list[int]: ...
def enter(
    row_bytes: npt.NDArray[np.uint8],
    layout: object,
    table: npt.NDArray[np.uint8],
    chosen: npt.NDArray[np.intp],
    places: npt.NDArray[np.intp],
    features: tuple[npt.NDArray[np.generic], ...],
    tokens: tuple[npt.NDArray[np.generic], ...],
    windows: npt.NDArray[np.uint8],
    hidden: npt.NDArray[np.uint8],
    log_z: npt.NDArray[np.float32],
    window_ms: int,
    burst_ms: int,
    fresh: tuple[bytes, float] | None,
) -> None: ...
def leave(
    row_bytes: npt.NDArray[np.uint8],
    layout: object,
    table: npt.NDArray[np.uint8],
    chosen: npt.NDArray[np.intp],
    places: npt.NDArray[np.intp],
    windows: npt.NDArray[np.uint8],
    found: tuple[npt.NDArray[np.generic], ...],
    hidden: npt.NDArray[np.uint8],
    results: tuple[npt.NDArray[np.generic], ...],
    half_ring: int,
    resets: bool,
) -> None: ...
def addresses(*arrays: npt.NDArray[Any] | None) -> tuple[int | None, ...]: ...
def keep_newest(
    row_bytes: npt.NDArray[np.uint8], layout: object, table: bytearray, clicks: list[Any]
) -> bool: ...
def changes(
    row_bytes: npt.NDArray[np.uint8],
    layout: object,
    slots: user_index.UserIndex,
    changed: dict[bytes, None],
    kind: bytes,
) -> tuple[list[bytes], list[tuple[bytes, bytes]]]: ...
def packed(
    row_bytes: npt.NDArray[np.uint8],
    layout: object,
    slots: user_index.UserIndex,
    pseudonyms: list[bytes],
) -> list[bytes]: ...

class UserIndex:
    """See ``stream_app.core.user_index.UserIndex``."""

    def __len__(self) -> int: ...
    def __contains__(self, name: bytes) -> bool: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __getitem__(self, name: bytes) -> int: ...
    def get(self, name: bytes) -> int | None: ...
    def put(self, name: bytes, row: int) -> None: ...
    def pop(self, name: bytes) -> int: ...
    def touch(self, name: bytes) -> None: ...
    def oldest(self) -> bytes: ...
    def name_of(self, row: int) -> bytes: ...
    def names(self, first: int, end: int) -> list[bytes]: ...
    def rows(self) -> bytes: ...
    def arrange(self, rows: npt.NDArray[np.int64]) -> None: ...
