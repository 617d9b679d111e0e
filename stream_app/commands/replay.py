"""``clickahead replay``: click files or a dump through the worker's core, without Kafka."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from model.spec import Engine
from stream_app.bundled import model_directory
from stream_app.core.privacy import pseudonymiser
from stream_app.invocation import ExitCode, UserError, settings_of
from stream_app.kafka.dump import DumpError, read_dump
from stream_app.models_folder import models_in
from stream_app.notices import OUT_OF_VOCABULARY
from stream_app.orders import CONTROL, ITEMS, Ledger
from stream_app.reading import FileChoice, MappingOption, PresetOption, read_shown
from stream_app.replay import InputRecord, Replay, from_files, write_replay
from stream_app.schedule import Course, Kept, Schedule, schedule_of
from stream_app.settings import Settings


def command(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Click files, or a dump of the input topic.")],
    out: Annotated[Path, typer.Option(help="Folder for the three .jsonl files.")],
    model: Annotated[
        Path | None, typer.Option(help="A trained model's folder; else worker.model_dir.")
    ] = None,
    partitions: Annotated[
        int, typer.Option(min=1, max=10_000, help="Spread files over so many, as producers do.")
    ] = 1,
    close: Annotated[
        bool, typer.Option("--close", help="End all open sessions behind the last event.")
    ] = False,
    dump: Annotated[
        bool | None,
        typer.Option("--dump/--no-dump", help="Whether FILES are dumps; else their content tells."),
    ] = None,
    follow: Annotated[
        Path | None,
        typer.Option(
            help="Dump of the state's changelog, or of the predictions: do what the worker was"
            " ordered to at the same offsets. Needs dumps as FILES."
        ),
    ] = None,
    control: Annotated[
        Path | None, typer.Option(help="With --follow: dump of clickahead.control.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="With --follow: dump of clickahead.items.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="With --follow: folder of the models; else worker.models."),
    ] = None,
    preset: PresetOption = None,
    mapping: MappingOption = None,
    sort: Annotated[
        bool | None,
        typer.Option("--sort/--no-sort", help="Order by time first; else as the preset says."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the totals as JSON.")] = False,
) -> int:
    """Write predictions.jsonl, anomalies.jsonl and rejected.jsonl: what a worker would publish.

    clickahead dump clickahead-state-changelog --out state.jsonl.gz

    clickahead replay events.jsonl.gz --out made --follow state.jsonl.gz --control control.jsonl
    """
    # ONNX Runtime takes its time to import.
    from model.engine import open_engine

    settings = settings_of(context)
    console = Console(stderr=True)
    engine = open_engine(model or model_directory(settings.worker.model_dir))
    is_dump = looks_like_dump(files[0]) if dump is None else dump
    course = None
    if follow is not None:
        if not is_dump:
            raise UserError("--follow goes by the offsets in Kafka: FILES have to be dumps.")
        ledger = ledger_of(settings, control, items)
        schedule = read_schedule(follow)
        engines = engines_for(schedule, engine, models or settings.worker.models)
        course = Course(schedule, ledger, engines)
    replay = Replay(settings.topic("events"), engine, settings.core_config(), course)
    if is_dump:
        records = from_dumps(files)
    else:
        choice = FileChoice(files, preset, mapping or (), sort)
        records = from_files(read_shown(choice, console, "replaying"), partitions)
    totals = write_replay(records, replay, out, close)
    if "out_of_vocabulary" in totals.notices:
        console.print(OUT_OF_VOCABULARY, highlight=False)
    late = totals.reject_reasons.get("late", 0)
    if late > totals.records // 100:
        console.print(
            f"{late} events were late by more than core.allowed_lateness_ms: --sort orders a file "
            "by time first.",
            highlight=False,
        )
    typer.echo(json.dumps(msgspec.to_builtins(totals)) if as_json else sentence(totals.outcomes))
    return ExitCode.OK if totals.is_conserved else ExitCode.FAILED


def read_schedule(path: Path) -> Schedule:
    """The schedule in a dump of the changelog or of the predictions."""
    return schedule_of(Kept(r.partition, r.key, r.value) for r in read_dump(path))


def ledger_of(settings: Settings, control: Path | None, items: Path | None) -> Ledger:
    """The side inputs from their dumps."""
    ledger = Ledger(pseudonymiser(settings.core_config().pseudonym_key))
    for role, path in ((CONTROL, control), (ITEMS, items)):
        if path is not None:
            ledger.take(role, [(r.offset, r.key, r.value) for r in read_dump(path)])
    return ledger


def engines_for(schedule: Schedule, own: Engine, models: Path | None) -> Mapping[str, Engine]:
    """The own engine and those that the schedule names. Raises ScheduleError."""
    from model.engine import open_engine

    engines, folders = {own.version: own}, models_in(models)()
    for version in sorted({leg.route.live for legs in schedule.values() for leg in legs}):
        if version not in engines and version in folders:
            engines[version] = open_engine(folders[version])
    return engines


def looks_like_dump(path: Path) -> bool:
    """Whether the file's first line is a record of ``clickahead dump``."""
    try:
        next(iter(read_dump(path)), None)
    except DumpError:
        return False
    return True


def from_dumps(paths: list[Path]) -> Iterator[InputRecord]:
    """Records at the partitions and offsets that they had in Kafka."""
    for path in paths:
        for record in read_dump(path):
            is_arrival = record.timestamp_type == "log_append"
            yield InputRecord(
                record.partition,
                record.offset,
                record.timestamp_ms if is_arrival else -1,
                record.key,
                record.value,
                tuple((name, value or b"") for name, value in record.headers),
            )


def sentence(outcomes: dict[str, int]) -> str:
    """``in = predicted + rejected + duplicates + heartbeats``, with numbers."""
    parts = " + ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    return f"{sum(outcomes.values())} records in = {parts}"
