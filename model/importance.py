"""What a search found, for a terminal and as a picture."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from model.checkpoint import write_atomically
from model.tune import Outcome


def outcome_table(outcome: Outcome) -> Table:
    """Each setting with its best value and its importance, the most important first."""
    shown = Table(
        title=f"held out MRR@20 {outcome.mrr_at_20:.4f}, {outcome.first:.4f} with the preset",
        caption=f"{outcome.finished} trials, {outcome.pruned} of them stopped early",
    )
    for heading in ("setting", "best", "importance"):
        shown.add_column(heading, justify="right")
    for name in sorted(outcome.settings, key=lambda name: -outcome.importance.get(name, 0.0)):
        value = outcome.settings[name]
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        share = outcome.importance.get(name)
        shown.add_row(name, text, "-" if share is None else f"{share:.3f}")
    return shown


def draw_importance(importance: Mapping[str, float], path: Path) -> None:
    """Write bars of the settings' importance as PNG."""
    names = sorted(importance, key=lambda name: importance[name])
    figure = Figure(figsize=(6, 0.5 + 0.4 * max(1, len(names))), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(names, [importance[name] for name in names], color="#4c72b0")
    axes.set_xlabel("share of the variance of MRR@20 (fANOVA)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_atomically(path, content.getvalue())
