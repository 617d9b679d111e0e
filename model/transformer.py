"""A causal Transformer: pre-norm, rotary positions, gated residuals, attention over a window.

The block follows what won on this task: SASRec (Kang & McAuley 2018) with the LiGR layer of eSASRec
(Tikhonovich et al. 2025): both branches are gated by their input, the second is a SwiGLU (Shazeer
2020). Rotary positions (Su et al. 2021) make attention depend on distances alone, so that a cache
of keys and values can slide along a history of any length.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from model.dropout import Dropout
from model.net_shape import WIDENING, NetShape
from model.nets import NO_DROPOUT, SequenceNet, TokenBatch
from model.spec import ModelSpec, SpecError

ROTARY_BASE = 10_000.0


class TransformerNet(SequenceNet):
    """Memory is ``[hidden, count, cache]``: the last hidden state, the number of events read, and
    per layer the keys and values of the last events, as many as fit the window.

    Rows of a batch share the width of their cache; what lies before a user's first event is masked.
    """

    def __init__(
        self,
        spec: ModelSpec,
        generator: torch.Generator | None = None,
        shape: NetShape = NetShape(name="transformer"),  # noqa: B008
    ) -> None:
        super().__init__(spec, generator)
        if self.width % (2 * shape.heads):
            raise SpecError(
                f"hidden_width={self.width} cannot be split into {shape.heads} heads of even "
                "width; change one of the two"
            )
        self.shape, self.window = shape, spec.ring_length
        self.blocks = nn.ModuleList(
            _Block(self.width, shape.heads, shape.layers, generator) for _ in range(shape.layers)
        )
        # Blocks are computed anew in the backward pass instead of kept: memory against time.
        self.checkpointing = False
        self.final_norm = nn.RMSNorm(self.width)

    def initial(self, rows: int) -> Tensor:
        nothing = self.initial_hidden.new_zeros(1)
        return torch.cat([self.initial_hidden, nothing]).expand(rows, -1)

    def hidden_of(self, memory: Tensor) -> Tensor:
        return memory[:, : self.width]

    def run(
        self, inputs: Tensor, memory0: Tensor, dropout: Dropout = NO_DROPOUT
    ) -> tuple[Tensor, Tensor]:
        rows, length, width = inputs.shape
        count = memory0[:, width]  # [B]
        cache = memory0[:, width + 1 :].view(rows, self.shape.layers, 2, -1, width)
        places = count[:, None] + torch.arange(length)  # [B, T]
        mask = _mask(count, cache.shape[3], length, self.window)
        hidden, caches = self._through(inputs, cache, places, mask, dropout)
        after = torch.stack(caches, 1)[:, :, :, -(self.window - 1) :].reshape(rows, -1)
        memory = torch.cat([hidden[:, -1], (count + length)[:, None], after], 1)
        return hidden, memory

    def both_ways(self, inputs: Tensor, real: Tensor, dropout: Dropout = NO_DROPOUT) -> Tensor:
        """States [B, T, H] of embedded sequences [B, T, H] whose events look at later ones, too;
        what is not ``real`` [B, T] is looked at by none. For masked pre-training alone."""
        rows, length, width = inputs.shape
        nothing = inputs.new_zeros(rows, self.shape.layers, 2, 0, width)
        places = torch.arange(length)
        near = (places - places[:, None]).abs() < self.window  # [T, T]
        mask = near & real[:, None, None]  # [B, 1, T, T]
        return self._through(inputs, nothing, places.expand(rows, -1), mask, dropout)[0]

    def _through(
        self, inputs: Tensor, cache: Tensor, places: Tensor, mask: Tensor, dropout: Dropout
    ) -> tuple[Tensor, list[Tensor]]:
        """Hidden states [B, T, H], and each layer's keys and values [B, 2, w + T, H]."""
        turns = _turns(places, self.width // self.shape.heads)
        states = inputs * self.width**0.5  # [B, T, H], of the length that the norms give branches
        caches = []
        for layer, block in enumerate(self.blocks):
            given = (states, cache[:, layer], turns, mask, dropout, layer)
            if self.checkpointing and self.training:
                states, kept = checkpoint(
                    block, *given, use_reentrant=False, preserve_rng_state=False
                )
            else:
                states, kept = block(*given)
            caches.append(kept)
        return self.final_norm(states), caches

    def rebuilt(self, tokens: TokenBatch) -> Tensor:
        """Memory [B, M] from the events of a window alone, [B, T]: what a restart can restore."""
        return self.run(self.embed(tokens), self.initial(len(tokens.item)))[1]


class _Block(nn.Module):
    def __init__(
        self, width: int, heads: int, layers: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mixing_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.to_attention = nn.Linear(width, 3 * width, bias=False)  # queries, keys, values
        self.from_attention = nn.Linear(width, width, bias=False)
        self.attention_gate = nn.Linear(width, width)
        self.to_mixing = nn.Linear(width, 2 * WIDENING * width)  # opening and content
        self.from_mixing = nn.Linear(WIDENING * width, width)
        self.mixing_gate = nn.Linear(width, width)
        with torch.no_grad():
            for part in self.children():
                if isinstance(part, nn.Linear):
                    part.weight.normal_(std=part.in_features**-0.5, generator=generator)
                    if part.bias is not None:
                        part.bias.zero_()
            for part in (self.from_attention, self.from_mixing):
                part.weight.mul_((2 * layers) ** -0.5)

    def forward(
        self,
        states: Tensor,
        cache: Tensor,
        turns: tuple[Tensor, Tensor],
        mask: Tensor,
        dropouts: Dropout,
        layer: int,
    ) -> tuple[Tensor, Tensor]:
        """States [B, T, H] and the keys and values [B, 2, w + T, H] that they were made with."""
        rows, length, width = states.shape
        dropout = dropouts.stream(layer)
        normed = self.attention_norm(states)
        query, key, value = self.to_attention(normed).chunk(3, -1)  # [B, T, H]
        query, key = (_turned(part, turns, self.heads) for part in (query, key))
        kept = torch.cat([cache, torch.stack([key, value], 1)], 2)  # [B, 2, w + T, H]
        key, value = kept.unbind(1)  # [B, w + T, H]
        query, key, value = (self._by_head(part) for part in (query, key, value))
        mixed = functional.scaled_dot_product_attention(query, key, value, mask)
        mixed = mixed.transpose(1, 2).reshape(rows, length, width)  # [B, T, H]
        gate = torch.sigmoid(self.attention_gate(states))
        states = states + dropout(self.from_attention(mixed)) * gate
        opening, content = self.to_mixing(self.mixing_norm(states)).chunk(2, -1)
        branch = self.from_mixing(dropout(functional.silu(opening) * content))  # [B, T, H]
        gate = torch.sigmoid(self.mixing_gate(states))
        return states + dropout(branch) * gate, kept

    def _by_head(self, values: Tensor) -> Tensor:
        """[B, T, H] to [B, heads, T, D]."""
        rows, length, _ = values.shape
        return values.view(rows, length, self.heads, -1).transpose(1, 2)


def _mask(count: Tensor, cached: int, length: int, window: int) -> Tensor:
    """Which keys each query may see, [B or 1, 1, T, w + T]: itself and the window before it."""
    query = torch.arange(length)[:, None]  # [T, 1], places counted from the first new event
    key = torch.arange(-cached, length)  # [w + T]
    near = (key <= query) & (key > query - window)  # [T, w + T]
    if not cached:
        return near[None, None]
    real = count[:, None] + key >= 0  # [B, w + T]
    return near[None, None] & real[:, None, None]


def _turns(places: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, [B, T, 1, D/2] each."""
    rates = ROTARY_BASE ** -(torch.arange(0, head_width, 2) / head_width)  # [D/2]
    angles = (places[..., None] * rates)[:, :, None]
    return angles.cos(), angles.sin()


def _turned(values: Tensor, turns: tuple[Tensor, Tensor], heads: int) -> Tensor:
    """Queries or keys [B, T, H] with each head's pairs turned by its place's angles."""
    cos, sin = turns
    halves = values.reshape(*values.shape[:2], heads, 2, -1)
    first, second = halves.unbind(-2)  # [B, T, heads, D/2]
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
    return turned.flatten(-2)
