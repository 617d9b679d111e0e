"""A core that counts: small enough to see through, stateful enough that one record lost, doubled
or out of place shows in every later output of its key. Run as a program it is a worker.

The shell's own tests use it, so that they say nothing about the model.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager

from stream_app.app import create_application
from stream_app.core.batch import EventBatch, OutputBatch, Record
from stream_app.kafka.application import Application
from stream_app.kafka.contract import Core, Mark
from stream_app.kafka.observer import Restored, Unobserved
from stream_app.kafka.shell_config import ShellConfig
from stream_app.log_output import set_up_log
from stream_app.worker import run

PARTITION = b"p"


class CountingStore:
    """How often each key was seen."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.next_offset = 0
        self.counts: dict[bytes, int] = {}
        self.dirty: dict[bytes, None] = {}

    def restore(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            assert value is not None
            if key == PARTITION:
                self.next_offset = int(value)
            else:
                self.counts[key[1:]] = int(value)

    def records(self, count: int) -> Iterator[list[tuple[bytes, bytes | None]]]:
        keys = list(self.counts)
        for first in range(0, len(keys), count):
            yield [(b"u" + key, b"%d" % self.counts[key]) for key in keys[first : first + count]]
        yield [(PARTITION, b"%d" % self.next_offset)]

    def recovered(self) -> None:
        """Nothing is derived."""

    def take_changes(self) -> list[tuple[bytes, bytes | None]]:
        changes: list[tuple[bytes, bytes | None]] = [
            (b"u" + key, str(self.counts[key]).encode()) for key in self.dirty
        ]
        self.dirty.clear()
        return [*changes, (PARTITION, str(self.next_offset).encode())]


def play(batch: EventBatch, store: CountingStore, mark: Mark) -> OutputBatch:
    """A prediction per record with a key, an anomaly at every tenth of a key, a rejection else."""
    out = OutputBatch()
    for row, (offset, key) in enumerate(zip(batch.offsets, batch.keys, strict=True)):
        if key is None:
            out.rejected.append(Record(row, None, outcome(batch.partition, offset, 0)))
            continue
        count = store.counts[key] = store.counts.get(key, 0) + 1
        store.dirty[key] = None
        out.predictions.append(Record(row, key, outcome(batch.partition, offset, count)))
        if count % 10 == 0:
            out.anomalies.append(Record(row, key, outcome(batch.partition, offset, count)))
    store.next_offset = batch.next_offset
    out.outcomes["predicted"] = len(out.predictions)
    mark("decide")
    return out


def outcome(partition: int, offset: int, count: int) -> bytes:
    return json.dumps([partition, offset, count]).encode()


CORE = Core(store=CountingStore, play=play)


class Printed(Unobserved):
    """Says on standard output what a test waits for."""

    def rebalanced(self, partitions: Collection[int]) -> None:
        self._say("recovering", {"partitions": len(partitions)})

    def restored(self, restored: Restored) -> None:
        self._say("ready", restored._asdict())

    def _say(self, word: str, content: dict[str, object]) -> None:
        sys.stdout.write(f"{word} {json.dumps(content)}\n")
        sys.stdout.flush()


def config(bootstrap: str, app_id: str, partitions: int = 4, **more: object) -> ShellConfig:
    return ShellConfig(
        app_id=app_id,
        client={"bootstrap_servers": bootstrap},
        source=f"{app_id}.in",
        partitions=partitions,
        outputs={name: f"{app_id}.{name}" for name in ("predictions", "anomalies", "rejected")},
        **{"session_timeout_ms": 6000, "heartbeat_interval_ms": 1000, **more},  # type: ignore[arg-type]
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("app_id")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--shell", type=json.loads, default={}, help="more of ShellConfig")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds per micro-batch")
    parser.add_argument("--poison", default="", help="key whose record cannot be played")
    given = parser.parse_args(arguments)

    def played(batch: EventBatch, store: CountingStore, mark: Mark) -> OutputBatch:
        if given.poison and given.poison.encode() in batch.keys:
            raise ValueError("poison")
        time.sleep(given.slow)
        return play(batch, store, mark)

    shell = config(given.bootstrap, given.app_id, given.partitions, **given.shell)
    core = Core(store=CountingStore, play=played)

    @asynccontextmanager
    async def prepared() -> AsyncIterator[Application]:
        yield create_application(shell, core, Printed())

    return run(prepared)


if __name__ == "__main__":
    set_up_log(os.environ.get("CL_LOG", "INFO"), "text")
    sys.exit(main(sys.argv[1:]))
