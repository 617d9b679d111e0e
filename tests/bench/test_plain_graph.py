"""One graph computes what the two served ones do."""

from collections.abc import Callable

import numpy as np
import pytest

from model import graph
from model.engine import OnnxEngine
from model.runtime import ort
from model.served import ScanName, score_columns
from model.stand_in import random_tokens
from tests.bench.plain_graph import plain
from tests.tiny_model import random_weights


@pytest.mark.parametrize("scan", ["exact", "int8"])
def test_one_graph_is_the_engine(
    tiny_engine_with: Callable[..., OnnxEngine], scan: ScanName
) -> None:
    engine = tiny_engine_with(item_count=1_100, hidden_width=32, scan=scan)
    spec, rows = engine.spec, 40
    graphs = graph.build(spec, random_weights(spec), bytes(8), scan)
    session = ort.InferenceSession(plain(graphs, spec), providers=["CPUExecutionProvider"])
    before, tokens = random_tokens(spec, rows=rows, length=2, seed=1)
    memory = engine.advance(before, engine.initial(rows)).memory
    wanted = engine.advance(tokens, memory)
    new_hidden, top_items, scores = session.run(
        ["new_hidden", "top_items", "scores"],
        {
            "item": tokens.item,
            "action": tokens.action,
            "gap": tokens.gap,
            "chosen_action": tokens.action[:, None],
            "hidden": memory.hidden,
            "log_z": memory.log_z[:, None],
        },
    )
    np.testing.assert_array_equal(new_hidden, wanted.memory.hidden)
    np.testing.assert_array_equal(top_items, wanted.top_items)
    place = list(score_columns(spec)).index("log_z")
    np.testing.assert_allclose(scores[:, place], wanted.memory.log_z, atol=1e-5)
    for column, name in enumerate(("item_surprise", "action_surprise")):
        np.testing.assert_allclose(scores[:, column], getattr(wanted, name), atol=1e-5)
