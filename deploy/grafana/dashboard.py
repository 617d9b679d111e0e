"""The Grafana dashboard as Python: its JSON is too long to review.

python deploy/grafana/dashboard.py >deploy/grafana/dashboard.json
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WORKERS = 'job="$job",instance=~"$instance"'
GRID_COLUMNS = 24


class Query(NamedTuple):
    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """One panel; ``style`` is a Grafana visualisation, sizes are in grid cells."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    style: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False


class Row(NamedTuple):
    title: str
    panels: Sequence[Panel]


def rate(metric: str, by: str = "", **matchers: str) -> str:
    """Events a second of a counter, over all chosen workers."""
    picked = "".join(f',{label}="{value}"' for label, value in matchers.items())
    return f"sum by ({by}) (rate({metric}{{{WORKERS}{picked}}}[$__rate_interval]))"


def quantile(q: float, histogram: str, by: str = "") -> str:
    buckets = rate(f"{histogram}_bucket", by=f"{by}, le" if by else "le")
    return f"histogram_quantile({q}, {buckets})"


def gauge(metric: str, by: str = "", fold: str = "sum") -> str:
    return f"{fold} by ({by}) ({metric}{{{WORKERS}}})"


def share(part: str, whole: str) -> str:
    return f"{part} / {whole}"


EVENTS = "clickahead_events_total"
LATENCY = "clickahead_event_to_prediction_seconds"
PART = "clickahead_latency_part_seconds"
PREDICTED = rate(EVENTS, outcome="predicted")

NOW = Row(
    "Now",
    [
        Panel("Events", "Input records a second, whatever became of them.", "ops",
              [Query(rate(EVENTS))], "stat", 4, 4),
        Panel("Latency p99", "99 % of the events have their prediction committed within this time"
              " of their append.", "s", [Query(quantile(0.99, LATENCY))], "stat", 4, 4),
        Panel("Lag", "Age of the oldest input record that is not processed, worst partition.", "s",
              [Query(gauge("clickahead_consumer_lag_seconds", fold="max"))], "stat", 4, 4),
        Panel("Rejected", "Share of the input that goes to the dead-letter topic.", "percentunit",
              [Query(share(rate(EVENTS, outcome="rejected"), rate(EVENTS)))], "stat", 4, 4),
        Panel("Open alerts", "Users with an open anomaly alert.", "short",
              [Query(gauge("clickahead_alerts_open"))], "stat", 4, 4),
        Panel("Users", "Users with state, over all partitions.", "short",
              [Query(gauge("clickahead_state_users"))], "stat", 4, 4),
    ],
)  # fmt: skip

FLOW = Row(
    "Flow and rejects",
    [
        Panel("Events by outcome", "Every input record has exactly one outcome.", "ops",
              [Query(rate(EVENTS, "outcome"), "{{outcome}}")], stacked=True),
        Panel("Rejected by reason", "Why records went to the dead-letter topic; their bytes are"
              " there.", "ops", [Query(rate("clickahead_rejected_total", "reason"), "{{reason}}")],
              stacked=True),
        Panel("Batch size", "Events in a micro-batch. It grows with the load: a batch is what has"
              " arrived while the one before was delivered.", "short",
              [Query(quantile(q, "clickahead_batch_events"), f"p{q * 100:g}")
               for q in (0.5, 0.99)]),
        Panel("Batches", "Micro-batches delivered a second, each by a commit of its own.", "ops",
              [Query(rate("clickahead_batch_events_count", "instance"), "{{instance}}")]),
        Panel("Stubs", "Outputs too large for their topic, replaced by a stub.", "ops",
              [Query(rate("clickahead_oversized_outputs_total"), "stubs")]),
    ],
)  # fmt: skip

