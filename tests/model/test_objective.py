"""The batch loss: what counts, what is left alone, and where its gradients go."""

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from model.architectures import build_net
from model.augment import with_cold_items
from model.config import TrainConfig
from model.data import NONE, segments_of, targets_of
from model.dropout import drop
from model.log import EventLog
from model.net_shape import NetName
from model.nets import GruNet, SequenceNet
from model.objective import BatchLoss, batch_loss, columns_of, perturbed
from model.share import Share
from model.transformer import TransformerNet
from tests.model.logs import learnable_log, logs, spec_of

SPEC = spec_of()
PLAIN = TrainConfig(cold_share=0.0, head_weight=0.5)


def loss_of(
    log: EventLog,
    net: SequenceNet,
    config: TrainConfig,
    batch: list[int] | None = None,
    detach: bool = False,
) -> BatchLoss:
    targets = targets_of(log, SPEC)
    segments = segments_of(log, SPEC, config.max_length)
    rows = np.arange(len(segments.start)) if batch is None else np.array(batch)
    generator = torch.Generator().manual_seed(1)
    return batch_loss(
        net, SPEC, columns_of(log, SPEC, targets, config), segments, rows, config, detach, generator
    )


@settings(deadline=None, max_examples=30)
@given(logs(SPEC, min_events=1))
def test_item_loss_is_the_sum_over_targets_event_by_event(log: EventLog) -> None:
    net = GruNet(SPEC, torch.Generator().manual_seed(2))
    loss = loss_of(log, net, PLAIN)
    targets = targets_of(log, SPEC).item
    assert loss.item_count == (targets != NONE).sum()
    assert loss.events == log.events
    columns = columns_of(log, SPEC, targets_of(log, SPEC), PLAIN)
    expected = 0.0
    with torch.no_grad():
        for s in range(log.sessions):
            memory = net.initial(1)
            for t in range(log.session_start[s], log.session_start[s + 1]):
                memory = net.step(
                    type(columns.tokens)(*(c[t : t + 1] for c in columns.tokens)), memory
                )
                if targets[t] != NONE:
                    logp = torch.log_softmax(net.item_logits(memory), 1)
                    expected -= logp[0, targets[t]].item()
    np.testing.assert_allclose(loss.item_sum.item(), expected, rtol=1e-4, atol=1e-4)


def test_context_is_read_but_not_scored() -> None:
    log, net = learnable_log(SPEC), GruNet(SPEC, torch.Generator().manual_seed(2))
    short = msgspec.structs.replace(PLAIN, max_length=4)
    counts = [loss_of(log, net, config).item_count for config in (PLAIN, short)]
    assert counts[0] == counts[1] == (targets_of(log, SPEC).item != NONE).sum()


