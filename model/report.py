"""A model's report: one HTML file with its figures, its rivals and its pictures in it."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from model import checkpoint
from model.action_contest import NET
from model.checkpoint import Manifest, write_atomically
from model.lineage import learned_from
from model.report_figures import (
    calibration,
    confusion,
    gap_names,
    item_volumes,
    learning_curves,
    slice_bars,
    svg_of,
    volumes,
)

RANKING = ("recall@5", "recall@10", "recall@20", "ndcg@10", "mrr@20")
ACTION = ("accuracy", "macro_f1", "leaning_f1", "macro_auc", "ece")
INTENT = ("share", "precision", "recall", "f1", "auc", "average_precision", "ece")
LEADS = ("recall@20", "mrr@20")


def write_report(
    path: Path, directory: Path, metrics: Mapping[str, Any], notices: Sequence[str] = ()
) -> None:
    """Write the report on the model in ``directory``, whole or not at all.

    ``metrics`` is what ``evaluate`` gave, with ``against`` in it where rivals were asked, too.
    ``notices`` are sentences on what was measured.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = report(directory, metrics, notices)
    write_atomically(path, text.encode())


def report(directory: Path, metrics: Mapping[str, Any], notices: Sequence[str] = ()) -> str:
    """The report as HTML."""
    manifest = checkpoint.load(directory).manifest
    spec, net = manifest.spec, manifest.net
    against = metrics.get("against") or {}
    heads = _heads(metrics, against)
    shape = f", {net.layers} layers, {net.heads} heads" if net.name == "transformer" else ""
    about = (
        f"{net.name}{shape}, {spec.hidden_width} hidden numbers, {len(spec.actions)} actions, "
        f"{len(spec.features)} features; created {manifest.created_at or 'at an unknown time'}"
    )
    source = files("model").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.from_string(source).render(
        version=f"{spec.name}-{manifest.fingerprint}",
        about=about,
        learned=learned_from(manifest),
        items=spec.item_count,
        notices=notices,
        metrics=metrics,
        columns=RANKING,
        ranking=_ranking(metrics, against),
        leader=against.get("leader"),
        leads=against.get("differences"),
        lead_columns=LEADS,
        head_columns=_head_columns(heads, metrics),
        heads=heads,
        intent_columns=INTENT,
        intents=[
            {"name": name, "metrics": metrics[name]}
            for name in ("cart", "purchase")
            if metrics[name]["n"] and metrics[name]["share"]
        ],
        figures=[
            (title, svg_of(draw, height))
            for title, draw, height in _figures(manifest, directory, metrics)
        ],
        settings=manifest.config,
    )


def _ranking(metrics: Mapping[str, Any], against: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table: the model, then its rivals, the best first, then what is published."""
    members = {k: v for k, v in against.get("members", {}).items() if k != NET}
    others = {**metrics["baselines"], **members}
    ordered = sorted(others.items(), key=lambda row: -row[1]["mrr@20"])
    split = metrics["published"] or {"anchors": ()}
    return [
        {"name": "model", "kind": "model", "metrics": metrics},
        *({"name": name, "kind": "other", "metrics": row} for name, row in ordered),
        *(
            {"name": f"{a['system']}, published", "kind": "published", "metrics": a["metrics"]}
            for a in split["anchors"]
        ),
    ]


def _head_columns(heads: list[dict[str, Any]], metrics: Mapping[str, Any]) -> list[str]:
    names = [metrics["actions"][int(code)] for code in metrics["action"].get("auc", ())]
    told = [name for name in ACTION if any(name in row["metrics"] for row in heads)]
    return [*told, *(f"AUC {name}" for name in names)]


def _heads(metrics: Mapping[str, Any], against: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of next actions; none where the log has no action to foretell."""
    if len(metrics["action"].get("classes", ())) < 2:
        return []
    rows = against.get("actions") or {NET: metrics["action"]}
    names = metrics["actions"]
    return [
        {
            "name": name,
            "kind": "model" if name == NET else "other",
            "metrics": row | {f"AUC {names[int(c)]}": auc for c, auc in row["auc"].items()},
        }
        for name, row in rows.items()
    ]


def _figures(
    manifest: Manifest, directory: Path, metrics: Mapping[str, Any]
) -> list[tuple[str, Any, float]]:
    """Title, drawing and height in inches of each picture that there is something to see in."""
    action, volume = metrics["action"], metrics["predicted_actual"]
    many = len(action.get("classes", ())) > 1
    curves = {"best item": metrics["item_calibration"]}
    curves |= {"next action": action} if many else {}
    for name in ("cart", "purchase"):
        curves |= {name: metrics[name]} if metrics[name]["n"] and metrics[name]["share"] else {}
    kinds = sum(row["n"] > 0 for row in metrics["slices"].values())
    tall = 1 + 0.28 * kinds
    size = 1.6 + 0.36 * len(action.get("classes", ()))
    gaps = gap_names(metrics["gap_edges_ms"])
    found = [
        (f"Learning curves ({name})", learning_curves(history), 3.2)
        for name, history in _histories(manifest, directory)
    ]
    found += [(f"{m} by kind of question", slice_bars(metrics["slices"], m), tall) for m in LEADS]
    found.append(("Calibration", calibration(curves), 3.6))
    if many:
        found.append(
            ("Next action: answered and right", confusion(action, metrics["actions"]), size)
        )
        drawn = volumes(volume["actions"], metrics["actions"])
        found.append(("Next actions, predicted and actual", drawn, 3.2))
    if volume["gaps"]:
        drawn = volumes(volume["gaps"], gaps)
        found.append(("Time to the next event, predicted and actual", drawn, 3.2))
    found.append(("Clicks of items, predicted and actual", item_volumes(volume["items"]), 3.6))
    return found


def _histories(manifest: Manifest, directory: Path) -> list[tuple[str, Any]]:
    """Epochs of the run that chose their number, where it lies beside the model, and of the
    model's own."""
    runs = []
    chosen = directory / checkpoint.CHOSEN
    if (chosen / checkpoint.MANIFEST_FILE).exists():
        probe = checkpoint.load(chosen).manifest
        if probe.data_hash == manifest.data_hash:
            runs.append(("with a part held out", probe.metrics.get("history")))
    runs.append(("of this model", manifest.metrics.get("history")))
    return [(name, history) for name, history in runs if history]
