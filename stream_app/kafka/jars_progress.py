"""Kafka's jars with a progress bar, for commands that a person waits for."""

import threading
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from stream_app.kafka.jars import ensure_jars, pinned

DESCRIPTION = "Downloading Apache Kafka, this once"


def ensure_jars_shown(root: Path, console: Console) -> Path:
    """`ensure_jars` with the bytes shown as they arrive; silent where all is there already.

    Without a terminal one line says what takes so long.
    """
    jars = pinned()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    task = progress.add_task(DESCRIPTION, total=sum(jar.size_bytes for jar in jars))
    begun = threading.Event()
    beginning = threading.Lock()

    def report(arrived_bytes: int) -> None:
        with beginning:
            if not begun.is_set():
                begun.set()
                progress.start() if console.is_terminal else console.print(DESCRIPTION)
        progress.update(task, advance=arrived_bytes)

    try:
        return ensure_jars(root, jars, report=report)
    finally:
        if progress.live.is_started:
            progress.stop()
