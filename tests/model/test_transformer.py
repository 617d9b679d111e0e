"""The Transformer's window, its cache, and what a restart can restore."""

import msgspec
import pytest
import torch

from model.net_shape import NetShape
from model.nets import TokenBatch
from model.spec import SpecError
from model.transformer import TransformerNet
from tests.model.test_nets import random_tokens, spec_of

WINDOW = 4
SPEC = msgspec.structs.replace(spec_of(8), ring_length=WINDOW)


def net_of(layers: int = 2) -> TransformerNet:
    shape = NetShape(name="transformer", layers=layers)
    return TransformerNet(SPEC, torch.Generator().manual_seed(1), shape)


def columns(tokens: TokenBatch, part: slice) -> TokenBatch:
    return TokenBatch(*(column[:, part] for column in tokens))


def test_the_cache_grows_to_the_window_and_no_further() -> None:
    net, width = net_of(), SPEC.hidden_width
    tokens = random_tokens(SPEC, (3, 9), torch.Generator().manual_seed(2))
    memory = net.initial(3)
    for t in range(9):
        memory = net.step(TokenBatch(*(column[:, t] for column in tokens)), memory)
        kept = min(t + 1, WINDOW - 1)
        assert memory.shape == (3, width + 1 + 2 * 2 * kept * width)
        assert (memory[:, width] == t + 1).all()


@pytest.mark.parametrize("layers", [1, 2])
def test_what_lies_before_all_windows_is_forgotten(layers: int) -> None:
    net = net_of(layers)
    tokens = random_tokens(SPEC, (2, 12), torch.Generator().manual_seed(2))
    reach = layers * (WINDOW - 1)  # each layer looks back so many events
    item = tokens.item.clone()
    item[:, : 11 - reach] = 0
    with torch.no_grad():
        whole = net(tokens, net.initial(2))[:, -1]
        torch.testing.assert_close(
            net(tokens._replace(item=item), net.initial(2))[:, -1], whole, atol=1e-5, rtol=0
        )
        item[:, 11 - reach] = (tokens.item[:, 11 - reach] + 1) % SPEC.item_count
        assert not torch.allclose(net(tokens._replace(item=item), net.initial(2))[:, -1], whole)


def test_places_count_by_their_distance_alone() -> None:
    net = net_of()
    tokens = random_tokens(SPEC, (2, 3), torch.Generator().manual_seed(2))
    late = net.initial(2).clone()
    late[:, SPEC.hidden_width] = 1_000  # an empty cache, a thousand events on
    with torch.no_grad():
        torch.testing.assert_close(
            net(tokens, late), net(tokens, net.initial(2)), atol=1e-4, rtol=0
        )


def test_users_of_different_pasts_share_a_batch() -> None:
    net = net_of()
    tokens = random_tokens(SPEC, (2, 5), torch.Generator().manual_seed(2))
    with torch.no_grad():
        _, long = net.run(net.embed(columns(tokens, slice(0, 3))), net.initial(2))
        _, short = net.run(net.embed(columns(tokens, slice(2, 3))), net.initial(2))
        # A shorter cache is filled up in front with what nobody may look at.
        begin, cache = short.split([SPEC.hidden_width + 1, 2 * 2 * SPEC.hidden_width], 1)
        rows = cache.view(2, 2, 2, 1, SPEC.hidden_width)
        filled = torch.cat([torch.full((2, 2, 2, 2, SPEC.hidden_width), 9.0), rows], 3)
        short = torch.cat([begin, filled.reshape(2, -1)], 1)
        mixed = torch.stack([long[0], short[1]])
        found = net(columns(tokens, slice(3, 5)), mixed)
        whole = net(tokens, net.initial(2))[0, 3:]
        alone = net(columns(tokens, slice(2, 5)), net.initial(2))[1, 1:]
        torch.testing.assert_close(found, torch.stack([whole, alone]), atol=1e-5, rtol=0)


def test_a_restart_restores_the_memory_of_a_history_within_the_window() -> None:
    net = net_of()
    tokens = random_tokens(SPEC, (2, WINDOW), torch.Generator().manual_seed(2))
    with torch.no_grad():
        memory = net.initial(2)
        for t in range(WINDOW):
            memory = net.step(TokenBatch(*(column[:, t] for column in tokens)), memory)
        torch.testing.assert_close(net.rebuilt(tokens), memory, atol=1e-5, rtol=0)


def test_heads_that_do_not_fit_are_refused() -> None:
    shape = NetShape(name="transformer", heads=3)
    with pytest.raises(SpecError, match="3 heads of even width; change one"):
        TransformerNet(SPEC, None, shape)
    with pytest.raises(SpecError, match="at least 1"):
        NetShape(name="transformer", layers=0)
