"""A dead letter tells everything and commands nothing."""

import json
from collections import Counter
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stream_app.core.events import HeaderValue, RejectedRecord
from stream_app.dead_letter_pages import (
    ascii_json,
    letter_page,
    resent_sentence,
    selection_sentence,
    tally_object,
    tally_table,
)
from stream_app.dead_letter_replay import Resent
from stream_app.dead_letter_topic import Selection
from stream_app.dead_letters import Letter, Tally, Wanted

BYTES = (
    st.none()
    | st.binary(max_size=200)
    | st.sampled_from(
        [b"\x1b[2J\x1b]0;owned\x07", b"\xc2\x9b31m", b"[bold]x[/bold][/nothing]", b"\r\n\x08\x7f"]
    )
)


def letter(key: bytes | None, value: bytes | None, detail: str = "") -> RejectedRecord:
    headers = [HeaderValue(detail[:100], value or b"")]
    return RejectedRecord(
        "syntax", detail, "clicks", 1, 2, -1, key, len(key or b""), value, len(value or b""),
        "00", headers,
    )  # fmt: skip


@given(BYTES, BYTES, st.text())
def test_a_page_is_plain_text(key: bytes | None, value: bytes | None, detail: str) -> None:
    lines = letter_page(letter(key, value, detail))
    assert all(line.isprintable() for line in lines)
    assert lines[0] == "source    clicks-1-2"


@given(st.lists(st.tuples(BYTES, st.text())))
def test_tables_and_json_hold_no_command(rows: list[tuple[bytes | None, str]]) -> None:
    tally = Tally(20)
    for offset, (key, detail) in enumerate(rows):
        tally.add(offset, Letter("syntax", detail, "clicks", 0, offset, key, 7))
    drawn = StringIO()
    Console(file=drawn, width=200).print(tally_table(tally))
    written = ascii_json(tally_object(tally))
    for text in (drawn.getvalue(), written):
        assert all(line.isprintable() and "\x1b" not in line for line in text.split("\n"))
    assert written.isascii()
    assert json.loads(written)["records"] == len(rows)


def test_sentences_say_what_was_and_what_was_not() -> None:
    none = Selection(Wanted(), {}, Counter(), 0, {})
    assert selection_sentence(none, "clicks") == "0 dead letters of clicks"
    some = none._replace(reasons=Counter(schema=1_200, size=2), elsewhere=3)
    assert selection_sentence(some, "clicks") == (
        "1,202 dead letters of clicks: 1,200 schema, 2 size;"
        " 3 of other topics or partitions are left alone"
    )
    assert (
        resent_sentence(Resent(5, 0, [], False), "clicks", True) == "would send 5 records to clicks"
    )
    assert resent_sentence(Resent(5, 2, ["a"], True), "clicks", False) == (
        "sent 5 records to clicks; 2 were sent before; 1 could not be sent whole;"
        " interrupted, run it again to go on"
    )
