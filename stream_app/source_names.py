"""Input records by name: ``topic-partition-offset``, as outputs and default event ids say it."""

import re

from stream_app.core.events import Source
from stream_app.invocation import UserError

_NAME = re.compile(r"([A-Za-z0-9._-]{1,249})-(\d{1,10})-(\d{1,19})")


def source_name(source: Source) -> str:
    return f"{source.topic}-{source.partition}-{source.offset}"


def find_source(text: str) -> Source | None:
    """The source that a text names, or None where it names none."""
    found = _NAME.fullmatch(text)
    return Source(found[1], int(found[2]), int(found[3])) if found else None


def parse_source(text: str) -> Source:
    """The source that a text names.

    Raises:
        UserError: it names none.
    """
    source = find_source(text)
    if source is None:
        raise UserError(
            f"{text!r} names no input record; give topic-partition-offset, as in"
            " clickahead.events-3-1287."
        )
    return source
