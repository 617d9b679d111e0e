"""What a preparation needs of whoever computes it."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from stream_app.prepare.clicks import Piece, Reading
from stream_app.prepare.expressions import Table
from stream_app.prepare.fold import Folding

Report = Callable[[int, int], None]
"""Told how much of a stage is done, and of how much."""


class Backend(Protocol):
    """Tables are Ibis expressions over folders of Parquet files. A folder appears whole or not
    at all."""

    name: str

    def clean(self, pieces: Sequence[Piece], reading: Reading, out: Path, report: Report) -> None:
        """Write the cleaned clicks of all pieces to the folder ``out``."""

    def fold(
        self, events: Table, folding: Folding, buckets: int, out: Path, report: Report
    ) -> None:
        """Write events with what the core says of them to the folder ``out``, users by buckets."""

    def table(self, folder: Path) -> Table:
        """The rows of a folder that was written here."""

    def save(self, table: Table, out: Path, *, parts: Sequence[str] = ()) -> None:
        """Write a table to the folder ``out``; with ``parts``, columns of names, a folder for each
        of their values, its rows in the order of ``columns.ORDER``."""

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """A small table, in memory."""

    def close(self) -> None:
        """Give back what was held."""


def done_or(out: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` fill a folder beside ``out``, which becomes ``out`` once it is whole; nothing
    where it is whole already."""
    if out.exists():
        return
    partial = out.with_name(out.name + ".partial")
    remove(partial)
    write(partial)
    partial.rename(out)


def remove(folder: Path) -> None:
    """Remove a folder of files and folders, if it is there."""
    if not folder.exists():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def parquet_files(folder: Path) -> Iterable[Path]:
    """The files of a folder, in the order of their names."""
    return sorted(folder.rglob("*.parquet"))
