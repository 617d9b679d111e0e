"""An export writes a whole served model or nothing, and says why it chose its scan."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model import export as exporter
from model.calibration import save_calibration
from model.checkpoint import load, save
from model.engine import EngineError, open_engine
from model.export import Candidate, ExportError, ExportReport, choose, export, is_large
from model.measure import Agreement
from model.parity import ParityError
from model.served import GRAPH_FILES, INDEX_FILE, STEP_FILE, ScanName, Step
from model.stand_in import random_tokens
from tests.tiny_model import random_weights, tiny_spec

SPEC = tiny_spec(features=("a",))


def items_of(count: int) -> list[str]:
    return [f"i{code}" for code in range(count)]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    save(tmp_path / "model", SPEC, items_of(30), random_weights(SPEC))
    return tmp_path / "model"


def test_what_was_exported_opens_elsewhere(trained: Path, tmp_path: Path) -> None:
    report = export(trained, random_tokens(SPEC, rows=50, length=4, seed=1))
    elsewhere = tmp_path / "another" / "machine"
    shutil.copytree(trained, elsewhere)
    shutil.rmtree(trained)
    engine = open_engine(elsewhere)
    assert engine.version == f"tiny-{load(elsewhere).manifest.fingerprint}"
    step = msgspec.json.decode((elsewhere / STEP_FILE).read_bytes(), type=Step)
    assert msgspec.convert(step.measured, ExportReport) == report
    for name in GRAPH_FILES:
        assert str(tmp_path).encode() not in (elsewhere / name).read_bytes()


def test_two_exports_of_a_model_give_the_same_graphs(trained: Path) -> None:
    export(trained)
    first = [(trained / name).read_bytes() for name in GRAPH_FILES]
    export(trained)
    assert [(trained / name).read_bytes() for name in GRAPH_FILES] == first


def test_progress_hears_every_stage(trained: Path) -> None:
    heard: list[str] = []
    export(trained, progress=heard.append)
    assert heard[0] == "building the exact scan"
    assert len(heard) == len(set(heard)) >= 3


def test_nothing_is_written_when_the_graph_is_wrong(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = random_weights(SPEC, seed=1)
    build = exporter.graph.build
    monkeypatch.setattr(
        exporter.graph, "build", lambda spec, weights, *rest: build(spec, other, *rest)
    )
    before = sorted(trained.iterdir())
    with pytest.raises(ParityError):
        export(trained)
    assert sorted(trained.iterdir()) == before


def test_a_new_training_leaves_no_old_calibration(trained: Path) -> None:
    export(trained)
    save_calibration(trained, {"surprise": [1.0]})
    save(trained, SPEC, items_of(30), random_weights(SPEC, seed=1))
    export(trained)
    assert open_engine(trained).calibration == {}


@pytest.mark.parametrize("scale", [65.0, -65.0])
def test_a_logit_scale_that_would_overflow_is_refused(tmp_path: Path, scale: float) -> None:
    weights = random_weights(SPEC) | {"logit_scale": np.array(scale, dtype=np.float32)}
    save(tmp_path, SPEC, items_of(30), weights)
    with pytest.raises(ExportError, match="at most 64"):
        export(tmp_path)


def test_a_graph_too_large_to_serve_is_refused_before_it_is_built(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "MAX_GRAPH_BYTES", 4_000)
    with pytest.raises(ExportError, match="narrower"):
        export(trained)
    assert not any((trained / name).exists() for name in GRAPH_FILES)


@pytest.mark.parametrize("scan", ["int8", "projected"])
def test_an_approximate_scan_needs_a_catalogue(trained: Path, scan: ScanName) -> None:
    with pytest.raises(ExportError, match="the model has 30"):
        export(trained, scan=scan)


def candidates(recall: float, log_z_error: float) -> list[Candidate]:
    quality = Agreement(100, recall, 0.0, log_z_error, log_z_error)
    return [Candidate("exact", 10, {}), Candidate("int8", 10, {}, quality)]


@pytest.mark.parametrize(
    ("recall", "log_z_error", "scan"),
    [
        (1.0, 0.0, "int8"),
        (0.995, 0.05, "int8"),
        (0.994, 0.0, "exact"),
        (1.0, 0.051, "exact"),
    ],
)
def test_quality_chooses_the_scan(recall: float, log_z_error: float, scan: str) -> None:
    chosen, reason = choose(SPEC, candidates(recall, log_z_error), None)
    assert chosen == scan
    assert f"{recall:.4f}" in reason


def test_a_small_catalogue_is_scanned_exactly() -> None:
    assert choose(SPEC, candidates(1.0, 0.0)[:1], None) == (
        "exact",
        "240 numbers to scan are fewer than 640000",
    )


def test_few_items_are_never_large() -> None:
    assert is_large(tiny_spec(item_count=1_024, hidden_width=625))
    assert not is_large(tiny_spec(item_count=1_024, hidden_width=624))
    assert not is_large(tiny_spec(item_count=1_000, hidden_width=700))


def test_who_asks_for_a_scan_gets_it() -> None:
    assert choose(SPEC, candidates(0.5, 9.0), "int8")[0] == "int8"


def test_a_scan_that_does_not_suit_the_items_is_not_given_out() -> None:
    with pytest.raises(ExportError, match="as good as it has to be"):
        choose(SPEC, candidates(1.0, 0.0), "projected")


def test_a_large_catalogue_is_measured_and_scanned_along_directions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "APPROXIMATE_FROM_NUMBERS", 1_100 * 32)
    spec = tiny_spec(item_count=1_100, hidden_width=32)
    save(tmp_path, spec, items_of(1_100), random_weights(spec))
    report = export(tmp_path)
    assert report.scan == "projected"
    exact, projected = report.candidates
    assert projected.agreement is not None
    assert projected.agreement.queries == 8 * 256
    assert set(exact.latency_us) == set(projected.latency_us) == {"1", "64", "256"}
    assert open_engine(tmp_path).spec == spec

    (tmp_path / INDEX_FILE).write_bytes(b"another")
    with pytest.raises(EngineError, match="export the model again"):
        open_engine(tmp_path)


def test_odd_widths_are_scanned_in_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "APPROXIMATE_FROM_NUMBERS", 1_100 * 32)
    spec = tiny_spec(item_count=1_100, hidden_width=33)
    save(tmp_path, spec, items_of(1_100), random_weights(spec))
    assert export(tmp_path).scan == "int8"
    assert not (tmp_path / INDEX_FILE).exists()
