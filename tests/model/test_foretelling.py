"""An encoder-decoder learns what a chain of actions cannot know, step by step."""

from pathlib import Path

import numpy as np
from rich.console import Console

from model.architectures import net_of
from model.checkpoint import load
from model.config import TrainConfig
from model.encoder_decoder import EncoderDecoderNet
from model.evaluate import evaluate
from model.foretelling import CHAIN, DECODER, action_chain, foretell, table
from model.log import EventLog
from model.spec import CLOSE
from model.train import train
from tests.model.logs import ACTIONS, log_of, spec_of

SPEC = spec_of()
VIEW, CART, PURCHASE = (ACTIONS.index(name) for name in ("view", "cart", "purchase"))
WAY = (VIEW, VIEW, VIEW, CART, PURCHASE)


def visits(users: int, seed: int) -> EventLog:
    """Everybody looks three times, then buys, some of them twice, and leaves."""
    rng = np.random.default_rng(seed)
    return log_of(
        [
            [[(int(rng.integers(6)), action) for action in WAY * int(rng.integers(1, 3))]]
            for _ in range(users)
        ],
        SPEC,
    )


def test_every_step_is_foretold_better_than_by_a_chain(tmp_path: Path) -> None:
    config = TrainConfig(
        net="encoder_decoder",
        horizon=4,
        decoder_weight=2.0,
        epochs=12,
        batch_sequences=8,
        learning_rate=1e-2,
    )
    train(visits(150, 1), SPEC, tuple("abcdef"), config, tmp_path)
    log = visits(60, 2)
    result = evaluate(tmp_path, log)
    assert [row["step"] for row in result["foretold"]] == [1, 2, 3, 4]
    for row in result["foretold"]:
        assert row["n"] == log.events
        assert row[DECODER]["accuracy"] > row[CHAIN]["accuracy"] + 0.05
        assert row[DECODER]["macro_f1"] > row[CHAIN]["macro_f1"] + 0.05
    console = Console(record=True, width=120)
    console.print(table(result["foretold"]))
    assert "the next 4 actions" in console.export_text()
    net = net_of(load(tmp_path))
    assert isinstance(net, EncoderDecoderNet)
    actions, shares = foretell(net, log, SPEC, log.session_start[:-1])
    assert (actions == [VIEW, VIEW, CART, PURCHASE]).mean() > 0.8
    np.testing.assert_allclose(shares.sum(2), 1, rtol=1e-5)


def test_the_chain_counts_and_a_closed_session_stays_closed() -> None:
    chain = np.array(action_chain(visits(50, 1), SPEC))
    np.testing.assert_allclose(chain.sum(axis=1), 1)
    assert chain[CLOSE, CLOSE] == 1
    assert chain[CART, PURCHASE] > 0.95
    assert 0.6 < chain[VIEW, VIEW] < 0.7
