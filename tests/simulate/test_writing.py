# ruff: noqa: S311 (a simulation)

import gzip
import itertools
import json
from pathlib import Path
from random import Random

import pytest

from stream_app.files import read
from stream_app.simulate import SimulatedEvent, SimulatorConfig, simulate
from stream_app.simulate.writing import write_events

CONFIG = SimulatorConfig(users=400, items=200, events_per_second=3.0, attack_every_events=300)


def stream(seed: int, count: int = 2_000) -> list[SimulatedEvent]:
    return list(itertools.islice(simulate(CONFIG, Random(seed)), count))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_the_same_events_give_the_same_bytes_under_any_name(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        write_events(stream(1), tmp_path / (name + suffix), tmp_path / f"{name}-labels{suffix}")
    for part in ("{}", "{}-labels"):
        first, second = (tmp_path / (part.format(name) + suffix) for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


def test_the_reader_gives_back_what_was_written(tmp_path: Path) -> None:
    events = stream(2)
    written = write_events(events, tmp_path / "a.jsonl.gz", tmp_path / "labels.jsonl.gz")
    assert list(read([tmp_path / "a.jsonl.gz"])) == [event.event for event in events]
    with gzip.open(tmp_path / "labels.jsonl.gz") as file:
        labels = [json.loads(line) for line in file]
    expected = [event.label for event in events if event.label is not None]
    assert labels == [label._asdict() for label in expected]
    assert written == (len(events), len(expected), len({label.attack_id for label in expected}))
    assert expected


def test_a_file_that_is_not_complete_does_not_appear(tmp_path: Path) -> None:
    def breaks_off() -> object:
        yield from stream(3, 10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_events(breaks_off(), tmp_path / "a.jsonl")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
