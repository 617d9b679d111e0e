"""Simulated events and their labels as files: the same bytes for the same events."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from stream_app.core.events import Item
from stream_app.simulate.click import Label, SimulatedEvent

_encode = msgspec.json.Encoder().encode


class Written(NamedTuple):
    """How many events went to the file, and how many of them belong to attacks."""

    events: int
    attack_events: int
    attacks: int  # campaigns


def write_events(
    events: Iterable[SimulatedEvent],
    out: Path,
    labels: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Written:
    """An event a line to ``out``, in the order of arrival, and a label a line to ``labels``.

    A name that ends in .gz is compressed. Files appear under their names when they are complete.
    """
    count = labelled = 0
    attacks: set[str] = set()
    with (
        _complete(out) as file,
        nullcontext() if labels is None else _complete(labels) as label_file,
    ):
        for count, event in enumerate(events, 1):
            file.write(event.event.value + b"\n")
            if event.label is not None:
                labelled += 1
                attacks.add(event.label.attack_id)
                if label_file is not None:
                    label_file.write(label_json(event.label) + b"\n")
            if progress is not None and count % 1_000 == 0:
                progress(count)
    return Written(count, labelled, len(attacks))


def write_items(items: Iterable[Item], out: Path) -> None:
    """An item a line, as the items topic has it; a name that ends in .gz is compressed."""
    with _complete(out) as file:
        for item in items:
            file.write(_encode(item) + b"\n")


def label_json(label: Label) -> bytes:
    """A label as JSON: event_id, user_id, attack, attack_id."""
    return _encode(label._asdict())


@contextmanager
def _complete(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only once everything is in it."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as plain:
            if path.suffix == ".gz":
                # Neither name nor time of the file: they would differ from run to run.
                with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:
                    yield packed  # type: ignore[misc]
            else:
                yield plain
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
