"""From a net's shape to the net."""

import torch

from model.net_shape import NetShape
from model.nets import GruNet, SequenceNet
from model.recurrent import LstmNet, MinGruNet
from model.spec import ModelSpec
from model.transformer import TransformerNet


def build_net(
    spec: ModelSpec, shape: NetShape, generator: torch.Generator | None = None
) -> SequenceNet:
    """A net with weights drawn from ``generator``; raises SpecError where heads do not fit."""
    match shape.name:
        case "gru":
            return GruNet(spec, generator)
        case "lstm":
            return LstmNet(spec, generator)
        case "mingru":
            return MinGruNet(spec, generator)
        case "transformer":
            return TransformerNet(spec, generator, shape)
