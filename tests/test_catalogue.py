"""Catalogue files."""

import gzip
from pathlib import Path

import pytest

from stream_app.catalogue import described, read_catalogue
from stream_app.invocation import UserError

LINES = b"""{"item_id": "a", "category": "x", "price": 3.5, "text_vector": [1, 0]}

{"item_id": "b", "stock": 3, "unknown": true}
{"item_id": "a", "category": "y"}
"""


@pytest.mark.parametrize("name", ["items.jsonl", "items.jsonl.gz"])
def test_the_last_word_on_an_item_counts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(LINES) if name.endswith("gz") else LINES)
    first, second = read_catalogue(path)
    assert (first.item_id, first.category, first.price) == ("a", "y", None)
    assert second.item_id == "b"
    assert described(path, ("b", "c")).described.tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "holds no items"), (b'{"item_id": "a"}\n{"id": 3}\n', "line 2, is no catalogue item")],
)
def test_what_is_no_catalogue_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "items.jsonl"
    with pytest.raises(UserError, match=r"cannot be read: No such file"):
        read_catalogue(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_catalogue(path)
