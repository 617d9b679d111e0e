"""Figures with their spread, held against the bars."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple


class Bar(NamedTuple):
    """What a figure has to reach, and what it aims at."""

    is_to_be: Literal["at least", "at most"]
    bar: float
    aim: float

    def is_met(self, value: float, wanted: float) -> bool:
        return value >= wanted if self.is_to_be == "at least" else value <= wanted


BARS: Mapping[str, Bar] = {
    "ratio_naive_faust": Bar("at least", 20, 40),
    "ratio_quix": Bar("at least", 4, 6),
    "ratio_bytewax": Bar("at least", 4, 6),
    "ratio_bytewax_batched": Bar("at least", 1.2, 2),
    "ratio_kafka_streams": Bar("at least", 2, 4),
    "ratio_naive_faust_43k": Bar("at least", 40, 70),
    "copy_ratio": Bar("at most", 3, 2),
    "topk_17k": Bar("at most", 0.9, 0.5),
    "topk_43k": Bar("at most", 0.6, 0.3),
    "topk_500k": Bar("at most", 1 / 20, 1 / 40),
    "recall_17k": Bar("at least", 0.995, 1),
    "recall_43k": Bar("at least", 0.995, 1),
    "recall_500k": Bar("at least", 0.98, 1),
    "p99_ratio": Bar("at most", 4, 2),
    "burst_seconds": Bar("at most", 3, 1),
    "flat_users": Bar("at most", 1.15, 1.05),
    "state_bytes": Bar("at most", 1_536, 1_126),
    "rss_gib": Bar("at most", 2.5, 1.8),
    "ready_seconds": Bar("at most", 3, 3),
}


class Figure(NamedTuple):
    """One figure of every round; what counts is the median."""

    key: str
    what: str
    rounds: Sequence[float]

    @property
    def value(self) -> float:
        return median(self.rounds)

    @property
    def bar(self) -> Bar | None:
        return BARS.get(self.key)

    @property
    def is_met(self) -> bool:
        """Whether it reaches its bar; what has none does."""
        return self.bar is None or self.bar.is_met(self.value, self.bar.bar)

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "what": self.what,
            "median": short(self.value),
            "least": short(min(self.rounds)),
            "most": short(max(self.rounds)),
            "rounds": [short(value) for value in self.rounds],
        }
        if self.bar is not None:
            found |= {self.bar.is_to_be: short(self.bar.bar), "aim": short(self.bar.aim)}
            found["is_met"] = self.is_met
        return found


def ratios(key: str, what: str, over: Sequence[float], under: Sequence[float]) -> Figure:
    """The ratio within each round: what slows a round slows both of its sides."""
    return Figure(key, what, [a / b for a, b in zip(over, under, strict=True)])


def short(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
