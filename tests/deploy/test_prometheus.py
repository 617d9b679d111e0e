import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_app.settings import Settings
from tests.deploy.observed import SCRAPE_LABELS, grouping_labels, selectors

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
GROUPS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
README = (FOLDER.parents[1] / "README.md").read_text()
CASES = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yaml")],
    ids=" ".join,
)
def test_promtool_is_content(arguments: tuple[str, ...], promtool: str) -> None:
    ran = subprocess.run(  # noqa: S603 (promtool with arguments from this file)
        [promtool, *arguments], cwd=FOLDER, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_all_that_who_is_woken_by_it_needs(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "warning"}
    assert "for" in rule
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"README.md#runbook-{alert.lower()}"


@pytest.mark.parametrize("alert", ALERTS)
def test_the_readme_says_what_to_do_about_an_alert(alert: str) -> None:
    assert f"### Runbook: {alert}\n" in README


def test_the_readme_lists_every_metric_and_no_other(
    samples: dict[str, list[dict[str, str]]],
) -> None:
    listed = set(re.findall(r"^\| `(clickahead_\w+)` \|", README, flags=re.MULTILINE))
    ours = {name for name in samples if name.startswith("clickahead_")}
    histograms = {name.removesuffix("_bucket") for name in ours if name.endswith("_bucket")}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    created = {name for name in ours if name.endswith("_created")}
    assert listed == (ours - parts - created) | histograms


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_tested_where_it_fires_and_where_it_does_not(alert: str) -> None:
    fires = {
        bool(tested["exp_alerts"])
        for case in CASES
        for tested in case["alert_rule_test"]
        if tested["alertname"] == alert
    }
    assert fires == {True, False}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert", rule.get("record")))
def test_a_rule_reads_only_what_a_worker_exposes(
    rule: dict[str, Any], samples: dict[str, list[dict[str, str]]]
) -> None:
    read = selectors(rule["expr"])
    assert read or "up{" in rule["expr"]
    known_labels = set(SCRAPE_LABELS)
    for selector in read:
        if selector.name in RECORDED:
            known_labels |= {"kind"}
            continue
        assert selector.name in samples, f"{selector.name} is no metric of the worker"
        asked = {k: v for k, v in selector.matchers.items() if k not in SCRAPE_LABELS}
        assert any(asked.items() <= labels.items() for labels in samples[selector.name]), asked
        known_labels |= {label for labels in samples[selector.name] for label in labels}
    assert grouping_labels(rule["expr"]) <= known_labels


def test_the_cases_feed_series_that_a_worker_exposes(
    samples: dict[str, list[dict[str, str]]],
) -> None:
    for case in CASES:
        for series in case["input_series"]:
            for selector in selectors(series["series"]):
                assert selector.name in samples
                labels = set(selector.matchers) - SCRAPE_LABELS
                assert labels <= set(samples[selector.name][0]), series


def test_prometheus_scrapes_the_port_that_the_worker_serves_by_default() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = (j for j in config["scrape_configs"] if j["job_name"] == "clickahead")
    assert job["static_configs"] == [{"targets": [f"worker:{Settings().worker.metrics_port}"]}]
    assert config["rule_files"] == ["rules.yaml"]


def test_a_worker_of_many_partitions_stays_below_the_sample_limit(
    samples: dict[str, list[dict[str, str]]],
) -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    by_partition = [labels for sets in samples.values() for labels in sets if "partition" in labels]
    fixed = sum(map(len, samples.values())) - len(by_partition)
    assert fixed + 256 * len(by_partition) < config["scrape_configs"][0]["sample_limit"]
