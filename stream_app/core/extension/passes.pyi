from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

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
def admit(
    admission: object,
    start: int,
    made: tuple[type, type, type, type],
    bucket_ms: int,
    vocabulary_horizon: int,
    vocabulary_min_events: int,
) -> int: ...
def packed(
    row_bytes: npt.NDArray[np.uint8],
    layout: object,
    slots: Mapping[bytes, int],
    pseudonyms: list[bytes],
) -> list[bytes]: ...
