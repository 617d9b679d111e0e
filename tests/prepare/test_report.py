"""The report holds its pictures, and names nobody."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.prepare.config import SplitKind
from stream_app.prepare.report import write_report
from stream_app.prepare.report_figures import quantile, top_shares
from tests.prepare.logs import seeded, write_csv
from tests.prepare.test_pipeline import prepare


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_one_file_with_pictures_and_without_ids(tmp_path: Path) -> None:
    rows = seeded(400)
    path = write_csv(tmp_path / "log.csv", rows)
    text = (
        path.read_text()
        .replace("\nu", "\nperson-")
        .replace(",i", ",thing-")
        .replace(",thing-tem", ",item")
    )
    path.write_text(text)
    made = prepare(path, tmp_path / "out", split=SplitKind.last_share)
    write_report(tmp_path / "report.html", made)
    found = (tmp_path / "report.html").read_text()
    assert found.count("<svg") == 6
    assert not re.search(r"person-|thing-|<script|<link|src=", found)
    assert "person-" not in (tmp_path / "out" / "summary.json").read_text()
    assert f"{made.summary.splits['train']['events']:,}" in found


@given(counts=st.dictionaries(st.integers(1, 50), st.integers(1, 9), min_size=1))
def test_quantiles_and_shares_are_those_of_the_values(counts: dict[int, int]) -> None:
    values = np.sort(np.repeat(list(counts), list(counts.values())))
    assert quantile(counts, 0.5) == values[(len(values) + 1) // 2 - 1]
    share, reached = top_shares(counts)
    assert share[-1] == reached[-1] == 1
    assert (reached >= share - 1e-12).all()