def test_detached_heads_do_not_move_the_item_model() -> None:
    log, net = learnable_log(SPEC), GruNet(SPEC, torch.Generator().manual_seed(2))
    gradients = []
    for weight in (0.0, 0.5, 5.0):
        config = msgspec.structs.replace(PLAIN, head_weight=weight)
        net.zero_grad()
        torch.autograd.backward(loss_of(log, net, config, detach=True).total)
        gradients.append(
            {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
        )
    for name in ("item_embedding", "gru.weight_hh_l0", "logit_scale", "initial_hidden"):
        assert torch.equal(gradients[0][name], gradients[1][name])
        assert torch.equal(gradients[0][name], gradients[2][name])
    assert not torch.equal(gradients[1]["gap_head.weight"], gradients[2]["gap_head.weight"])


def test_attached_heads_do() -> None:
    log, net = learnable_log(SPEC), GruNet(SPEC, torch.Generator().manual_seed(2))
    gradients = []
    for weight in (0.0, 5.0):
        net.zero_grad()
        torch.autograd.backward(
            loss_of(log, net, msgspec.structs.replace(PLAIN, head_weight=weight)).total
        )
        assert net.gru.weight_hh_l0.grad is not None
        gradients.append(net.gru.weight_hh_l0.grad.clone())
    assert not torch.equal(*gradients)


def test_first_events_move_the_initial_memory_and_no_item() -> None:
    log, net = learnable_log(SPEC), GruNet(SPEC, torch.Generator().manual_seed(2))
    log.session_start[:] = np.arange(len(log.session_start))  # sessions of one event: no pairs
    one_event = msgspec.structs.replace(
        log,
        **{
            name: getattr(log, name)[: log.sessions]
            for name in ("item", "action", "gap", "dense", "at_ms")
        },
    )
    loss = loss_of(one_event, net, msgspec.structs.replace(PLAIN, head_weight=0.0))
    assert loss.item_count == 0
    torch.autograd.backward(loss.total)
    assert net.initial_hidden.grad is not None
    assert net.item_embedding.grad is not None
    assert net.logit_scale.grad is not None
    assert net.initial_hidden.grad.abs().sum() > 0
    assert net.item_embedding.grad.abs().sum() == 0
    assert net.logit_scale.grad == 0


def test_cold_buckets_replace_a_share_of_known_items_alone() -> None:
    items = torch.arange(SPEC.input_count).repeat(2_000).int()
    changed = with_cold_items(items, SPEC, 0.25, torch.Generator().manual_seed(1))
    moved = changed != items
    assert (changed[moved] >= SPEC.item_count).all()
    assert (changed[moved] < SPEC.no_item).all()
    assert (items[moved] < SPEC.item_count).all()
    known = items < SPEC.item_count
    assert abs(moved[known].float().mean().item() - 0.25) < 0.02
    assert torch.equal(with_cold_items(items, SPEC, 0.0, torch.Generator()), items)


def test_dropout_keeps_the_mean_and_its_seed_decides() -> None:
    ones = torch.ones(100_000)
    one, again = (drop(ones, 0.3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, again)
    assert abs(one.mean().item() - 1) < 0.01
    assert abs((one == 0).float().mean().item() - 0.3) < 0.01
    assert drop(ones, 0.0, torch.Generator()) is ones


def test_perturbed_inputs_raise_the_loss_and_move_by_the_size_alone() -> None:
    inputs = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = (inputs.sin() ** 2).sum()
    moved = perturbed(inputs, loss, 0.01)
    torch.testing.assert_close((moved - inputs).norm(dim=-1), torch.full((2, 3), 0.01))
    assert (moved.sin() ** 2).sum() > loss


def test_every_extra_term_adds_to_the_loss_and_reaches_the_embedding() -> None:
    log = learnable_log(SPEC)
    plain = loss_of(log, GruNet(SPEC, torch.Generator().manual_seed(2)), PLAIN).total.item()
    for name in ("adversarial_weight", "contrastive_weight"):
        net = GruNet(SPEC, torch.Generator().manual_seed(2))
        loss = loss_of(log, net, msgspec.structs.replace(PLAIN, **{name: 1.0}))
        assert loss.total.item() > plain
        torch.autograd.backward(loss.total)
        assert net.item_embedding.grad is not None
        assert torch.isfinite(net.item_embedding.grad).all()


def test_checkpointed_blocks_give_the_same_loss_and_gradients() -> None:
    log = learnable_log(SPEC)
    config = msgspec.structs.replace(PLAIN, net="transformer", block_dropout=0.3)
    found = []
    for checkpointing in (False, True):
        net = build_net(SPEC, config.net_shape, torch.Generator().manual_seed(2))
        assert isinstance(net, TransformerNet)
        net.checkpointing = checkpointing
        loss = loss_of(log, net, config)
        torch.autograd.backward(loss.total)
        found.append((loss.total.item(), {n: p.grad for n, p in net.named_parameters()}))
    assert found[0][0] == found[1][0]
    for name, gradient in found[0][1].items():
        if gradient is not None:
            torch.testing.assert_close(gradient, found[1][1][name], msg=name)


@pytest.mark.parametrize("name", ["transformer", "gru"])
def test_half_precision_is_near_the_whole(name: NetName) -> None:
    log = learnable_log(SPEC)
    config = msgspec.structs.replace(PLAIN, net=name)
    half = msgspec.structs.replace(config, precision="bfloat16")
    net = build_net(SPEC, config.net_shape, torch.Generator().manual_seed(2))
    whole, rough = (loss_of(log, net, c).total.item() for c in (config, half))
    assert rough == pytest.approx(whole, rel=0.02)
    assert rough != whole


EVERYTHING = {
    "input_dropout": 0.2,
    "hidden_dropout": 0.2,
    "block_dropout": 0.3,
    "mask_share": 0.1,
    "cold_share": 0.1,
    "adversarial_weight": 0.2,
    "label_smoothing": 0.1,
    "recency_halving": 0.5,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"net": "transformer", **EVERYTHING},
        {"net": "gru", "item_loss": "sampled", "negatives": 3, **EVERYTHING},
        {"net": "lstm", "item_loss": "gbce", "negatives": 3},
    ],
    ids=["plain", "transformer", "sampled", "gbce"],
)
@pytest.mark.parametrize("size", [2, 3])
def test_shares_have_the_gradients_of_the_batch(changes: dict[str, Any], size: int) -> None:
    config = msgspec.structs.replace(PLAIN, **changes)
    net = build_net(SPEC, config.net_shape, torch.Generator().manual_seed(2))
    log = learnable_log(SPEC, users=8)
    columns = columns_of(log, SPEC, targets_of(log, SPEC), config)
    segments = segments_of(log, SPEC, config.max_length)
    batch = np.arange(7)

    def slopes(share: Share) -> tuple[BatchLoss, dict[str, torch.Tensor]]:
        net.zero_grad()
        generator = torch.Generator().manual_seed(5)
        loss = batch_loss(
            net, SPEC, columns, segments, batch, config, False, generator, share=share
        )
        loss.total.backward()
        named = net.named_parameters()
        return loss, {name: p.grad.clone() for name, p in named if p.grad is not None}

    whole, wanted = slopes(Share())
    parts = [slopes(Share(rank, size)) for rank in range(size)]
    for name, slope in wanted.items():
        mean = sum(found[name] for _, found in parts) / size
        torch.testing.assert_close(mean, slope, rtol=1e-4, atol=1e-6, msg=name)
    assert {loss.item_count for loss, _ in parts} == {whole.item_count}
    sums = sum(loss.item_sum for loss, _ in parts)
    torch.testing.assert_close(sums, whole.item_sum, rtol=1e-5, atol=1e-4)
