"""What a reader gives for a row, and what it raises for a file that it cannot read."""

from typing import ClassVar, NamedTuple

from stream_app.core.events import RawClick

RECEIVED_AT = "received_at"
# What a column may be mapped to: the fields of an input record, and the time of its arrival.
FIELDS = (*RawClick.__struct_fields__, RECEIVED_AT)
ID_FIELDS = frozenset({"user_id", "event_id", "session_id", "item_id", "promotion_id"})
NUMBER_FIELDS = frozenset({"timestamp", "dwell_ms", "price", "quantity", RECEIVED_AT})


class FileEvent(NamedTuple):
    """A row as the record that a producer would send for it.

    ``key`` is the user id, None where the row names none. ``value`` is a JSON object, or the row's
    own bytes where they are no row. ``received_at_ms`` is -1 where the file does not tell.
    """

    key: bytes | None
    value: bytes
    received_at_ms: int = -1


class FileError(ValueError):
    """A file cannot be read as clicks at all; the message says what to do."""

    exit_code: ClassVar[int] = 2
