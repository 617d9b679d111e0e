"""The bound between a larger and a smaller model."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from model.bound import (
    REPORT_FILE,
    BoundError,
    Parity,
    check_bound,
    measured,
    net_costs_us,
    parity_table,
    publish,
    save_parity,
    sum_of,
)
from model.data import DataError
from model.nets import GruNet
from tests.model.logs import spec_of


def parity(after: int, bound: float = 0.98) -> Parity:
    """100 questions: the larger model finds 50 of them, the smaller one ``after``."""

    def found(hits: int) -> np.ndarray:
        return np.where(np.arange(100) < hits, 1, 100)

    before, small = (measured(name, found(n), 8) for name, n in (("a", 50), ("b", after)))
    return Parity(before=before, after=(small,), questions=100, bound=bound)


def test_the_bound_is_a_share_of_the_recall() -> None:
    assert parity(49).kept == pytest.approx(0.98)
    check_bound(parity(49))
    check_bound(parity(60))
    with pytest.raises(BoundError, match=r"keeps 96.00% of the Recall@20 of a.*nothing was exp"):
        check_bound(parity(48))


def test_the_report_says_what_the_bound_said(tmp_path: Path) -> None:
    save_parity(tmp_path, parity(40))
    found = json.loads((tmp_path / REPORT_FILE).read_text())
    assert (found["kept"], found["passes"], found["questions"]) == (0.8, False, 100)
    shown = parity_table(parity(40))
    assert (shown.row_count, len(shown.columns)) == (3, 3)


def test_costs_that_one_model_has_are_shown_for_both() -> None:
    plain = parity(49)
    timed = msgspec.structs.replace(plain.before, answer_us={"1": 9.0, "64": 2.5, "256": 2.0})
    shown = parity_table(msgspec.structs.replace(plain, before=timed))
    assert list(shown.columns[1].cells)[3:] == ["9.00", "2.50", "2.00"]
    assert list(shown.columns[2].cells)[3:] == ["-", "-", "-"]


def test_without_a_question_nothing_is_measured() -> None:
    with pytest.raises(DataError, match="no next item"):
        measured("a", np.zeros(0, np.int64), 8)


def test_costs_are_given_for_each_batch_size() -> None:
    spec = spec_of()
    ticks = iter(range(1_000_000))
    steps, answers = net_costs_us(
        GruNet(spec, torch.Generator().manual_seed(1)), spec, lambda: next(ticks) / 100
    )
    assert set(steps) == set(answers) == {"1", "64", "256"}
    assert steps["64"] == round(0.01 / 64 * 1e6, 2)
    assert sum_of([steps, answers])["1"] == 2 * steps["1"]


def test_what_is_published_is_whole(tmp_path: Path) -> None:
    (tmp_path / "work" / "inner").mkdir(parents=True)
    for name in ("manifest.json", "model.safetensors"):
        (tmp_path / "work" / name).write_text(name)
    publish(tmp_path / "work", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"manifest.json", "model.safetensors"}
