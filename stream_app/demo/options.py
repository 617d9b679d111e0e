"""What the demo was asked for."""

from pathlib import Path

import msgspec


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``events`` absent: the simulator; ``seconds`` absent: until Ctrl-C, or the file's end."""

    rate: float
    directory: Path  # gets Kafka's data and the logs of this run
    cache: Path  # holds Kafka's jars between runs
    seconds: float | None = None
    plain: bool = False
    events: Path | None = None
    preset: str | None = None
    mapping: tuple[str, ...] = ()
    model: Path | None = None
    partitions: int = 4
    seed: int = 1
