import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.dashboard import GRID_COLUMNS, as_text, dashboard
from tests.deploy.observed import SCRAPE_LABELS, grouping_labels, selectors

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
ALL: list[dict[str, Any]] = dashboard()["panels"]
PANELS = [panel for panel in ALL if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
by_title = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def test_the_committed_dashboard_is_the_built_one() -> None:
    assert (FOLDER / "dashboard.json").read_text() == as_text(), (
        "run: python deploy/grafana/dashboard.py >deploy/grafana/dashboard.json"
    )


@by_title
def test_a_panel_says_what_it_shows_in_which_unit_from_the_chosen_source(
    panel: dict[str, Any],
) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == chosen
    assert all(target["datasource"] == chosen for target in panel["targets"])


@by_title
def test_a_panel_asks_for_what_a_worker_exposes(
    panel: dict[str, Any], samples: dict[str, list[dict[str, str]]]
) -> None:
    for target in panel["targets"]:
        read = selectors(target["expr"])
        assert read
        labels = set(SCRAPE_LABELS)
        for selector in read:
            assert selector.name in samples, f"{selector.name} is no metric of the worker"
            asked = {k: v for k, v in selector.matchers.items() if k not in SCRAPE_LABELS}
            assert any(asked.items() <= known.items() for known in samples[selector.name]), asked
            assert selector.matchers.keys() >= SCRAPE_LABELS, "every worker would be shown"
            labels |= {label for known in samples[selector.name] for label in known}
        grouped = grouping_labels(target["expr"])
        assert grouped <= labels
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped


def test_every_metric_of_the_worker_has_a_panel(
    samples: dict[str, list[dict[str, str]]],
) -> None:
    shown = {selector.name for expr in EXPRESSIONS for selector in selectors(expr)}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    ours = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in samples
        if name.startswith("clickahead_") and not name.endswith("_created")
    }
    assert ours <= families


def test_promtool_can_parse_every_expression(promtool: str, tmp_path: Path) -> None:
    settled = [
        expr.replace("$__rate_interval", "5m").replace("$job", "j").replace("$instance", ".*")
        for expr in EXPRESSIONS
    ]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(settled)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    ran = subprocess.run(  # noqa: S603 (promtool on a file of ours)
        [promtool, "check", "rules", file], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_panels_lie_inside_the_grid_and_not_upon_each_other() -> None:
    cells: dict[int, set[tuple[int, int]]] = {}
    for panel in ALL:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= GRID_COLUMNS
        cells[panel["id"]] = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
    assert len(cells) == len(ALL)
    for one, other in combinations(cells.values(), 2):
        assert not one & other


def test_grafana_is_provisioned_with_the_source_and_the_dashboard() -> None:
    provisioning = FOLDER / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
    (source,) = sources["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    boards = yaml.safe_load((provisioning / "dashboards" / "clickahead.yaml").read_text())
    compose = yaml.safe_load((FOLDER.parent / "docker" / "compose.yaml").read_text())
    mounted = compose["services"]["grafana"]["volumes"]
    path = boards["providers"][0]["options"]["path"]
    assert f"../grafana/dashboard.json:{path}/dashboard.json:ro" in mounted
