"""A batch's records to clicks, those that are written plainly in C."""

from collections.abc import Callable

from stream_app.core import compiled
from stream_app.core.batch import EventBatch
from stream_app.core.clean import (
    LATEST_MS,
    MAX_DWELL_MS,
    MAX_ID_BYTES,
    Cleaned,
    Click,
    Read,
    canonical_action,
    raw_click,
)
from stream_app.core.config import CoreConfig
from stream_app.core.events import HEARTBEAT

ReadAll = Callable[[EventBatch], list[Cleaned]]


def batch_reader(config: CoreConfig, read: Read) -> ReadAll:
    """A function from a batch to what ``read`` says of each of its records."""
    passes = compiled.passes
    if passes is None:
        return lambda batch: [*map(read, batch.keys, batch.values, batch.timestamps_ms)]
    names = raw_click(config.fields).__struct_encode_fields__
    sizes = config.max_event_bytes, config.max_key_bytes, config.future_ms
    form = passes.reading(names, _action_of_click, (*sizes, LATEST_MS, MAX_ID_BYTES, MAX_DWELL_MS))

    def read_all(batch: EventBatch) -> list[Cleaned]:
        keys, values, received_ms = batch.keys, batch.values, batch.timestamps_ms
        found: list[Cleaned] = passes.read(form, Click, keys, values, received_ms)
        if None in found:
            for n, one in enumerate(found):
                if one is None:
                    found[n] = read(keys[n], values[n], received_ms[n])
        return found

    return read_all


def _action_of_click(event_type: str | None) -> str | None:
    """The canonical action; None for what marks no click."""
    return None if event_type == HEARTBEAT else canonical_action(event_type)
