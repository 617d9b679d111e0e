"""A page says what an explanation holds, and nothing in it commands a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.events import Source
from stream_app.differences import Difference
from stream_app.explanation import Conditions, Explanation, Rebuilt
from stream_app.explanation_page import explanation_page
from stream_app.explanation_parts import Expected, MemorySummary, ModelStep, WindowEvent

TEXTS = st.text() | st.sampled_from(["\x1b[2J", "\x9b31m", "\u202eevil", "a\nb", "\x07"])
SHARES = st.floats(0, 1)
PREDICTIONS = st.fixed_dictionaries(
    {
        "event_id": TEXTS,
        "revision": st.integers(0, 3),
        "items": st.lists(st.fixed_dictionaries({"item_id": TEXTS, "probability": SHARES})),
        "actions": st.dictionaries(TEXTS, SHARES),
        "cart": st.none() | SHARES,
        "purchase": st.none() | SHARES,
        "anomaly": st.fixed_dictionaries(
            {"state": st.just("normal"), "score": SHARES, "p_value": st.none() | SHARES}
        ),
        "fallback": st.none() | st.just("overload"),
    }
)
CONDITIONS = Conditions("tiny-1", "live", 3, 4, None, 1, 2, {"surprise": 25}, 0.4)


@st.composite
def explanations(draw: st.DrawFn) -> Explanation:
    text = draw(TEXTS)
    outputs = {"predictions": draw(st.lists(PREDICTIONS, max_size=2))}
    step = ModelStep({"dwell": 0.5}, 3, True, "0 to 10 ms", 1.0, 2.0, [Expected(text, 0.5)], [])
    window = [WindowEvent(1_700_000_000_000, text, draw(st.none() | TEXTS), 1.5, True, True)]
    return Explanation(
        identical=draw(st.sampled_from([True, False, None])),
        differences=draw(st.lists(st.builds(Difference, TEXTS, TEXTS, TEXTS, SHARES), max_size=2)),
        published=outputs,
        recomputed=outputs,
        published_ms=draw(st.none() | st.integers(-1, 2**41)),
        latency={"wait_us": 3},
        source=Source("clicks", 0, 7),
        caused_by=draw(st.sampled_from([None, 7, 9])),
        arrived_ms=draw(st.none() | st.integers(-1, 2**41)),
        user=draw(st.none() | st.just("ab" * 16)),
        user_id=draw(st.none() | TEXTS),
        event={"item_id": text, "at_ms": 1},
        window=window,
        memory=draw(st.none() | st.just(MemorySummary(8, "float16", None, 1.0, 0.5, 0.25))),
        step=draw(st.none() | st.just(step)),
        conditions=CONDITIONS,
        rebuilt=Rebuilt(draw(st.none() | st.just(5)), 3, 4, 6),
    )


@given(explanations())
def test_every_line_is_plain_text(told: Explanation) -> None:
    lines = explanation_page(told)
    assert all(line.isprintable() for line in lines)
    first = {True: "identical", False: "DIFFERENT", None: "nothing was published"}
    assert lines[0].startswith(first[told.identical])
    assert any(line.startswith("=> 2023-11-14 22:13:20.000") for line in lines)
