"""``clickahead broker``: the embedded Kafka, in the foreground."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.interrupts import ends_as_interrupts
from stream_app.invocation import ExitCode, Invocation, settings_of
from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.jars import cache_root
from stream_app.kafka.jars_progress import ensure_jars_shown
from stream_app.kafka.node import log_tail

KEPT = Path("build/kafka")
LOCAL = ("127.0.0.1", "localhost")
DEFAULT_PORT = 9092


def command(
    context: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="0 takes a free one; else the port of kafka.bootstrap_servers where that is on"
            " this machine.",
        ),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep the data in this folder and go on from it.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help=f"The same as --dir {KEPT}.")] = False,
) -> None:
    """Run a single-node Apache Kafka in the foreground; Ctrl-C stops it. Needs no Java."""
    servers = settings_of(context).kafka.bootstrap_servers
    invocation = context.ensure_object(Invocation)
    jars = ensure_jars_shown(cache_root(invocation.environ, Path.home()), Console(stderr=True))
    config = BrokerConfig(port=port_of(servers) if port is None else port or None)
    kept = KEPT if directory is None and keep else directory
    with ends_as_interrupts(), folder(kept) as data:
        try:
            with EmbeddedKafka(data, jars, config) as kafka:
                typer.echo(f"Kafka is ready at {kafka.bootstrap_servers}")
                typer.echo(f"data: {data}{'' if kept else ' (removed at the end)'}")
                typer.echo(f"log: {kafka.log_path(1)}")
                typer.echo("Ctrl-C stops it.")
                kafka.wait()
                log = kafka.log_path(1)
                typer.echo(
                    f"Kafka has ended by itself. The end of its log:\n{log_tail(log)}", err=True
                )
            raise typer.Exit(ExitCode.FAILED)
        except KeyboardInterrupt:
            typer.echo("Kafka is stopped.")


def port_of(servers: tuple[str, ...]) -> int:
    """The port that clients with these settings look for on this machine."""
    for server in servers:
        host, _, port = server.rpartition(":")
        if host in LOCAL:
            return int(port)
    return DEFAULT_PORT


@contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """The folder to keep, or one that is gone in the end."""
    if kept is not None:
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="clickahead-kafka-") as temporary:
        yield Path(temporary)
