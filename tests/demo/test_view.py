"""What the demo prints: the same figures live and in lines, and reasons in words."""

import io

from rich.console import Console

from stream_app.core.events import AlertReason, Alternative
from stream_app.demo.tally import Figures, Seen, Tally
from stream_app.demo.view import alert_line, headline, page
from tests.demo.test_tally import anomaly, prediction

FIGURES = Figures(512.0, 4.2, 18.9, 0.25)


def shown(what: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_headline_has_the_figures_or_a_dash() -> None:
    line = headline(Tally(), FIGURES, 1000, 12.0)
    assert "512 events/s" in line
    assert "p50 4 ms p99 19 ms" in line
    assert "hit rate@20 25.0%" in line
    assert "p50 - p99 -" in headline(Tally(), Figures(0.0, None, None, None), 0, 0.0)


def test_the_page_shows_predictions_alerts_and_the_notice() -> None:
    tally = Tally()
    tally.event(0, 1, Seen("i1", "view", 0))
    tally.prediction(prediction(1, ["i7", "i8"], user="0123456789abcdef"), 5.0)
    tally.anomaly(anomaly("open"))
    text = shown(page(tally, FIGURES, 1, 2.0, "a notice"))
    for word in ("01234567", "view i1", "i7 10%", "surprise", "a notice", "Ctrl-C"):
        assert word in text


def test_an_alert_names_what_was_expected_where_something_was() -> None:
    opened = anomaly("open")
    expected = [Alternative("view", 0.7)]
    opened.reasons.append(AlertReason("action", "purchase", 0.001, expected))
    opened.reasons.append(AlertReason("item", "i1", 0.0, []))
    line = alert_line(opened)
    assert "action purchase had 0.10%, expected view 70%; item i1 had 0.00%" in line
    assert not line.endswith("expected ")
