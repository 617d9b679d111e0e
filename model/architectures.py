"""From a net's shape, or a checkpoint, to the net."""

import torch

from model.checkpoint import Checkpoint
from model.encoder_decoder import EncoderDecoderNet
from model.net_shape import NetShape
from model.nets import GruNet, SequenceNet
from model.recurrent import LstmNet
from model.spec import ModelSpec
from model.transformer import TransformerNet


def build_net(
    spec: ModelSpec, shape: NetShape, generator: torch.Generator | None = None
) -> SequenceNet:
    """A net with weights drawn from ``generator``; raises SpecError where heads do not fit."""
    net = _without_tasks(spec, shape, generator)
    net.add_tasks(len(shape.tasks), generator)
    return net


def net_of(saved: Checkpoint) -> SequenceNet:
    """The net of a checkpoint, with its weights."""
    net = build_net(saved.spec, saved.manifest.net)
    net.set_weights(saved.weights)
    return net


def _without_tasks(
    spec: ModelSpec, shape: NetShape, generator: torch.Generator | None
) -> SequenceNet:
    match shape.name:
        case "gru":
            return GruNet(spec, generator)
        case "lstm":
            return LstmNet(spec, generator)
        case "transformer":
            return TransformerNet(spec, generator, shape)
        case "encoder_decoder":
            return EncoderDecoderNet(spec, generator, shape)
