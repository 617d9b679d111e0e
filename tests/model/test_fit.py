"""Fitting: the rate's cycle, heads that begin at base rates, and a loss that cannot become NaN."""

import math
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
import torch

from model.config import TrainConfig
from model.data import NONE, targets_of
from model.fit import DivergedError, Fitting, initial_net, learning_rate
from model.net_shape import NetName
from model.predicted_actual import by_class
from model.questions import part_of, questions_of
from model.scoring import answer
from model.spec import CLOSE
from tests.model.logs import learnable_log, log_of, spec_of

SPEC = spec_of()
CONFIG = TrainConfig(threads=1, batch_sequences=16, learning_rate=1e-2)


def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing() -> None:
    config = msgspec.structs.replace(CONFIG, warmup_share=0.25)
    rates = [learning_rate(progress, config) for progress in np.linspace(0, 1, 101)]
    assert max(rates) == rates[25] == pytest.approx(config.learning_rate)
    assert all(np.diff(rates[:26]) > 0)
    assert all(np.diff(rates[25:]) < 0)
    assert rates[-1] == pytest.approx(config.learning_rate / 1000)
    assert learning_rate(0.0, msgspec.structs.replace(config, warmup_share=0.0)) == 1e-2


def test_heads_begin_at_base_rates() -> None:
    log = learnable_log(SPEC)
    targets = targets_of(log, SPEC)
    net = initial_net(SPEC, targets, CONFIG)
    shares = torch.softmax(net.action_head.bias, 0)
    known = targets.action[targets.action != NONE]
    counts = np.bincount(known, minlength=len(SPEC.actions)) / len(known)
    np.testing.assert_allclose(shares.detach().numpy(), counts, atol=0.01)
    cart = torch.sigmoid(net.intent_head.bias[0]).item()
    assert cart == pytest.approx(targets.intent[:, 0].mean(), abs=0.01)


def test_an_absent_intent_is_as_good_as_never_and_stays_so() -> None:
    spec = spec_of(actions=("_close", "other", "view"))
    fitting = Fitting(learnable_log(spec), spec, CONFIG, epochs=1)
    batches = fitting.batches(0)
    for number, batch in enumerate(batches):
        fitting.step(0, number, len(batches), batch)
    hidden = torch.randn(9, spec.hidden_width)
    assert (torch.sigmoid(fitting.net.intent_logits(hidden)) < 1e-4).all()


def test_heads_are_detached_where_there_is_one_action() -> None:
    single = spec_of(actions=("_close", "other", "view"))
    assert Fitting(learnable_log(single), single, CONFIG, 1).detach_heads
    assert not Fitting(learnable_log(SPEC), SPEC, CONFIG, 1).detach_heads
    forced = msgspec.structs.replace(CONFIG, detach_heads=False)
    assert not Fitting(learnable_log(single), single, forced, 1).detach_heads


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"averaging": 0.9, "net": "lstm"},
        {"net": "transformer", "block_dropout": 0.3, "item_loss": "sampled", "full_share": 0.7},
        {"net": "lstm", "item_loss": "gbce", "mask_share": 0.2, "recency_halving": 0.5},
        {"net": "transformer", "pretrain_epochs": 1, "checkpointing": True, "block_dropout": 0.1},
    ],
    ids=["plain", "average", "transformer", "gbce", "masked"],
)
def test_state_carries_everything(changes: dict[str, Any]) -> None:
    log, config = learnable_log(SPEC), msgspec.structs.replace(CONFIG, **changes)
    one, other = (Fitting(log, SPEC, config, epochs=2) for _ in range(2))
    batches = one.batches(0)
    for number in range(3):
        one.step(0, number, len(batches), batches[number])
    other.restore({name: array.copy() for name, array in one.state().items()})
    for fitting in (one, other):
        for number in range(3, 6):
            fitting.step(0, number, len(batches), batches[number])
    for name, array in one.state().items():
        np.testing.assert_array_equal(other.state()[name], array, err_msg=name)
    np.testing.assert_equal(one.average.weights(), other.average.weights())


