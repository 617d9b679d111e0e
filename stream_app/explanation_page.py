"""An explanation as a page for people. What strangers sent is shown without its power."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from stream_app.explanation import Explanation
from stream_app.explanation_parts import Expected, ModelStep, WindowEvent
from stream_app.kafka.readable import printable
from stream_app.source_names import source_name

SHOWN_ITEMS = 5


def explanation_page(told: Explanation) -> list[str]:
    """Printable lines."""
    lines = [*_verdict(told), "", *_event(told), "", *_window(told.window)]
    if told.step is not None:
        lines += ["", *_step(told.step)]
    lines += ["", *_conditions(told)]
    return [printable(line) for line in lines]


def _verdict(told: Explanation) -> Iterator[str]:
    if told.identical is None:
        yield "nothing was published for this record; what the replay makes of it:"
    elif told.identical:
        yield "identical: the replay made the same bytes as were published"
    else:
        yield "DIFFERENT: the replay made something else than was published"
        for row in told.differences:
            yield f"  {row.topic} {row.field}: published {row.published!r},"
            yield f"    recomputed {row.recomputed!r}"
    outputs = told.published if told.identical is not None else told.recomputed
    for prediction in outputs.get("predictions", []):
        yield from _prediction(prediction)
    for anomaly in outputs.get("anomalies", []):
        yield from _anomaly(anomaly)
    for refusal in outputs.get("rejected", []):
        yield f"rejected   {refusal['reason']}: {refusal['detail']}"
    if not outputs:
        yield "no output: a duplicate, or a heartbeat"


def _prediction(output: dict[str, Any]) -> Iterator[str]:
    yield f"prediction {output['event_id']}, revision {output['revision']}"
    items = ", ".join(
        f"{item['item_id']} {item['probability']:.4f}" for item in output["items"][:SHOWN_ITEMS]
    )
    yield f"  next item    {items or 'none'}"
    actions = sorted(output["actions"].items(), key=lambda pair: -pair[1])[:SHOWN_ITEMS]
    yield "  next action  " + ", ".join(f"{name} {share:.4f}" for name, share in actions)
    cart, purchase = _number(output["cart"]), _number(output["purchase"])
    yield f"  in session   cart {cart}, purchase {purchase}"
    verdict = output["anomaly"]
    yield (
        f"  verdict      {verdict['state']}, score {verdict['score']} nats,"
        f" p-value {_number(verdict['p_value'])}"
    )
    if output["fallback"]:
        yield f"  fallback     {output['fallback']}"


def _anomaly(output: dict[str, Any]) -> Iterator[str]:
    yield f"alert      {output['alert_id']}, {output['kind']}, {output['phase']}"
    yield (
        f"  p-value      {output['p_value']} of {output['calibration']} calibration scores,"
        f" flagged at {output['threshold']}; score {output['score']} nats"
    )
    for reason in output["reasons"]:
        instead = ", ".join(f"{a['value']} {a['probability']:.4f}" for a in reason["expected"])
        yield (
            f"  {reason['what']:<12} {reason['observed']} had probability"
            f" {reason['probability']}; expected {instead or 'nothing in particular'}"
        )


def _event(told: Explanation) -> Iterator[str]:
    yield f"source     {source_name(told.source)}, arrived {_time(told.arrived_ms)}"
    if told.caused_by is None:
        yield "  caused by an order, between two input records"
    elif told.caused_by != told.source.offset:
        yield f"  caused by the input record at offset {told.caused_by}"
    yield f"user       {told.user or 'none'}" + (f" ({told.user_id})" if told.user_id else "")
    if told.event is not None:
        given = ", ".join(f"{name} {value}" for name, value in told.event.items() if value)
        yield f"event      {given}"
    if told.published_ms is not None:
        yield f"published  {_time(told.published_ms)}"
    if told.latency:
        yield "latency    " + ", ".join(f"{name} {value}" for name, value in told.latency.items())


def _window(window: Sequence[WindowEvent]) -> Iterator[str]:
    yield f"window     {len(window)} events of the user; surprise in nats"
    for event in window:
        if event.starts_session:
            yield "  --- session"
        mark = "=>" if event.is_this else "  "
        yield (
            f"{mark} {_time(event.at_ms)}  {event.action:<12} {event.item or '-':<24}"
            f" {event.surprise:8.3f}"
        )


def _step(step: ModelStep) -> Iterator[str]:
    known = "known item" if step.is_known_item else "unknown item, or none"
    yield (
        f"step       item surprise {step.item_surprise} nats, action surprise"
        f" {step.action_surprise} nats; {known}; time since the last: {step.gap}"
    )
    for what, expected in (("items", step.expected_items), ("actions", step.expected_actions)):
        yield f"  expected {what:<8} {_expected(expected)}"
    for name, value in step.features.items():
        yield f"  feature {name:<18} {value}"


def _conditions(told: Explanation) -> Iterator[str]:
    conditions, memory, rebuilt = told.conditions, told.memory, told.rebuilt
    yield f"model      {conditions.model}, arm {conditions.arm}"
    if memory is not None:
        yield (
            f"  memory       {memory.width} x {memory.dtype}, norm {_number(memory.norm_before)} ->"
            f" {_number(memory.norm_after)}, log_z {_number(memory.log_z_before)} ->"
            f" {_number(memory.log_z_after)}"
        )
    yield (
        f"  side inputs  control below offset {conditions.as_of}, items below"
        f" {conditions.items_as_of}; {conditions.blocked_items} items blocked"
    )
    yield (
        f"  calibration  {', '.join(f'{k} {n}' for k, n in conditions.calibration.items())} scores;"
        f" flagged at {conditions.threshold}; degraded {conditions.degraded}"
    )
    place = rebuilt.changelog_offset
    begin = "a fresh state" if place is None else f"changelog offset {place}"
    yield (
        f"rebuilt    from {begin}, {rebuilt.records_played} input records from offset"
        f" {rebuilt.from_offset} on; {rebuilt.users} users in the partition"
    )


def _expected(expected: Sequence[Expected]) -> str:
    return ", ".join(f"{one.value} {one.probability:.4f}" for one in expected) or "nothing"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _time(at_ms: int | None) -> str:
    if at_ms is None or at_ms < 0:
        return "unknown"
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
