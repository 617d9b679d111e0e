"""Record batches from columns, compiled: what `packing` does record by record in aiokafka.

A batch here stands in for aiokafka's BatchBuilder, byte for byte, where nothing is compressed.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core.batch import PackedRecords
from stream_app.core.c_library import address, addresses, library

Header = tuple[str, bytes]
KeyValue = tuple[bytes | None, bytes | None]
Numbers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

HEADER_BYTES = 61
# Where an empty batch says how it is compressed, and that it belongs to a transaction.
_ATTRIBUTES, _COMPRESSED = slice(21, 23), 7
_NO_KEY, _NO_VALUE = 1, 2
# More than the lengths and deltas in front of a record take.
_FRAME_BYTES = 32


class Columns(NamedTuple):
    """Keys and values that lie behind one another; each column has N numbers."""

    keys: Bytes
    key_ends: Numbers
    values: Bytes
    value_ends: Numbers
    missing: Bytes  # _NO_KEY, _NO_VALUE

    @classmethod
    def of(cls, records: Sequence[KeyValue] | PackedRecords) -> "Columns":
        if isinstance(records, PackedRecords):
            n, width = records.keys.shape
            key_ends = np.arange(width, (n + 1) * width, width, dtype=np.int64)
            none = np.zeros(n, np.uint8)
            return cls(records.keys, key_ends, records.values, records.ends, none)
        keys, values = [key for key, _ in records], [value for _, value in records]
        missing = np.zeros(len(keys), np.uint8)
        for absent, texts in ((_NO_KEY, keys), (_NO_VALUE, values)):
            if None in texts:
                missing[[text is None for text in texts]] |= np.uint8(absent)
        return cls(*_joined(keys), *_joined(values), missing)

    def largest(self) -> int:
        """Bytes of the largest record's key and value."""
        ends = self.key_ends + self.value_ends
        return max(int(ends[0]), int(np.diff(ends).max(initial=0)))

    def last(self) -> KeyValue:
        """The last record."""
        key_at, value_at = (
            int(ends[-2]) if len(ends) > 1 else 0 for ends in (self.key_ends, self.value_ends)
        )
        missing = int(self.missing[-1])
        key = self.keys.reshape(-1)[key_at : int(self.key_ends[-1])].tobytes()
        value = self.values[value_at : int(self.value_ends[-1])].tobytes()
        return None if missing & _NO_KEY else key, None if missing & _NO_VALUE else value


def _joined(texts: list[bytes | None]) -> tuple[Bytes, Numbers]:
    if None in texts:
        texts = [text or b"" for text in texts]
    whole = b"".join(texts)  # type: ignore[arg-type]
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))  # type: ignore[arg-type]
    return np.frombuffer(whole, np.uint8), ends


class ColumnBatch:
    """One batch, full and closed, in the place of aiokafka's BatchBuilder."""

    def __init__(
        self, form: "CompiledForm", batch: Bytes, count: int, attributes: int, timestamp_ms: int
    ) -> None:
        self._form, self._batch, self._count = form, batch, count
        self._attributes, self._timestamp_ms = attributes, timestamp_ms
        self._producer = (-1, -1, 0)

    def record_count(self) -> int:
        return self._count

    def size(self) -> int:
        return len(self._batch)

    def closed(self) -> bool:
        return True

    def close(self) -> None:
        """It is."""

    def append(self, **record: Any) -> None:
        """None: there is no room."""

    def _set_producer_state(self, producer_id: int, epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, epoch, base_sequence)

    def _build(self) -> memoryview:
        about = (self._count, self._attributes, self._timestamp_ms, *self._producer)
        self._form.seal(address(self._batch), len(self._batch), *about)
        return self._batch.data


class _Columns(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "key_ends", "values", "value_ends")),
        *((name, ctypes.c_void_p) for name in ("missing", "headers")),
        *((name, ctypes.c_int64) for name in ("header_bytes", "n")),
    )


class CompiledForm:
    """``native/record_batches.c``"""

    def __init__(self, found: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._write, self.seal = found.record_batches_write, found.record_batches_seal
        self.crc32c = found.record_batches_crc32c
        self._write.argtypes = (
            *(ctypes.POINTER(_Columns), number, pointer, number, number),
            ctypes.POINTER(number),
        )
        self._write.restype = number
        self.seal.argtypes, self.seal.restype = (pointer, *[number] * 7), None
        self.crc32c.argtypes, self.crc32c.restype = (pointer, number, number), ctypes.c_uint32

    def batches(
        self,
        columns: Columns,
        headers: list[Header],
        timestamp_ms: int,
        limit: int,
        attributes: int,
    ) -> list[ColumnBatch]:
        """As many batches of at most ``limit`` bytes as it takes; one holds at least a record."""
        told, n = _headers(headers), len(columns.missing)
        held = _Columns(
            *addresses(*columns),
            ctypes.cast(ctypes.c_char_p(told), ctypes.c_void_p).value,
            len(told),
            n,
        )
        sizes = columns.key_ends + columns.value_ends
        room = HEADER_BYTES + int(sizes[-1]) + n * (_FRAME_BYTES + len(told))
        first, size, made = 0, ctypes.c_int64(), []
        most = min(room, max(limit, columns.largest() + len(told) + 256))
        while first < n:
            batch = np.empty(most, np.uint8)
            place = (address(batch), len(batch), limit, ctypes.byref(size))
            left = self._write(ctypes.byref(held), first, *place)
            made.append(
                ColumnBatch(self, batch[: size.value], left - first, attributes, timestamp_ms)
            )
            first = left
        return made


@cache
def compiled_form() -> CompiledForm | None:
    """None where it was not built."""
    found = library(__file__, "record_batches", 1)
    return None if found is None else CompiledForm(found)


def attributes_of(empty: Any) -> int | None:
    """How an empty batch of aiokafka's says that its records are written; None: compressed."""
    attributes = int.from_bytes(empty._build()[_ATTRIBUTES], "big")
    return None if attributes & _COMPRESSED else attributes


def _headers(headers: list[Header]) -> bytes:
    parts = [_varint(len(headers))]
    for name, value in headers:
        written = name.encode()
        parts += [_varint(len(written)), written, _varint(len(value)), value]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    """Of a number that is not negative; Kafka's are zigzag."""
    left, digits = value << 1, bytearray()
    while left > 127:
        digits.append(left & 127 | 128)
        left >>= 7
    digits.append(left)
    return bytes(digits)
