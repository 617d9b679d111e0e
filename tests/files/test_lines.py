import io
import itertools

from hypothesis import given
from hypothesis import strategies as st

from stream_app.files.lines import BLOCK_BYTES, MAX_LINE_BYTES, lines

LINE = st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))


@given(st.lists(LINE), st.booleans(), st.integers(1, 50))
def test_the_lines_are_those_of_the_bytes_whatever_the_blocks(
    written: list[bytes], mark: bool, block: int
) -> None:
    stream = io.BytesIO((b"\xef\xbb\xbf" if mark else b"") + b"".join(x + b"\n" for x in written))

    # A byte order mark is looked for in the first block alone, so that block holds it whole.
    sizes = itertools.chain([3], itertools.repeat(block))
    found = list(lines(lambda _: stream.read(next(sizes)), lambda: None))

    if not mark and written and written[0].startswith(b"\xef\xbb\xbf"):
        written = [written[0][3:], *written[1:]]
    assert found == written


def test_the_last_line_needs_no_newline() -> None:
    assert list(lines(io.BytesIO(b"a\nb").read, lambda: None)) == [b"a", b"b"]


def test_a_line_without_end_comes_in_pieces_and_nothing_of_it_is_lost() -> None:
    size = 2 * MAX_LINE_BYTES + 5
    pieces = list(lines(io.BytesIO(b"x" * size).read, lambda: None))

    assert max(map(len, pieces)) <= MAX_LINE_BYTES + BLOCK_BYTES
    assert b"".join(pieces) == b"x" * size


def test_advance_is_called_after_each_block() -> None:
    calls = itertools.count()
    list(lines(io.BytesIO(b"\n" * (3 * BLOCK_BYTES)).read, lambda: next(calls) and None))
    assert next(calls) == 3
