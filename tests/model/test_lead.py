"""Leads are paired, and stand beside what they lead."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from model.lead import held_out, held_out_table, lead

RANKS = st.lists(st.integers(1, 30), min_size=1, max_size=20)


@given(RANKS)
def test_nothing_leads_itself(ranks: list[int]) -> None:
    found = lead(np.array(ranks), np.array(ranks), np.arange(len(ranks)))
    assert all(row == {"value": 0, "low": 0, "high": 0} for row in found.values())


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20))
def test_a_lead_is_a_difference_and_turns_round(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs).T
    found = held_out({"one": one, "other": other}, "one", np.arange(len(pairs)))
    back = lead(other, one, np.arange(len(pairs)))
    for name, row in found.leads["other"].items():
        difference = found.metrics["one"][name] - found.metrics["other"][name]
        np.testing.assert_allclose(row["value"], difference, atol=1e-9)
        np.testing.assert_allclose(row["low"], -back[name]["high"], atol=1e-9)
        assert row["low"] - 1e-9 <= row["high"]


def test_the_best_comes_first_in_the_table() -> None:
    ranks = {"worse": np.array([2, 9]), "better": np.array([1, 9]), "worst": np.array([30, 9])}
    console = Console(file=io.StringIO(), width=200)
    console.print(held_out_table(held_out(ranks, "better", np.arange(2))))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert shown.index("better") < shown.index("worse ") < shown.index("worst")
    assert "-0.2500" not in shown and "+0.2500 [+0.0000, +0.5000]" in shown
