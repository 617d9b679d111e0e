"""Small random click logs, as rows and as files."""

import csv
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

START_S = 1_767_225_600  # 2026-01-01
HEADER = ("user_id", "item_id", "event_type", "timestamp", "dwell_ms", "event_id")


class Row(NamedTuple):
    user: int
    item: int  # 0: none
    action: str
    after_s: int  # since the row before
    dwell_ms: int


def logs(least: int = 1, most: int = 60) -> st.SearchStrategy[list[Row]]:
    row = st.builds(
        Row,
        user=st.integers(1, 6),
        item=st.integers(0, 7),
        action=st.sampled_from(("view", "view", "cart", "purchase")),
        after_s=st.sampled_from((0, 1, 40, 2_000, 30_000, 90_000, 40 * 86_400)),
        dwell_ms=st.sampled_from((0, 500, 30_000)),
    )
    return st.lists(row, min_size=least, max_size=most)


def write_csv(path: Path, rows: list[Row]) -> Path:
    at_s = START_S
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for number, row in enumerate(rows):
            at_s += row.after_s
            item = f"i{row.item}" if row.item else ""
            out.writerow((f"u{row.user}", item, row.action, at_s, row.dwell_ms, f"e{number}"))
    return path


def seeded(count: int) -> list[Row]:
    """A log that is long enough for every kind of split."""
    return [
        Row(
            user=1 + n // 3 % 23,
            item=n * 7 % 31 if n % 11 else 0,
            action=("view", "view", "cart", "purchase")[n % 4],
            after_s=(4_000, 7, 300, 0, 7, 300)[n % 6],
            dwell_ms=n * 37 % 5_000,
        )
        for n in range(count)
    ]
