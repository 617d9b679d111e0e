"""How the demo looks: a live page in a terminal, a line now and then without one."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream_app.core.events import AlertReason, Anomaly, Prediction
from stream_app.demo.tally import Figures, Seen, Tally

MAX_ALERTS = 6


def page(tally: Tally, figures: Figures, sent: int, seconds: float, notice: str) -> RenderableType:
    """The live page."""
    parts: list[RenderableType] = [
        Panel(Text(headline(tally, figures, sent, seconds)), title="ClickAhead", expand=True)
    ]
    parts += [_predictions(tally), _alerts(tally)]
    if notice:
        parts.append(Text(notice, style="yellow"))
    parts.append(Text("Ctrl-C stops everything that this demo started.", style="dim"))
    return Group(*parts)


def headline(tally: Tally, figures: Figures, sent: int, seconds: float) -> str:
    """The figures in one line, which is the whole view without a terminal."""
    return (
        f"{seconds:5.0f} s   sent {sent:,}   predicted {tally.predicted:,}   "
        f"rejected {tally.rejected:,}   {figures.events_per_second:,.0f} events/s   "
        f"event to prediction p50 {_ms(figures.p50_ms)} p99 {_ms(figures.p99_ms)}   "
        f"hit rate@20 {_percent(figures.hit_rate)}   "
        f"alerts {tally.alerts_opened} ({len(tally.open_alerts)} open)"
    )


def alert_line(anomaly: Anomaly) -> str:
    """An alert with the reasons for it, in one line."""
    return f"{anomaly.kind} p={anomaly.p_value:.2g} score {anomaly.score:.1f}: {_why(anomaly)}"


def _predictions(tally: Tally) -> Table:
    table = Table(title="Latest predictions", title_justify="left", expand=True)
    for heading in ("user", "did", "next items", "next action", "buys", "verdict"):
        table.add_column(heading, no_wrap=True)
    for prediction, seen in tally.latest:
        table.add_row(*_row(prediction, seen))
    return table


def _row(prediction: Prediction, seen: Seen) -> tuple[str, ...]:
    items = "  ".join(f"{item.item_id} {item.probability:.0%}" for item in prediction.items[:3])
    action = max(prediction.actions, key=lambda name: prediction.actions[name])
    buys = "-" if prediction.purchase is None else f"{prediction.purchase:.0%}"
    return (
        prediction.user[:8],
        f"{seen.action} {seen.item_id or ''}",
        items,
        f"{action} {prediction.actions[action]:.0%}",
        buys,
        prediction.anomaly.state,
    )


def _alerts(tally: Tally) -> Table:
    table = Table(title="Open anomalies", title_justify="left", expand=True)
    for heading in ("user", "kind", "p-value", "score", "why"):
        table.add_column(heading)
    for anomaly in list(tally.open_alerts.values())[-MAX_ALERTS:]:
        table.add_row(
            anomaly.user[:8],
            anomaly.kind,
            f"{anomaly.p_value:.2g}",
            f"{anomaly.score:.1f}",
            _why(anomaly),
        )
    return table


def _why(anomaly: Anomaly) -> str:
    return "; ".join(_reason(reason) for reason in anomaly.reasons)


def _reason(reason: AlertReason) -> str:
    text = f"{reason.what} {reason.observed} had {reason.probability:.2%}"
    expected = ", ".join(f"{other.value} {other.probability:.0%}" for other in reason.expected[:2])
    return f"{text}, expected {expected}" if expected else text


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
