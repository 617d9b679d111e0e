"""From a record's bytes to a click, a heartbeat, or the reason why it is neither.

Nothing here raises, whatever the bytes: a broken record is a value, ``Rejected``.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Any, NamedTuple

import msgspec

from stream_app.core.config import CoreConfig
from stream_app.core.depth import is_json, too_deep
from stream_app.core.events import HEARTBEAT, RawClick, Reason

LATEST_MS = 1 << 43  # in the year 2248: later times are not times
MAX_ID_BYTES = 128
MAX_DWELL_MS = 86_400_000
DEFAULT_ACTION, OTHER_ACTION = "view", "other"

# Names of common trackers for what the canonical vocabulary calls otherwise.
SYNONYMS = {
    "pv": "view",
    "pageview": "view",
    "page_view": "view",
    "add_to_cart": "cart",
    "addtocart": "cart",
    "remove_from_cart": "remove",
    "buy": "purchase",
    "order": "purchase",
    "transaction": "purchase",
    "fav": "favourite",
    "favorite": "favourite",
}


class Rejected(NamedTuple):
    """Why a record is not a click. ``detail`` is for people; it never quotes the record."""

    reason: Reason
    detail: str


class Heartbeat(NamedTuple):
    at_ms: int


class Click(NamedTuple):
    """A validated event in canonical units: ids are text, times are integer milliseconds."""

    user_id: str
    event_id: str | None
    session_id: str | None
    item_id: str | None
    action: str
    at_ms: int
    dwell_ms: int | None
    promotion_id: str | None = None


Cleaned = Click | Heartbeat | Rejected
Read = Callable[[bytes | None, bytes | None, int], Cleaned]


def reader(config: CoreConfig) -> Read:
    """A function ``read(key, value, received_ms) -> Click | Heartbeat | Rejected``.

    ``received_ms`` is the broker's LogAppendTime, or -1 where nothing vouches for a time.
    """
    struct = raw_click(config.fields)
    json, msgpack = msgspec.json.Decoder(struct), msgspec.msgpack.Decoder(struct)

    def read(key: bytes | None, value: bytes | None, received_ms: int) -> Cleaned:
        if not value:
            return Rejected("empty", "the record has no value")
        if len(value) > config.max_event_bytes:
            return Rejected("size", f"{len(value)} bytes; at most {config.max_event_bytes}")
        if key is not None and len(key) > config.max_key_bytes:
            return Rejected("size", f"key of {len(key)} bytes; at most {config.max_key_bytes}")
        if too_deep(value):
            return Rejected("depth", "nested too deeply")
        try:
            raw = (json if is_json(value) else msgpack).decode(value)
        except msgspec.ValidationError as error:
            return Rejected("schema", _without_values(str(error)))
        except UnicodeDecodeError:
            return Rejected("encoding", "not valid UTF-8")
        except RecursionError:
            return Rejected("depth", "nested too deeply")
        except (msgspec.DecodeError, ValueError, OverflowError, MemoryError):
            return Rejected("syntax", "neither JSON nor MessagePack")
        return clean(raw, received_ms, config)

    return read


def clean(raw: RawClick, received_ms: int, config: CoreConfig) -> Cleaned:
    """Check and normalise a decoded record; every reason is documented in ``events.Reason``."""
    at_ms = epoch_ms(raw.timestamp)
    if at_ms is None:
        return Rejected("timestamp", "missing, malformed or outside 1970 to 2248")
    if received_ms >= 0 and at_ms > received_ms + config.future_ms:
        return Rejected("future", f"{at_ms - received_ms} ms past its arrival")
    if raw.event_type == HEARTBEAT:
        return Heartbeat(at_ms)
    for number in (raw.dwell_ms, raw.price, raw.quantity):
        if number is not None and not _is_finite(number):
            return Rejected("not_finite", "a number is NaN or infinite")
    ids = [_id_text(value) for value in (raw.user_id, raw.event_id, raw.session_id, raw.item_id)]
    if False in ids:
        return Rejected("schema", f"an id is longer than {MAX_ID_BYTES} bytes or beyond 64 bits")
    user_id, event_id, session_id, item_id = ids
    if not user_id:
        return Rejected("user", "user_id is missing or empty")
    return Click(
        str(user_id),
        str(event_id) if event_id else None,
        str(session_id) if session_id else None,
        str(item_id) if item_id else None,
        canonical_action(raw.event_type),
        at_ms,
        None if raw.dwell_ms is None else int(min(max(raw.dwell_ms, 0), MAX_DWELL_MS)),
        None if raw.promotion_id in (None, "") else str(raw.promotion_id),
    )


def canonical_action(event_type: str | None) -> str:
    """Lower case, known synonyms folded; names that the stream keeps for itself become other."""
    if event_type is None:
        return DEFAULT_ACTION
    name = event_type.strip().lower()[:64]
    if not name or name.startswith("_"):
        return OTHER_ACTION
    return SYNONYMS.get(name, name)


def epoch_ms(timestamp: int | float | str | None) -> int | None:
    """Epoch milliseconds of a number in s, ms, us or ns (told apart by its size: a second of today
    has 10 digits) or of an RFC 3339 text; None when it is neither. No zone means UTC."""
    if isinstance(timestamp, str):
        text = timestamp.strip()
        if len(text) > 40:
            return None
        try:
            timestamp = float(text) if "." in text else int(text)
        except ValueError:
            return _rfc3339_ms(text)
    if timestamp is None or not _is_finite(timestamp) or timestamp < 0:
        return None
    if timestamp < 1e11:
        at_ms = round(timestamp * 1000)
    elif timestamp < 1e14:
        at_ms = int(timestamp)
    elif timestamp < 1e17:
        at_ms = int(timestamp) // 1000
    else:
        at_ms = int(timestamp) // 1_000_000
    return at_ms if at_ms < LATEST_MS else None


def _rfc3339_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        return None
    at_ms = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    return at_ms if 0 <= at_ms < LATEST_MS else None


def _is_finite(number: int | float) -> bool:
    """``math.isfinite`` raises for an integer beyond the floats; a comparison does not."""
    return -inf < number < inf


def _id_text(value: str | int | None) -> str | bool | None:
    """The id as text; None when absent, False when it is too long to be one."""
    if value is None:
        return None
    if isinstance(value, int):
        return str(value) if -(1 << 63) <= value < 1 << 64 else False
    if len(value) > MAX_ID_BYTES or (not value.isascii() and len(value.encode()) > MAX_ID_BYTES):
        return False
    return value


def _without_values(message: str) -> str:
    """msgspec names the path and the types, never the value; only the length needs a bound."""
    return message[:200]


def raw_click(fields: dict[str, str]) -> type[Any]:
    """``RawClick`` with the names that its fields have in the input."""
    if not fields:
        return RawClick
    unknown = sorted(set(fields) - set(RawClick.__struct_fields__))
    if unknown:
        known = ", ".join(RawClick.__struct_fields__)
        raise ValueError(f"input.fields maps {', '.join(unknown)}; the known fields are {known}")
    columns = [(f.name, f.type, f.default) for f in msgspec.structs.fields(RawClick)]
    return msgspec.defstruct("MappedClick", columns, rename=dict(fields), frozen=True)
