"""Pictures of a model's report, as SVG that stands in the HTML itself."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

INK, OTHER, FAINT = "#2b5c8a", "#d08a2e", "#bbbbbb"
Metrics = Mapping[str, Any]
Draw = Callable[[Any], None]


def svg_of(draw: Draw, height: float = 3.2) -> str:
    """The SVG of what ``draw`` puts onto a pair of axes: the same bytes for the same picture."""
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    file = io.StringIO()
    with rc_context({"svg.hashsalt": "clickahead"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def learning_curves(history: Sequence[Metrics]) -> Draw:
    """Loss of each epoch, and Recall@20 and MRR@20 on what was held out where it was measured."""

    def draw(axes: Any) -> None:
        epochs = np.arange(1, len(history) + 1)
        axes.plot(epochs, [row["item_loss"] for row in history], color=INK, marker=".")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss of the next item, nats", color=INK)
        axes.xaxis.get_major_locator().set_params(integer=True)
        measured = [n for n, row in enumerate(history) if row.get("mrr_at_20") is not None]
        if not measured:
            return
        right = axes.twinx()
        right.spines["top"].set_visible(False)
        for name, mark in (("recall_at_20", "o-"), ("mrr_at_20", "s--")):
            values = [history[n][name] for n in measured]
            label = name.replace("_at_", "@")
            right.plot(epochs[measured], values, mark, color=OTHER, markersize=4, label=label)
        right.set_ylim(bottom=0)
        right.set_ylabel("held out", color=OTHER)
        right.legend(frameon=False, loc="center right")

    return draw


def slice_bars(slices: Mapping[str, Metrics], metric: str) -> Draw:
    """A metric of each kind of question that occurs, with its interval."""

    def draw(axes: Any) -> None:
        rows = {name: row for name, row in slices.items() if row["n"]}
        for place, row in enumerate(rows.values()):
            found = row["interval"][metric]
            axes.barh(place, found["value"], color=INK)
            axes.plot([found["low"], found["high"]], [place, place], color="black", linewidth=1)
        labels = [f"{name} ({row['n']:,})" for name, row in rows.items()]
        axes.set_yticks(range(len(rows)), labels)
        axes.invert_yaxis()
        axes.set_xlabel(metric)

    return draw


def calibration(curves: Mapping[str, Metrics]) -> Draw:
    """How often what was predicted came true, by its probability, of each thing predicted."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        for name, found in curves.items():
            points = found["curve"]
            axes.plot(
                [point["confidence"] for point in points],
                [point["accuracy"] for point in points],
                marker="o",
                markersize=4,
                label=f"{name}, ECE {found['ece']:.3f}",
            )
        axes.set_xlabel("probability")
        axes.set_ylabel("share that came true")
        axes.legend(frameon=False)

    return draw


def confusion(found: Metrics, actions: Sequence[str]) -> Draw:
    """Shares of what was answered where each action was right; rows add up to at most 1."""

    def draw(axes: Any) -> None:
        counts = np.array(found["confusion"], np.float64)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        names = [_plain(actions[code]) for code in found["classes"]]
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=30, ha="right")
        labels = [f"{n} ({int(c):,})" for n, c in zip(names, counts.sum(axis=1), strict=True)]
        axes.set_yticks(np.arange(len(names)) + 0.5, labels)
        axes.invert_yaxis()
        for row, column in np.ndindex(*shares.shape):
            ink = "white" if shares[row, column] > 0.5 else "black"
            text = f"{shares[row, column]:.2f}"
            axes.text(
                column + 0.5, row + 0.5, text, ha="center", va="center", color=ink, fontsize=8
            )
        axes.set_xlabel("answered")
        axes.set_ylabel("right")

    return draw


def volumes(rows: Sequence[Metrics], names: Sequence[str]) -> Draw:
    """Numbers of each class, predicted and actual, side by side."""

    def draw(axes: Any) -> None:
        kept = [n for n, row in enumerate(rows) if row["predicted"] >= 0.5 or row["actual"]]
        place = np.arange(len(kept))
        for shift, key, colour in ((-0.2, "predicted", OTHER), (0.2, "actual", INK)):
            axes.bar(place + shift, [rows[n][key] for n in kept], 0.4, color=colour, label=key)
        axes.set_xticks(place, [_plain(names[n]) for n in kept], rotation=30, ha="right")
        axes.set_ylabel("events")
        axes.legend(frameon=False)

    return draw


def item_volumes(rows: Sequence[Metrics]) -> Draw:
    """Of items that were predicted about equally often the mean number, predicted and actual."""

    def draw(axes: Any) -> None:
        predicted = np.array([row["predicted"] for row in rows])
        actual = np.array([row["actual"] for row in rows])
        seen = (actual > 0) & (predicted > 0)
        ends = [predicted[seen].min(), predicted[seen].max()] if seen.any() else [1, 1]
        axes.plot(ends, ends, color=FAINT, linewidth=0.8)
        size = [4 + 3 * np.log2(row["items"]) for row in rows]
        axes.scatter(predicted[seen], actual[seen], np.array(size)[seen] * 3, color=INK)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("predicted clicks of an item")
        axes.set_ylabel("actual clicks")

    return draw


def _plain(name: str) -> str:
    """A name as it is: between two dollars matplotlib would read a formula."""
    return name.replace("$", r"\$")


def gap_names(edges_ms: Sequence[int]) -> list[str]:
    """Intervals of time in words, one more than there are edges."""
    texts = [_duration(edge) for edge in edges_ms]
    inner = [f"{low}-{high}" for low, high in pairwise(texts)]
    return [f"< {texts[0]}", *inner, f">= {texts[-1]}"] if texts else ["any"]


def _duration(milliseconds: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds >= size:
            return f"{milliseconds / size:g} {unit}"
    return f"{milliseconds} ms"
