"""``clickahead demo``: Kafka, worker and a click stream on this machine, shown live."""

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from stream_app.demo.options import DemoOptions
from stream_app.demo.run import run_demo
from stream_app.files import FileEvent, parse_mapping, read
from stream_app.invocation import ExitCode, Invocation, UserError
from stream_app.kafka.cluster import free_ports
from stream_app.kafka.jars import Report, cache_root, pinned
from stream_app.reading import MappingOption, PresetOption
from stream_app.settings import Settings, load
from stream_app.simulate import START_MS, SimulatorConfig, simulate
from stream_app.sources import variable_of

# Four weeks behind the start of the clicks that the bundled model has seen.
DEMO_START_MS = START_MS + 28 * 86_400_000
# The shop's own pace; at 500 events/s its time passes twelve times as fast as ours.
SHOP_EVENTS_PER_SECOND = 40.0
ATTACK_EVERY_EVENTS = 3_000


def command(
    context: typer.Context,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after so long; else at Ctrl-C.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=100_000, help="Events a second.")] = 500.0,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live page.")] = False,
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A click file instead of the simulator.")
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
    model: Annotated[
        Path | None, typer.Option(help="A trained model's folder; else the bundled one.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulator.")] = 1,
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Of the topics.")] = 4,
) -> int:
    """Run everything on this machine and check at the end that no accepted event went without
    its prediction."""
    if events is not None and not events.is_file():
        raise UserError(f"There is no file {events}; give a CSV, JSON Lines or Parquet file.")
    invocation = context.find_object(Invocation)
    if invocation is None:
        raise TypeError("a command has to be run through stream_app.cli.app")
    console = Console()
    # A client that meets a topic younger than its metadata says so, and tries again.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="clickahead-demo-") as folder:
        options = DemoOptions(
            rate=rate,
            directory=Path(folder),
            cache=cache_root(invocation.environ, Path.home()),
            seconds=seconds,
            plain=plain,
            events=events,
            preset=preset,
            mapping=tuple(mapping or ()),
            model=model,
            partitions=partitions,
            seed=seed,
        )
        surroundings = _Surroundings(context, invocation.environ, options)
        with jar_bar(console) as report:
            found = asyncio.run(
                run_demo(
                    options,
                    surroundings.settings,
                    surroundings.environ,
                    lambda: stream_of(options, console),
                    console,
                    report,
                )
            )
    console.print(found.sentence(), highlight=False, soft_wrap=True)
    return ExitCode.OK if found.is_whole else ExitCode.FAILED


def stream_of(options: DemoOptions, console: Console) -> Iterator[FileEvent]:
    """The clicks to send: a file's in the order of time, or those of the shop that the bundled
    model was trained on, from days that it has not seen."""
    if options.events is not None:
        return read(
            [options.events],
            preset=options.preset,
            mapping=parse_mapping(options.mapping),
            sort=True,
            notice=lambda sentence: console.print(sentence, highlight=False),
        )
    shop = SimulatorConfig(
        start_ms=DEMO_START_MS,
        events_per_second=SHOP_EVENTS_PER_SECOND,
        attack_every_events=ATTACK_EVERY_EVENTS,
    )
    rng = Random(options.seed)  # noqa: S311 (a simulation)
    return (simulated.event for simulated in simulate(shop, rng))


class _Surroundings:
    """What the demo's own processes run under: the user's settings, but this Kafka and a group,
    topics and a metrics port of their own."""

    def __init__(
        self, context: typer.Context, environ: Mapping[str, str], options: DemoOptions
    ) -> None:
        self._context, self._environ = context, environ
        self._own: dict[str, object] = {
            "worker.partitions": options.partitions,
            "worker.metrics_port": free_ports(1)[0],
            "worker.instance_id": "demo",
        }
        if options.model is not None:
            self._own["worker.model_dir"] = str(options.model.absolute())

    def settings(self, servers: str) -> Settings:
        return load(None, {}, self._own | {"kafka.bootstrap_servers": servers})

    def environ(self, servers: str) -> dict[str, str]:
        """The environment of the worker: none of the user's settings, which name another Kafka."""
        kept = {
            name: value
            for name, value in self._environ.items()
            if not name.startswith("CLICKAHEAD_")
        }
        own = self._own | {"kafka.bootstrap_servers": servers}
        kept |= {variable_of(key): str(value) for key, value in own.items()}
        # More than one thread a process makes every step slower beside Kafka's own work.
        return kept | {"OMP_NUM_THREADS": "1"}


@contextmanager
def jar_bar(console: Console) -> Iterator[Report]:
    """A bar that appears with the first byte of a download."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        total = sum(jar.size_bytes for jar in pinned())
        task = bar.add_task("Downloading Apache Kafka", total=total, visible=False)
        yield lambda arrived: bar.update(task, advance=arrived, visible=True)
