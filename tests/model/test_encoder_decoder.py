"""The decoder: what it is told, what it writes, and that it searches well."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from model.data import NONE, stretch_of, targets_of
from model.encoder_decoder import EncoderDecoderNet, following_actions
from model.log import EventLog
from model.net_shape import NetShape
from model.spec import CLOSE
from tests.model.logs import logs, spec_of

SPEC = spec_of(actions=("_close", "other", "view"))
SHAPE = NetShape(name="encoder_decoder", horizon=3)


def a_net() -> EncoderDecoderNet:
    net = EncoderDecoderNet(SPEC, torch.Generator().manual_seed(1), SHAPE)
    with torch.no_grad():
        net.decoder_head.weight.mul_(5)
    return net


HIDDEN = torch.randn(4, SPEC.hidden_width, generator=torch.Generator().manual_seed(2))


def all_sequences(net: EncoderDecoderNet) -> dict[tuple[int, ...], torch.Tensor]:
    """The log-probability [M] of every sequence, by the loss that training has."""
    found = {}
    for sequence in product(range(len(SPEC.actions)), repeat=net.horizon):
        end = sequence.index(CLOSE) if CLOSE in sequence else net.horizon
        if any(sequence[end:]):
            continue
        asked = [action if step <= end else NONE for step, action in enumerate(sequence)]
        known = sum(action != NONE for action in asked)
        rows = [net.decoder_loss(row[None], torch.tensor([asked])) for row in HIDDEN]
        found[sequence] = -torch.stack(rows).detach() * known
    return found


def test_a_wide_beam_finds_what_there_is_and_a_narrow_one_no_more() -> None:
    net = a_net()
    every = all_sequences(net)
    logs_of = torch.stack(list(every.values()))  # [sequences, M]
    torch.testing.assert_close(logs_of.exp().sum(0), torch.ones(len(HIDDEN)))
    wide = net.foretell(HIDDEN, beams=len(every))
    torch.testing.assert_close(wide.log_share, logs_of.amax(0), atol=1e-5, rtol=1e-5)
    for row, sequence in enumerate(wide.actions.tolist()):
        assert every[tuple(sequence)][row] == pytest.approx(float(wide.log_share[row]), abs=1e-5)
    for step in range(net.horizon):
        for action in range(len(SPEC.actions)):
            share = sum(logs.exp() for found, logs in every.items() if found[step] == action)
            torch.testing.assert_close(wide.shares[:, step, action], share)
    greedy = net.foretell(HIDDEN, beams=1)
    assert bool((greedy.log_share <= wide.log_share + 1e-6).all())
    for row, sequence in enumerate(greedy.actions.tolist()):
        assert every[tuple(sequence)][row] == pytest.approx(float(greedy.log_share[row]), abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(logs(spec_of(), min_events=1))
def test_what_follows_is_the_rest_of_the_session(log: EventLog) -> None:
    spec = spec_of()
    session = stretch_of(log.session_start, log.events)
    found = following_actions(
        torch.from_numpy(targets_of(log, spec).action), torch.arange(log.events), 3
    )
    for event, row in enumerate(found.tolist()):
        end = log.session_start[session[event] + 1]
        rest = log.action[event + 1 : end].tolist()
        rest += [CLOSE] if log.closed[session[event]] else []
        assert row == (rest + 3 * [NONE])[:3]


def test_the_encoder_is_the_gru() -> None:
    assert set(a_net().weights()) > {"gru.weight_ih", "gru.weight_hh", "decoder.weight_ih"}
    np.testing.assert_equal(SHAPE.horizon, a_net().horizon)