@pytest.mark.parametrize("net", get_args(NetName))
def test_every_batch_gives_every_weight_a_slope(net: NetName) -> None:
    """Processes that train together wait for each other's slope of every weight."""
    spec = spec_of(reset=False)
    config = msgspec.structs.replace(CONFIG, net=net, max_length=4, batch_sequences=1)
    for actions in (1, 2):  # heads that are detached, and others
        log = log_of([[[(n % 6, 2 + n % actions) for n in range(12)]]], spec)
        fitting = Fitting(log, spec, config, epochs=1)
        batches = fitting.batches(0)
        assert not fitting.segments.fresh[batches].all()
        for number, batch in enumerate(batches):
            fitting.step(0, number, len(batches), batch)
            assert all(weight.grad is not None for weight in fitting.net.parameters())


def test_the_average_is_that_of_the_weights_on_the_way() -> None:
    config = msgspec.structs.replace(CONFIG, averaging=0.5)
    fitting = Fitting(learnable_log(SPEC), SPEC, config, epochs=1)
    batches = fitting.batches(0)
    wanted = fitting.net.weights()["item_embedding"]
    for number, batch in enumerate(batches[:5]):
        fitting.step(0, number, len(batches), batch)
        kept = min(0.5, (number + 1) / (number + 11))
        wanted = kept * wanted + (1 - kept) * fitting.net.weights()["item_embedding"]
    np.testing.assert_allclose(fitting.average.weights()["item_embedding"], wanted, atol=1e-6)


def test_a_loss_that_is_no_number_is_refused_before_it_spreads() -> None:
    fitting = Fitting(learnable_log(SPEC), SPEC, CONFIG, epochs=1)
    batches = fitting.batches(0)
    with torch.no_grad():
        fitting.net.action_head.bias[0] = math.nan
    before = fitting.net.weights()["item_embedding"]
    with pytest.raises(
        DivergedError, match=r"became nan in epoch 1, batch 1.*learning_rate=0.0033"
    ):
        fitting.step(0, 0, len(batches), batches[0])
    np.testing.assert_array_equal(fitting.net.weights()["item_embedding"], before)


def test_a_log_of_one_session_can_be_fitted() -> None:
    log = log_of([[[(0, 2), (1, 2)]]], SPEC)
    fitting = Fitting(log, SPEC, CONFIG, epochs=1)
    loss = fitting.step(0, 0, 1, fitting.batches(0)[0])
    assert loss.item_count == 1


def test_heads_foretell_as_many_ends_as_come_however_batches_are_sorted() -> None:
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(240) < 0.1, 60, 2)
    users = [[[(int(rng.integers(SPEC.item_count)), 2)] * length] for length in lengths]
    log = log_of(users, SPEC)
    config = msgspec.structs.replace(CONFIG, head_weight=1.0, input_dropout=0.9)
    fitting = Fitting(log, SPEC, config, epochs=4)
    for epoch in range(4):
        batches = fitting.batches(epoch)
        for number, batch in enumerate(batches):
            fitting.step(epoch, number, len(batches), batch)
    nothing = part_of(questions_of(log, SPEC, "session"), slice(0, 0))
    heads = answer(fitting.net, log, SPEC, nothing, np.arange(log.events)).action_logits
    close = by_class(heads, targets_of(log, SPEC).action)[CLOSE]
    assert close["predicted"] == pytest.approx(close["actual"], rel=0.3)


def test_where_events_count_alike_an_epoch_is_the_mean_over_all_items_to_foretell() -> None:
    """Batches of short and of long sequences, by a net that stands still."""
    rng = np.random.default_rng(0)
    lengths = [2] * 40 + [9] * 7 + [30] * 5
    users = [[[(int(rng.integers(SPEC.item_count)), 2) for _ in range(n)]] for n in lengths]
    log = log_of(users, SPEC)
    still = msgspec.structs.replace(CONFIG, batch_sequences=8, learning_rate=1e-30)
    fittings = [
        Fitting(log, SPEC, msgspec.structs.replace(still, counted=counted), epochs=1)
        for counted in ("sequences", "events")
    ]
    batches = fittings[0].batches(0)
    weighed, sums, count = 0.0, 0.0, 0
    for number, batch in enumerate(batches):
        plain, alike = (f.step(0, number, len(batches), batch) for f in fittings)
        mean = plain.item_sum / plain.item_count
        weighed += (mean + alike.total - plain.total).item()
        sums, count = sums + plain.item_sum.item(), count + plain.item_count
    assert count == sum(lengths) - len(lengths)
    assert weighed / len(batches) == pytest.approx(sums / count, rel=1e-4)