TIMING = Row(
    "Latency",
    [
        Panel("Event to prediction", "From the broker's append of an event to the commit of its"
              " prediction.", "s",
              [Query(quantile(q, LATENCY), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99, 0.999)]),
        Panel("Latency by part", "Mean time of an event from its append to its commit: in the"
              " broker, until its turn, for its batch, in the model, being delivered.", "s",
              [Query(share(rate(f"{PART}_sum", "part"), rate(f"{PART}_count", "part")),
                     "{{part}}")], stacked=True),
        Panel("Stages p99", "Time of a micro-batch in each stage; wait is before its turn.",
              "s", [Query(quantile(0.99, "clickahead_stage_seconds", "stage"), "{{stage}}")]),
        Panel("Share of the time by stage", "Seconds of work a second; a worker has one thread, and"
              " waiting and committing leave it free.", "s",
              [Query(rate("clickahead_stage_seconds_sum", "stage"), "{{stage}}")], stacked=True),
        Panel("Slow predictions", "Share that takes more than 0.25 s; the objective is 1 % over a"
              " month.", "percentunit",
              [Query("1 - " + share(rate(f"{LATENCY}_bucket", le="0.25"), rate(f"{LATENCY}_count")),
                     "over 0.25 s")]),
        Panel("Event loop lag p99", "How late timers run: something held the worker's thread.", "s",
              [Query(quantile(0.99, "clickahead_event_loop_lag_seconds", "instance"),
                     "{{instance}}")]),
    ],
)  # fmt: skip

LAG = Row(
    "Lag and recovery",
    [
        Panel("Lag in seconds", "Age of the oldest record that is not processed.", "s",
              [Query(gauge("clickahead_consumer_lag_seconds", "partition", "max"),
                     "partition {{partition}}")]),
        Panel("Lag in records", "Input records that are not processed.", "short",
              [Query(gauge("clickahead_consumer_lag_records", "partition"),
                     "partition {{partition}}")]),
        Panel("Progress", "Offsets a second; a flat line at zero beside a lag is a stall.", "ops",
              [Query(f"sum by (partition) (deriv(clickahead_next_offset{{{WORKERS}}}[5m]))",
                     "partition {{partition}}")]),
        Panel("Watermark lag", "Wall clock minus event time. Sessions close by the watermark: an"
              " idle partition needs `clickahead heartbeat`.", "s",
              [Query(gauge("clickahead_watermark_lag_seconds", "partition", "max"),
                     "partition {{partition}}")]),
        Panel("Recovery", "Changelog offsets that a worker still has to read before it serves.",
              "short", [Query(gauge("clickahead_recovery_remaining_records", "instance"),
                              "{{instance}} remaining"),
                        Query(gauge("clickahead_recovering", "instance"),
                              "{{instance}} recovering")]),
        Panel("Last recovery", "How long it took from the assignment to the first prediction.", "s",
              [Query(gauge("clickahead_recovery_seconds", "instance", "max"), "{{instance}}")]),
        Panel("Restored", "Changelog records applied a second.", "ops",
              [Query(rate("clickahead_recovery_restored_records_total", "instance"),
                     "{{instance}}")]),
        Panel("Restored bytes", "Bytes of those records.", "Bps",
              [Query(rate("clickahead_recovery_restored_bytes_total", "instance"),
                     "{{instance}}")]),
        Panel("State files", "Files from which a restart begins: written, read, refused for a"
              " reason that the log tells, or failed, as on a full disk.", "short",
              [Query("sum by (outcome) (increase(clickahead_state_files_total"
                     f"{{{WORKERS}}}[15m]))", "{{outcome}}")]),
        Panel("Writing state files", "How long the last one took, and bytes a second.", "s",
              [Query(gauge("clickahead_state_file_seconds", "instance", "max"), "{{instance}}"),
               Query(rate("clickahead_state_file_bytes_total", "instance"),
                     "{{instance}} bytes a second")]),
        Panel("Rebalances", "Assignments from the consumer group in 15 minutes, and the partitions"
              " that a worker holds.", "short",
              [Query(f"sum by (instance) (increase(clickahead_rebalances_total{{{WORKERS}}}[15m]))",
                     "{{instance}} rebalances"),
               Query(gauge("clickahead_assigned_partitions", "instance"),
                     "{{instance}} partitions")]),
    ],
)  # fmt: skip

