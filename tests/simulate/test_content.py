# ruff: noqa: S311 (a simulation)

from random import Random

import numpy as np

from stream_app.simulate import SimulatorConfig, items_of
from stream_app.simulate.catalogue import Catalogue
from stream_app.simulate.content import IMAGE_NUMBERS, TEXT_NUMBERS

CONFIG = SimulatorConfig(items=200, categories=8)


def test_vectors_tell_categories_apart_and_neighbours_are_alike() -> None:
    items = list(items_of(CONFIG, Random(4)))
    shop = Catalogue(CONFIG, Random(Random(4).getrandbits(64)))
    assert [item.category for item in items] == [f"c{number}" for number in shop.category]
    assert [item.price for item in items] == shop.price
    assert {len(item.image_vector) for item in items} == {IMAGE_NUMBERS}
    text = np.array([item.text_vector for item in items])
    assert text.shape == (CONFIG.items, TEXT_NUMBERS)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    beside, across, elsewhere = (
        np.mean([text[i] @ text[shop.beside(i, steps)] for i in range(CONFIG.items)])
        if steps
        else np.mean([text[i] @ text[shop.goes_with(i, 0)] for i in range(CONFIG.items)])
        for steps in (1, 12, 0)
    )
    assert beside > across > elsewhere


def test_a_seed_gives_the_same_catalogue() -> None:
    assert list(items_of(CONFIG, Random(4))) == list(items_of(CONFIG, Random(4)))
