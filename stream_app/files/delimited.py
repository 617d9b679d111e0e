"""CSV and TSV (RFC 4180) as rows of text, with what is no row handed on as it stands.

The standard library's reader is not used: one unclosed quote makes it swallow the rest of a file,
and its limit on a field is a setting of the whole process.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator

MAX_RECORD_BYTES = 1 << 20
BLANK = (b"", b"\r")

# Possessive, so that an escaped quote at the end is not taken for the closing one.
_QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')


def delimiter_of(header: str, name: str) -> str:
    """Tab for .tsv; elsewhere the first of comma, tab, semicolon and bar that the header holds."""
    preferred = "\t," if ".tsv" in name.lower() else ",\t"
    return next((sign for sign in (*preferred, ";", "|") if sign in header), preferred[0])


def split(text: str, delimiter: str) -> list[str] | None:
    """The fields of one record; None when a quote is still open, an empty list when it is broken
    (text between a closing quote and the delimiter)."""
    if '"' not in text:
        return text.split(delimiter)
    fields = []
    at = 0
    while True:
        if text.startswith('"', at):
            quoted = _QUOTED.match(text, at)
            if quoted is None:
                return None
            fields.append(quoted[1].replace('""', '"'))
            end = quoted.end()
            if end < len(text) and text[end] != delimiter:
                return []
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
            fields.append(text[at:end])
        if end == len(text):
            return fields
        at = end + 1


def records(lines: Iterable[bytes], delimiter: str, width: int) -> Iterator[list[str] | bytes]:
    """Rows of ``width`` fields; a line that is none comes out as its bytes, and reading goes on
    with the line after it. Blank lines are no rows. A quoted field may span lines; a record has at
    most 1 MiB."""
    following = iter(lines)
    put_back: deque[bytes] = deque()
    while True:
        line = put_back.popleft() if put_back else next(following, None)
        if line is None:
            return
        if line in BLANK:
            continue
        try:
            row = split(line.decode().removesuffix("\r"), delimiter)
        except UnicodeDecodeError:
            row = []
        if row is None:
            row = _continued(line, following, put_back, delimiter, width)
        yield row if len(row) == width else line.removesuffix(b"\r")


def _continued(
    line: bytes, following: Iterator[bytes], put_back: deque[bytes], delimiter: str, width: int
) -> list[str]:
    """The record that begins with ``line``, whose quote is open; the lines taken for it go back
    when they do not complete a row, and the list is empty."""
    taken = [line]
    size = len(line)
    odd = False
    while size <= MAX_RECORD_BYTES:
        more = put_back.popleft() if put_back else next(following, None)
        if more is None:
            break
        taken.append(more)
        size += len(more) + 1
        # An even number of quotes cannot close what is open: saves joining at every line.
        odd ^= more.count(b'"') % 2 == 1
        if not odd:
            continue
        try:
            row = split(b"\n".join(taken).decode().removesuffix("\r"), delimiter)
        except UnicodeDecodeError:
            break
        if row is not None:
            if len(row) == width:
                return row
            break
        odd = False
    put_back.extendleft(reversed(taken[1:]))
    return []
