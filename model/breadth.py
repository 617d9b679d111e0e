"""How much of the catalogue a model shows, and how much it leans on what is popular."""

import numpy as np

from model.log import Longs
from model.spec import Ints


def breadth(shown: Longs, popularity: Longs, targets: Ints) -> dict[str, float]:
    """Of the top lists, in which item v stood ``shown[v]`` times [V]:

    ``coverage``, the share of the catalogue that was ever shown; ``gini`` of how often items were
    shown, 0 for all alike and 1 for a single one; ``shown_popularity`` and ``target_popularity``,
    the mean popularity percentile (0 to 1, by training clicks [V]) of what was shown and of the
    known ``targets`` [M]; ``popularity_bias``, the difference of these two.
    """
    count = len(popularity)
    order = np.argsort(np.argsort(popularity, kind="stable"), kind="stable")
    percentile = (order + 0.5) / count
    known = targets[targets < count]
    rising = np.sort(shown)
    total = max(1, int(rising.sum()))
    gini = float((2 * np.arange(1, count + 1) - count - 1) @ rising) / (count * total)
    shown_popularity = float(shown @ percentile) / total
    target_popularity = float(percentile[known].mean()) if len(known) else 0.0
    return {
        "coverage": float((shown > 0).mean()),
        "gini": gini,
        "shown_popularity": shown_popularity,
        "target_popularity": target_popularity,
        "popularity_bias": shown_popularity - target_popularity,
    }
