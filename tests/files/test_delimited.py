import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.files.delimited import MAX_RECORD_BYTES, delimiter_of, records, split

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
TRICKY = st.text('",\n\r\t; ab', max_size=8)
TABLE = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELL | TRICKY, min_size=width, max_size=width), max_size=8)
)


def written(table: list[list[str]], delimiter: str, end: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        table
    )
    return text.getvalue().encode()


@given(TABLE, st.sampled_from(",\t;|"), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_wrote_comes_back(
    table: list[list[str]], delimiter: str, end: str
) -> None:
    width = len(table[0]) if table else 1
    lines = written(table, delimiter, end).split(b"\n")
    assert list(records(lines, delimiter, width)) == table


LINE = st.binary(min_size=1, max_size=20) | st.text('",ab', min_size=1).map(str.encode)


@given(st.lists(LINE.filter(lambda line: not set(line) & set(b"\r\n")), max_size=20))
def test_every_line_is_in_a_row_or_comes_out_as_it_is(lines: list[bytes]) -> None:
    found = list(records(lines, ",", 2))

    rows = [row for row in found if isinstance(row, list)]
    in_rows = sum(1 + sum(cell.count("\n") for cell in row) for row in rows)
    assert in_rows + len(found) - len(rows) == len(lines)


@pytest.mark.parametrize(
    "line",
    [b"a", b"a,b,c", b'"a"b,c', b"\xff,b", b'a,"b'],
    ids=["few", "many", "after quote", "encoding", "open quote"],
)
def test_a_line_that_is_no_row_comes_out_as_its_bytes_and_reading_goes_on(line: bytes) -> None:
    assert list(records([b"1,2", line, b"3,4"], ",", 2)) == [["1", "2"], line, ["3", "4"]]


def test_an_unclosed_quote_does_not_swallow_the_file() -> None:
    many = [b"%d,x" % n for n in range(MAX_RECORD_BYTES // 4)]
    found = list(records([b'1,"open', *many], ",", 2))
    assert found[0] == b'1,"open'
    assert found[1:] == [[str(n), "x"] for n in range(len(many))]


def test_a_field_may_be_larger_than_the_standard_librarys_limit() -> None:
    big = "x" * (csv.field_size_limit() * 3)
    assert list(records([f'1,"{big}"'.encode()], ",", 2)) == [["1", big]]


def test_a_quote_inside_an_unquoted_field_is_a_character() -> None:
    assert split('5" disk,b', ",") == ['5" disk', "b"]


@pytest.mark.parametrize(
    ("header", "name", "expected"),
    [
        ("a,b\tc", "x.csv", ","),
        ("a,b\tc", "x.tsv.gz", "\t"),
        ("a;b", "x.csv", ";"),
        ("a|b", "x.txt", "|"),
        ("a", "x.tsv", "\t"),
        ("a", "x", ","),
    ],
)
def test_the_delimiter_follows_the_name_and_the_header(
    header: str, name: str, expected: str
) -> None:
    assert delimiter_of(header, name) == expected
