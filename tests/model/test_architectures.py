"""One contract for all nets: whole sequences, single events and cut sequences agree."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.architectures import build_net
from model.config import TrainConfig
from model.fit import Fitting
from model.net_shape import NetName, NetShape, weight_shapes
from model.nets import SequenceNet, TokenBatch
from model.questions import questions_of
from model.ranking import metrics_of
from model.scoring import answer
from model.spec import ModelSpec
from tests.model.logs import learnable_log
from tests.model.logs import spec_of as small_spec
from tests.model.test_nets import random_tokens, spec_of

NAMES: tuple[NetName, ...] = ("gru", "lstm", "transformer", "encoder_decoder")


def net_of(name: NetName, spec: ModelSpec, seed: int = 1) -> SequenceNet:
    generator = torch.Generator().manual_seed(seed)
    net = build_net(spec, NetShape(name=name), generator)
    net.dense_weight.data.normal_(generator=generator)
    return net


def columns(tokens: TokenBatch, part: slice | int) -> TokenBatch:
    return TokenBatch(*(column[:, part] for column in tokens))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 4),
    length=st.integers(1, 12),
    window=st.sampled_from([2, 3, 50]),
    data=st.data(),
)
def test_forward_is_repeated_step_and_may_be_cut(
    name: NetName, seed: int, rows: int, length: int, window: int, data: st.DataObject
) -> None:
    spec = msgspec.structs.replace(spec_of(8), ring_length=window)
    net = net_of(name, spec, seed)
    tokens = random_tokens(spec, (rows, length), torch.Generator().manual_seed(seed))
    cut = data.draw(st.integers(0, length))
    with torch.no_grad():
        whole = net(tokens, net.initial(rows))
        memory = net.initial(rows)
        for t in range(length):
            memory = net.step(columns(tokens, t), memory)
            torch.testing.assert_close(net.hidden_of(memory), whole[:, t], atol=1e-5, rtol=0)
        if 0 < cut < length:
            early = columns(tokens, slice(0, cut))
            first, between = net.run(net.embed(early), net.initial(rows))
            rest = net(columns(tokens, slice(cut, length)), between)
            torch.testing.assert_close(torch.cat([first, rest], 1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_known_of_later_events_or_of_other_users(name: NetName) -> None:
    spec = spec_of(8)
    net = net_of(name, spec)
    tokens = random_tokens(spec, (3, 7), torch.Generator().manual_seed(2))
    other = tokens._replace(item=(tokens.item + 1) % spec.item_count)
    mixed = TokenBatch(
        *(torch.cat([a[:, :4], b[:, 4:]], 1) for a, b in zip(tokens, other, strict=True))
    )
    with torch.no_grad():
        whole = net(tokens, net.initial(3))
        torch.testing.assert_close(net(mixed, net.initial(3))[:, :4], whole[:, :4])
        alone = net(TokenBatch(*(column[1:2] for column in tokens)), net.initial(1))
        torch.testing.assert_close(alone, whole[1:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_memory_begins_with_the_hidden_state_of_nothing(name: NetName) -> None:
    net = net_of(name, spec_of(8))
    hidden = net.hidden_of(net.initial(2))
    assert torch.equal(hidden, net.initial_hidden.expand(2, -1))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_the_contract_and_carry_everything(name: NetName) -> None:
    spec = spec_of(8)
    one, other = net_of(name, spec, 1), net_of(name, spec, 2)
    shapes = weight_shapes(spec, NetShape(name=name))
    assert {key: array.shape for key, array in one.weights().items()} == shapes
    tokens = random_tokens(spec, (2, 5), torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert not torch.equal(one(tokens, one.initial(2)), other(tokens, other.initial(2)))
        other.set_weights(one.weights())
        assert torch.equal(one(tokens, one.initial(2)), other(tokens, other.initial(2)))


@pytest.mark.parametrize("name", NAMES)
def test_every_net_learns_what_can_be_learned(name: NetName) -> None:
    spec = small_spec(items=12, width=16)
    log = learnable_log(spec, users=80)
    config = TrainConfig(net=name, epochs=12, batch_sequences=16, learning_rate=1e-2)
    fitting = Fitting(log, spec, config, config.epochs)
    for epoch in range(config.epochs):
        batches = fitting.batches(epoch)
        for number, batch in enumerate(batches):
            fitting.step(epoch, number, len(batches), batch)
    fresh = learnable_log(spec, users=40, seed=1)
    questions = questions_of(fresh, spec, "session")
    ranks = answer(fitting.average, fresh, spec, questions, np.zeros(0, np.int64)).ranks
    assert metrics_of(ranks)["recall@1"] > 0.7  # ceiling: about 0.9
