"""What a person sees of a training run: a progress bar, a line per epoch, TensorBoard curves."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard.writer import SummaryWriter

from model.resume import EpochRecord, Position

EVERY = 50


class TrainingLog:
    """Shows a run on ``console`` and writes its curves to ``folder`` (None: nowhere, either).

    ``folder`` is the run's own: a resumed run overwrites its curves from where it goes on.
    """

    def __init__(self, folder: Path | None, console: Console | None, step: int) -> None:
        self._writer = None if folder is None else SummaryWriter(folder, purge_step=step)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:,.0f} events/s"),
            TimeRemainingColumn(),
            console=console,
            disable=console is None,
        )
        self._console = console
        self._task = self._progress.add_task("", loss=0.0, rate=0.0)

    def __enter__(self) -> "TrainingLog":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        if self._writer is not None:
            self._writer.close()

    def batch(self, phase: str, done: float, epochs: int, position: Position) -> None:
        """Move the bar: ``done`` of ``epochs`` epochs."""
        self._progress.update(
            self._task,
            description=f"{phase} epoch {position.epoch + 1}/{epochs}",
            completed=done,
            total=epochs,
            loss=position.mean_loss,
            rate=position.events_per_second,
        )

    def curve(self, phase: str, step: int, **values: float) -> None:
        """Write a point of each curve, once in ``EVERY`` batches."""
        if step % EVERY == 0:
            self._points(phase, step, values)

    def epoch(self, record: EpochRecord, step: int) -> None:
        """Print a line for a finished epoch and write its curves."""
        text = f"{record.phase} epoch {record.epoch}: loss {record.item_loss:.3f}"
        values = {"epoch_loss": record.item_loss}
        if record.mrr_at_20 is not None and record.recall_at_20 is not None:
            text += f", held out recall@20 {record.recall_at_20:.4f} mrr@20 {record.mrr_at_20:.4f}"
            values |= {"recall@20": record.recall_at_20, "mrr@20": record.mrr_at_20}
        self._points(record.phase, step, values)
        text += f", {record.seconds:.0f} s, {record.events_per_second:,.0f} events/s"
        if self._console is not None:
            self._console.print(text, highlight=False)

    def _points(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{phase}/{name}", value, step)
