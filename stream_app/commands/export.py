"""``clickahead export``: the served graph of a trained model, made anew."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A trained model's folder; `train` exports too.")],
) -> None:
    """Build the ONNX graph, check it against the weights, and choose the fastest honest scan."""
    from model.export import export

    report = export(model, progress=lambda stage: typer.echo(stage, err=True))
    typer.echo(f"scan {report.scan}, largest distance to the reference {report.parity:.2g}")