MODEL = Row(
    "Model",
    [
        Panel("Served models", "Model and version of each worker; during a roll-out there are two.",
              "short", [Query(gauge("clickahead_model_info", "instance, model, version"),
                              "{{instance}} {{model}} {{version}}")]),
        Panel("Age of the model", "Time since it was trained.", "s",
              [Query("time() - " + gauge("clickahead_model_trained_timestamp_seconds", "model",
                                         "min"), "{{model}}")]),
        Panel("Fallbacks", "Share of the predictions for which the model's vocabulary would not"
              " do.", "percentunit",
              [Query(share(rate("clickahead_fallbacks_total"), PREDICTED), "fallback")]),
        Panel("Workers", "Versions and guarantees that run.", "short",
              [Query(gauge("clickahead_worker_info", "version, delivery"),
                     "{{version}} {{delivery}}")]),
        Panel("Scan recall", "Of a large catalogue's exact best items, the share that was predicted"
              " where that was looked at.", "percentunit",
              [Query(gauge("clickahead_scan_recall_ratio", "instance", "min"), "{{instance}}")]),
    ],
)  # fmt: skip

ORDERS = Row(
    "Orders, quality and overload",
    [
        Panel("Answering models", "Model version that answers each partition, and the shadow beside"
              " it.", "short", [Query(gauge("clickahead_route_info", "partition, arm, version"),
                                      "{{partition}} {{arm}} {{version}}")]),
        Panel("Live recall", "Share of the events whose item was among the user's last predictions;"
              " a shadow beside the live model on the events that both could judge.", "percentunit",
              [Query(share(rate("clickahead_recall_hits_total"),
                           rate("clickahead_recall_judged_total")), "live"),
               Query(share(rate("clickahead_shadow_hits_total"),
                           rate("clickahead_shadow_judged_total")), "shadow"),
               Query(share(rate("clickahead_shadow_live_hits_total"),
                           rate("clickahead_shadow_judged_total")), "live beside it")]),
        Panel("Shadow divergence", "Mean KL divergence of the shadow's next action from the live"
              " model's, in nats.", "short",
              [Query(share(rate("clickahead_shadow_divergence_nats_total"),
                           rate("clickahead_shadow_steps_total")), "divergence")]),
        Panel("Shadow overlap", "Mean share of the live top-K that the shadow names, too.",
              "percentunit", [Query(share(rate("clickahead_shadow_overlap_total"),
                                          rate("clickahead_shadow_steps_total")), "overlap")]),
        Panel("Shadow failures", "Micro-batches in which the shadow gave up.", "ops",
              [Query(rate("clickahead_shadow_failures_total"), "failures")]),
        Panel("Degradation", "What overload leaves out: 1 reasons of alerts, 2 all but 5 items, 3"
              " the model's item scan.", "short",
              [Query(gauge("clickahead_degraded_level", "partition", "max"),
                     "partition {{partition}}")]),
        Panel("Applied orders", "Offset of clickahead.control behind the last order in force.",
              "short", [Query(gauge("clickahead_control_offset", "partition", "max"),
                              "partition {{partition}}")]),
        Panel("Applied catalogue", "Offset of clickahead.items behind the last record in force.",
              "short", [Query(gauge("clickahead_items_offset", "partition", "max"),
                              "partition {{partition}}")]),
        Panel("Refused orders", "Records of the side inputs that could not be applied.", "ops",
              [Query(rate("clickahead_refused_orders_total", "topic"), "{{topic}}")]),
        Panel("Roll-backs", "Promotions that the guard took back in an hour.", "short",
              [Query(f"sum by (what) (increase(clickahead_guard_rollbacks_total{{{WORKERS}}}[1h]))",
                     "{{what}}")]),
        Panel("Made anew", "Predictions published anew for late events, memories rebuilt under"
              " another model, users erased.", "ops",
              [Query(rate("clickahead_corrections_total"), "corrections"),
               Query(rate("clickahead_rebuilt_memories_total"), "memories"),
               Query(rate("clickahead_erased_users_total"), "erased users")]),
    ],
)  # fmt: skip

