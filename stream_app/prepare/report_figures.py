"""Pictures of the data report, as SVG that stands in the HTML itself."""

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stream_app.prepare.config import SPLITS
from stream_app.prepare.summary import FUNNEL, Summary

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_GAPS_S = {"1 s": 1, "10 s": 10, "1 min": 60, "10 min": 600, "1 h": 3600, "1 d": 86_400}
_INK = "#2b5c8a"
_COLOURS = {"train": _INK, "validation": "#d08a2e", "test": "#a33b4a"}


def figures_of(summary: Summary) -> list[tuple[str, str]]:
    """Title and SVG of each picture that there is something to see in."""
    drawn = (
        ("Events by day", summary.days, _days),
        ("From view to purchase (sessions)", summary.funnel, _funnel),
        ("Events of a session, of a user, of an item", summary.session_lengths, _lengths),
        ("Popularity: share of the item events that the most frequent items have",
         summary.popularity, _popularity),
        ("Time between a user's events", summary.gaps, _gaps),
        ("Activity by hour and weekday (UTC)", summary.hours, _activity),
    )  # fmt: skip
    return [(title, _svg(summary, draw)) for title, content, draw in drawn if content]


def quantile(counts: Mapping[int, int], share: float) -> int:
    """The smallest value that at least ``share`` of the counted reach not beyond; 0 without any."""
    total, behind = sum(counts.values()), 0
    for value in sorted(counts):
        behind += counts[value]
        if behind >= share * total:
            return value
    return 0


def top_shares(popularity: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Share of the items, most frequent first, and the share of the events that they have."""
    values = np.array(sorted(popularity, reverse=True), np.float64)
    items = np.array([popularity[int(value)] for value in values], np.float64)
    events = np.cumsum(items * values)
    return np.cumsum(items) / items.sum(), events / events[-1]


def _svg(summary: Summary, draw: Callable[[Any, Summary], None]) -> str:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes, summary)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def _days(axes: Any, summary: Summary) -> None:
    days = list(summary.days)
    base = np.zeros(len(days))
    for split in SPLITS:
        height = np.array([summary.days[day].get(split, 0) for day in days])
        axes.bar(range(len(days)), height, bottom=base, color=_COLOURS[split], label=split, width=1)
        base = base + height
    shown = sorted({0, len(days) // 2, len(days) - 1})
    axes.set_xticks(shown, [days[place] for place in shown])
    axes.set_ylabel("events")
    axes.legend(frameon=False)


def _funnel(axes: Any, summary: Summary) -> None:
    steps = ("sessions", *FUNNEL)
    values = [summary.funnel[step] for step in steps]
    axes.barh(range(len(steps)), values, color=_INK)
    axes.set_yticks(range(len(steps)), steps)
    axes.invert_yaxis()
    for place, value in enumerate(values):
        share = value / values[0] if values[0] else 0
        axes.text(value, place, f" {value:,} ({share:.1%})", va="center")
    axes.margins(x=0.25)


def _lengths(axes: Any, summary: Summary) -> None:
    named = {
        "session": summary.session_lengths,
        "user": summary.user_lengths,
        "item": summary.popularity,
    }
    for name, counts in named.items():
        values = np.array(sorted(counts))
        numbers = np.array([counts[int(value)] for value in values], np.float64)
        beyond = np.cumsum(numbers[::-1])[::-1] / numbers.sum()
        axes.step(values, beyond, where="post", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("events")
    axes.set_ylabel("share with at least so many")
    axes.legend(frameon=False)


def _popularity(axes: Any, summary: Summary) -> None:
    share, reached = top_shares(summary.popularity)
    axes.plot(np.append(0, share), np.append(0, reached), color=_INK)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    axes.set_xlabel("share of the items")
    axes.set_ylabel("share of the events")


def _gaps(axes: Any, summary: Summary) -> None:
    values = np.array(list(summary.gaps), np.float64)
    axes.hist(values, bins=60, weights=np.array(list(summary.gaps.values())), color=_INK)
    axes.set_xticks([float(np.log1p(s)) for s in _GAPS_S.values()], list(_GAPS_S))
    axes.set_ylabel("events")


def _activity(axes: Any, summary: Summary) -> None:
    grid = np.zeros((7, 24))
    for place, count in summary.hours.items():
        grid[place // 24, place % 24] = count
    axes.pcolormesh(np.arange(25), np.arange(8), grid, cmap="Blues")
    axes.set_yticks(np.arange(7) + 0.5, WEEKDAYS)
    axes.set_xticks(range(0, 25, 3))
    axes.invert_yaxis()
    axes.set_xlabel("hour")
