"""``clickahead prepare``: click files of any size, made ready for training."""

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream_app.invocation import Invocation, UserError, settings_of
from stream_app.reading import MappingOption, PresetOption

if TYPE_CHECKING:
    from stream_app.prepare.backend import Backend


class BackendName(StrEnum):
    duckdb = "duckdb"
    spark = "spark"


class Split(StrEnum):
    auto = "auto"
    last_day = "last-day"
    last_share = "last-share"
    leave_one_out = "leave-one-out"


def command(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="CSV, TSV, JSON Lines or Parquet, plain or gzipped.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to fill; a killed run goes on in it.")],
    split: Annotated[
        Split,
        typer.Option(
            help="Test is the last day, the last share of the events, or each user's last item;"
            " validation is what lies before it. `auto` looks at the data."
        ),
    ] = Split.auto,
    test_share: Annotated[float, typer.Option(help="For last-share: events to test on.")] = 0.1,
    validation_share: Annotated[
        float, typer.Option(help="For last-share: events to choose by.")
    ] = 0.1,
    k_core: Annotated[
        int,
        typer.Option(
            "--k-core",
            help="Fewest events of users and of items, until all have them; 1: keep all.",
        ),
    ] = 1,
    user_core: Annotated[
        int | None, typer.Option(help="The same of users alone; without it --k-core.")
    ] = None,
    item_core: Annotated[
        int | None, typer.Option(help="The same of items alone; without it --k-core.")
    ] = None,
    backend: Annotated[
        BackendName, typer.Option(help="This machine (duckdb), or Apache Spark.")
    ] = BackendName.duckdb,
    master: Annotated[
        str, typer.Option(help="For spark: the cluster, as spark://host:7077, or local[N].")
    ] = "local[*]",
    memory_mib: Annotated[
        int, typer.Option(min=64, help="For duckdb: memory to work in; beyond it files are used.")
    ] = 2048,
    preset: PresetOption = None,
    mapping: MappingOption = None,
) -> None:
    """Clean click files, keep a k-core, cut them by time, fit statistics, and describe them.

    DIR gets events/ (Parquet by day and split, with sessions and features as the worker makes
    them), statistics.json, summary.json, report.html and manifest.json. `train DIR` learns from its
    training part and chooses by its validation part; `evaluate --test DIR` measures on its test
    part. A k-core counts the whole log, test included, as in published protocols.

    Example: clickahead prepare clicks-*.csv.gz --out prepared --k-core 5

    Example: clickahead prepare /data/clicks/*.parquet --out /data/prepared --backend spark
    --master spark://host:7077
    """
    from stream_app.files import parse_mapping
    from stream_app.prepare.clicks import Reading
    from stream_app.prepare.config import PrepareConfig, SplitKind
    from stream_app.prepare.manifest import REPORT_FILE, WORK_FOLDER, inputs_of, read_manifest
    from stream_app.prepare.pipeline import Request, finish, key_for, run
    from stream_app.prepare.report import write_report
    from stream_app.progress import progress

    config = PrepareConfig(
        split=SplitKind(split.value),
        test_share=test_share,
        validation_share=validation_share,
        user_core=k_core if user_core is None else user_core,
        item_core=k_core if item_core is None else item_core,
    )
    for path in files:
        if not path.is_file():
            raise UserError(f"{path} is no file; name click files.")
    core, console = settings_of(context).core_config(), Console(stderr=True)
    reading = Reading(preset, parse_mapping(mapping or ()), core)
    request = Request(tuple(path.resolve() for path in files), reading, config, out.resolve())
    found = read_manifest(out)
    with progress() as report:
        inputs = inputs_of(files, lambda done, total: report("hashing", done, total))
        key = key_for(request, inputs)
        if found is not None and found.key == key:
            typer.echo(f"{out} is prepared from these files with these settings already.")
            return
        if found is not None or (out.exists() and not _is_ours(out, WORK_FOLDER)):
            raise UserError(
                f"{out} holds something else already; name another folder, or remove it."
            )
        spill = request.out / WORK_FOLDER / "spill"
        with closing(_opened(context, backend, master, memory_mib, spill)) as made:
            prepared = run(
                request, inputs, made, report, lambda text: console.print(text, highlight=False)
            )
        write_report(request.out / REPORT_FILE, prepared)
        finish(request, prepared)
    parts = ", ".join(
        f"{part['events']:,} {name}" for name, part in prepared.summary.splits.items()
    )
    typer.echo(f"{parts} events by {prepared.manifest.cuts.kind.value} in {out}; see {REPORT_FILE}")


def _opened(
    context: typer.Context, backend: BackendName, master: str, memory_mib: int, spill: Path
) -> "Backend":
    if backend is BackendName.spark:
        from stream_app.prepare.on_spark import open_spark

        invocation = context.find_object(Invocation)
        return open_spark(master, {} if invocation is None else invocation.environ)
    from stream_app.prepare.on_duckdb import OnDuckDB

    return OnDuckDB(memory_mib, spill)


def _is_ours(folder: Path, work: str) -> bool:
    """Whether a folder is empty, or was begun by this command."""
    return not any(folder.iterdir()) or (folder / work).is_dir()
