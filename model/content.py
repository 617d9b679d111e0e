"""What a catalogue says of items, as numbers that a net can learn from."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from model.data import NONE
from model.spec import Floats, Ints

# Names of categories and brands that get a number of their own, the most frequent first.
MOST_NAMES = 512


class ContentError(ValueError):
    """A catalogue contradicts itself."""

    exit_code: ClassVar[int] = 2


class Described(NamedTuple):
    """One item of a catalogue; what it does not say is None or empty."""

    item_id: str
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    text: Sequence[float] = ()
    image: Sequence[float] = ()


class Content(msgspec.Struct, frozen=True):
    """V items as a model's vocabulary counts them."""

    features: Floats  # [V, F], rows of zeros for items that the catalogue does not have
    described: npt.NDArray[np.bool_]  # [V]
    category: Ints  # [V] number of the category, NONE without one


def content_of(catalogue: Sequence[Described], items: Sequence[str]) -> Content:
    """Features of the items of a vocabulary: vectors of text and image at unit length, category and
    brand one-hot, the price on a logarithmic scale. Raises ContentError."""
    by_id = {described.item_id: described for described in catalogue}
    rows = [by_id.get(item, Described(item)) for item in items]
    categories = _numbers([row.category for row in rows])
    blocks = [
        _vectors("text_vector", [(row.item_id, row.text) for row in rows]),
        _vectors("image_vector", [(row.item_id, row.image) for row in rows]),
        _one_hot(categories),
        _one_hot(_numbers([row.brand for row in rows])),
        _prices([row.price for row in rows]),
    ]
    described = np.array([item in by_id for item in items], bool)
    features = np.concatenate(blocks, axis=1) * described[:, None]
    return Content(features.astype(np.float32), described, categories)


def _vectors(name: str, given: Sequence[tuple[str, Sequence[float]]]) -> Floats:
    """Unit vectors [V, D], zeros where an item has none."""
    widths = {len(vector): item for item, vector in given if len(vector)}
    if len(widths) > 1:
        (one, item), (other, second) = list(widths.items())[:2]
        raise ContentError(
            f"{name} of item {item} has {one} numbers, that of {second} {other}; vectors of one "
            "catalogue must be of one length"
        )
    width = next(iter(widths), 0)
    found = np.array([vector if len(vector) else [0.0] * width for _, vector in given], np.float32)
    found = found.reshape(len(given), width)
    if not np.isfinite(found).all():
        item = given[int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])][0]
        raise ContentError(f"{name} of item {item} holds NaN or infinity; leave the vector out")
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Floats = found / np.maximum(lengths, 1e-9)
    return unit


def _numbers(names: Sequence[str | None]) -> Ints:
    counts = Counter(name for name in names if name is not None)
    order = {name: number for number, (name, _) in enumerate(counts.most_common(MOST_NAMES))}
    return np.array([NONE if n is None else order.get(n, NONE) for n in names], np.int32)


def _one_hot(numbers: Ints) -> Floats:
    found = np.zeros((len(numbers), int(numbers.max(initial=NONE)) + 1), np.float32)
    known = np.flatnonzero(numbers != NONE)
    found[known, numbers[known]] = 1.0
    return found


def _prices(prices: Sequence[float | None]) -> Floats:
    """Standardised log prices and whether there is one, [V, 2]."""
    priced = np.array([price is not None and 0 <= price < np.inf for price in prices], bool)
    logs = np.array([np.log1p(p) if p is not None and k else 0.0
                     for p, k in zip(prices, priced, strict=True)])  # fmt: skip
    if priced.any():
        spread = max(float(logs[priced].std()), 1e-6)
        logs = np.where(priced, (logs - logs[priced].mean()) / spread, 0.0)
    return np.stack([logs, priced], axis=1).astype(np.float32)
