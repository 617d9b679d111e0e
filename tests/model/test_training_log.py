"""What is shown of a run: curves that TensorBoard can read, and text only where it is wanted."""

import io
import time
from pathlib import Path

from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.resume import EpochRecord, Position
from model.training_log import EVERY, TrainingLog

RECORD = EpochRecord("choose", 1, 4.25, 2.0, 1234.0, 0.5, 0.25)


def curves(folder: Path) -> dict[str, list[int]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def write(folder: Path, steps: range, console: Console | None = None) -> None:
    with TrainingLog(folder, console, steps.start) as shown:
        for step in steps:
            shown.batch("choose", step / 200, 1, Position("choose", batch=step, step=step))
            shown.curve("choose", step, item_loss=1.0)
        shown.epoch(RECORD, steps.stop)


def test_curves_have_a_point_every_few_batches(tmp_path: Path) -> None:
    write(tmp_path, range(2 * EVERY + 1))
    found = curves(tmp_path)
    assert found["choose/item_loss"] == [0, EVERY, 2 * EVERY]
    assert found["choose/mrr@20"] == found["choose/epoch_loss"] == [2 * EVERY + 1]


def test_a_resumed_run_overwrites_its_later_curves(tmp_path: Path) -> None:
    write(tmp_path, range(4 * EVERY))
    # TensorBoard reads the files by name, in which the time is in whole seconds.
    time.sleep(1.1)
    write(tmp_path, range(EVERY, 2 * EVERY + 1))
    assert curves(tmp_path)["choose/item_loss"] == [0, EVERY, 2 * EVERY]


def test_a_line_per_epoch_where_somebody_looks(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    write(tmp_path / "1", range(1), console)
    assert isinstance(console.file, io.StringIO)
    assert (
        "choose epoch 1: loss 4.250, held out recall@20 0.5000 mrr@20 0.2500, 2 s, 1,234 events/s"
        in console.file.getvalue()
    )


def test_nothing_is_shown_to_nobody(tmp_path: Path, capfd: object) -> None:
    write(tmp_path, range(1), None)
    out, err = capfd.readouterr()  # type: ignore[attr-defined]
    assert out == err == ""