ANOMALIES = Row(
    "Anomalies",
    [
        Panel("Flag rate", "Alerts opened, of all that each detector judged, over an hour, beside"
              " the share that it may flag by chance.", "percentunit",
              [Query(f"sum by (kind) (increase(clickahead_flags_total{{{WORKERS}}}[1h])) / "
                     f"sum by (kind) (increase(clickahead_judged_total{{{WORKERS}}}[1h]))",
                     "{{kind}}"),
               Query(gauge("clickahead_flag_budget_ratio", fold="max"), "budget")]),
        Panel("Alerts opened", "Alerts that opened, a second.", "ops",
              [Query(rate("clickahead_flags_total", "kind"), "{{kind}}")]),
        Panel("Open alerts", "Users with an open alert.", "short",
              [Query(gauge("clickahead_alerts_open", "partition"), "partition {{partition}}")]),
        Panel("Calibration", "Scores in each detector's smallest reservoir; below ten times one"
              " over the flag rate it flags nothing.", "short",
              [Query(gauge("clickahead_calibration_scores", "kind", "min"), "{{kind}}"),
               Query("10 / " + gauge("clickahead_flag_budget_ratio", fold="max"), "needed")]),
    ],
)  # fmt: skip

STATE = Row(
    "State and process",
    [
        Panel("Users", "Users with state.", "short",
              [Query(gauge("clickahead_state_users", "partition"), "partition {{partition}}")],
              stacked=True),
        Panel("State", "Packed bytes of the users' state, as the changelog holds it.", "bytes",
              [Query(gauge("clickahead_state_bytes", "partition"), "partition {{partition}}")],
              stacked=True),
        Panel("Memory", "Resident memory of the worker process.", "bytes",
              [Query(gauge("process_resident_memory_bytes", "instance"), "{{instance}}")]),
        Panel("CPU", "Cores in use; one is all that a worker can use.", "short",
              [Query(rate("process_cpu_seconds_total", "instance"), "{{instance}}"),
               Query(rate("clickahead_inference_cpu_seconds_total", "instance"),
                     "{{instance}} in models")]),
        Panel("Garbage collections", "Runs of Python's collector, by generation.", "ops",
              [Query(rate("python_gc_collections_total", "generation"), "{{generation}}")]),
        Panel("Open files", "File descriptors, beside the limit.", "short",
              [Query(gauge("process_open_fds", "instance"), "{{instance}}"),
               Query(gauge("process_max_fds", "instance", "min"), "{{instance}} limit")]),
    ],
)  # fmt: skip

ROWS = (NOW, FLOW, TIMING, LAG, MODEL, ORDERS, ANOMALIES, STATE)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "clickahead",
        "title": "ClickAhead",
        "tags": ["clickahead"],
        "schemaVersion": 39,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(variables())},
        "panels": list(laid_out(ROWS)),
    }


def variables() -> Iterator[dict[str, Any]]:
    """What a reader chooses at the top: data source, job and workers."""
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }
    for name, query, several in (
        ("job", "label_values(clickahead_worker_info, job)", False),
        ("instance", 'label_values(clickahead_worker_info{job="$job"}, instance)', True),
    ):
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": several,
            "includeAll": several,
        }


def laid_out(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Rows one below the other, their panels from left to right as far as the grid goes."""
    number, y = 0, 0
    for row in rows:
        number += 1
        at = {"x": 0, "y": y, "w": GRID_COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": at, "panels": []}
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > GRID_COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            at = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": at, **drawn(panel)}
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def drawn(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.style == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }
    return {
        "type": panel.style,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or panel.title,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def as_text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_text())
