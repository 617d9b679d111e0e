"""The data report: one HTML file with its pictures in it, and no id of a user or an item."""

from importlib.resources import files
from pathlib import Path

import jinja2

from stream_app.prepare.pipeline import Prepared
from stream_app.prepare.report_figures import figures_of, quantile


def write_report(path: Path, prepared: Prepared) -> None:
    """Write the report, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(report(prepared), encoding="utf-8")
    partial.replace(path)


def report(prepared: Prepared) -> str:
    """The report as HTML."""
    template = files("stream_app.prepare").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    summary = prepared.summary
    lengths = {
        name: {q: quantile(counts, share) for q, share in (("median", 0.5), ("90 %", 0.9))}
        for name, counts in (
            ("events of a session", summary.session_lengths),
            ("events of a user", summary.user_lengths),
            ("events of an item", summary.popularity),
        )
    }
    return environment.from_string(template).render(
        manifest=prepared.manifest,
        summary=summary,
        statistics=prepared.statistics,
        figures=figures_of(summary),
        lengths=lengths,
    )
