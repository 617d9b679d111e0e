"""A partition's state in a file, as records of its changelog: frames with checksums, header last.

A file counts once its header is there, and the header is written when everything else is on the
disk; the name is taken by renaming. So a crash, a full disk or a cut leaves the older file, or one
that is refused.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkstemp
from types import TracebackType
from typing import Self
from zlib import crc32

import msgspec

Change = tuple[bytes, bytes | None]

MAGIC = b"ClickAhead state 1\n"
PART = ".part"
"""Suffix of a file that does not count yet."""
HEADER_BYTES = 4096
_FRAME = 8  # length and checksum, four bytes each


class SnapshotInvalid(ValueError):
    """The file is not what it should be; the message is the end of a sentence that names it."""


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Whose state it is, and which part of the changelog it stands for."""

    app_id: str
    changelog: str
    partition: int
    identity: str
    """Of what reads the records: `Core.identity`."""
    since: int
    """Every record of the changelog from this offset on has to be applied on top."""
    until: int
    """The state of a changelog that ends before this offset does not have all that is in here."""
    checksum: int
    """Of the changelog's record before ``until``: another one there is another changelog."""
    started_ms: int
    """Epoch milliseconds when offset ``since`` was the end."""
    records: int = 0
    frames: int = 0


class SnapshotWriter:
    """Writes a file beside the one that it will replace. A context manager: left without `finish`,
    nothing has happened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = self._frames = 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: a writer that was given up may still be at work in its thread.
        descriptor, part = mkstemp(PART, f"{self.path.stem}-", self.path.parent)
        self._part = Path(part)
        self._file = os.fdopen(descriptor, "wb")
        self._file.write(bytes(HEADER_BYTES))
        return self

    def append(self, records: Sequence[Change]) -> None:
        """Add records, which become a frame."""
        content = msgspec.msgpack.encode(records)
        # The frame's place is part of its checksum, so that none can stand for another.
        checksum = crc32(content, self._frames)
        self._file.write(len(content).to_bytes(4, "little") + checksum.to_bytes(4, "little"))
        self._file.write(content)
        self._frames += 1
        self._records += len(records)

    def finish(self, header: SnapshotHeader) -> tuple[SnapshotHeader, int]:
        """Make the file count. Returns the header as it was written, and the file's bytes."""
        header = msgspec.structs.replace(header, records=self._records, frames=self._frames)
        size = self._file.tell()
        self._sync()
        content = msgspec.msgpack.encode(header)
        self._file.seek(0)
        self._file.write(
            MAGIC
            + len(content).to_bytes(4, "little")
            + crc32(content).to_bytes(4, "little")
            + content
        )
        self._sync()
        self._part.replace(self.path)
        _sync_folder(self.path.parent)
        return header, size

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        finally:
            self._part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A new name outlives a power cut only if its folder was written."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_header(path: Path) -> SnapshotHeader:
    """Raises SnapshotInvalid, and OSError."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not start.startswith(MAGIC):
        raise SnapshotInvalid("it is no complete file of this version")
    length, checksum = (int.from_bytes(start[at : at + 4], "little") for at in _ENDS_OF_MAGIC)
    content = start[len(MAGIC) + _FRAME :][:length]
    if len(content) != length or crc32(content) != checksum:
        raise SnapshotInvalid("its header is damaged")
    try:
        return msgspec.msgpack.decode(content, type=SnapshotHeader)
    except msgspec.MsgspecError as error:
        raise SnapshotInvalid(f"its header cannot be read: {error}") from None


_ENDS_OF_MAGIC = (len(MAGIC), len(MAGIC) + 4)


def read_records(path: Path, header: SnapshotHeader) -> Iterator[list[Change]]:
    """Frame by frame. Raises SnapshotInvalid where one is damaged or missing, and OSError."""
    decoder = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        for frame in range(header.frames):
            head = file.read(_FRAME)
            length, checksum = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
            content = file.read(length)
            if len(head) < _FRAME or len(content) < length or crc32(content, frame) != checksum:
                raise SnapshotInvalid(f"frame {frame} of {header.frames} is damaged")
            yield list(decoder.decode(content))
        if file.read(1):
            raise SnapshotInvalid("it goes on behind its end")
