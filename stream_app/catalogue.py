"""A catalogue file: the records of the items topic, one JSON object a line, gzipped or not."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import msgspec

from model.content import Content, Described, content_of
from stream_app.core.events import Item
from stream_app.invocation import UserError


def read_catalogue(path: Path) -> list[Described]:
    """What a catalogue says of its items; of an item that comes twice the last. Raises UserError
    with the line that is no item."""
    decoder, found = msgspec.json.Decoder(Item), {}
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        item = decoder.decode(line)
                    except msgspec.MsgspecError as error:
                        raise UserError(
                            f"{path}, line {number}, is no catalogue item: {error}; write one"
                            ' JSON object a line, at least {"item_id": "..."}.'
                        ) from None
                    found[item.item_id] = item
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not found:
        raise UserError(f"{path} holds no items; give the catalogue as JSON Lines.")
    return [
        Described(i.item_id, i.category, i.brand, i.price, i.text_vector, i.image_vector)
        for i in found.values()
    ]


def described(path: Path, items: Sequence[str]) -> Content:
    """What a catalogue says of a vocabulary's items."""
    return content_of(read_catalogue(path), items)
