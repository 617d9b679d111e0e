"""Low-rank adapters (Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022) on
a net, through peft; merged into its weights before anybody else sees them."""

import copy
from typing import Any, ClassVar

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from model.nets import GruNet, SequenceNet


class LoraError(ValueError):
    """A net that has nothing to adapt."""

    exit_code: ClassVar[int] = 2


def adapted(net: SequenceNet, rank: int, seed: int) -> None:
    """Freeze a net and put adapters of a rank on its matrices inside, the GRU's or the linear
    layers', and on its heads: they alone are learned. Embeddings stay as they are."""
    linear = [name for name, part in net.named_modules() if isinstance(part, nn.Linear)]
    matrices = ["gru.weight_ih_l0", "gru.weight_hh_l0"] if isinstance(net, GruNet) else []
    if not matrices and not any("head" not in name for name in linear):
        raise LoraError(
            f"adapters are for the nets gru and transformer, not for {type(net).__name__}; "
            "use --set lora_rank=0 with freeze=embedding"
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=linear,
        target_parameters=matrices,
        init_lora_weights=True,
    )
    # peft draws from torch's global generator.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, net)


def merged(net: SequenceNet) -> SequenceNet:
    """A copy of an adapted net with its adapters added to its weights."""
    whole: Any = copy.deepcopy(net)
    _unwrap(whole)
    result: SequenceNet = whole
    return result


def _unwrap(part: nn.Module) -> None:
    for name, child in list(part.named_children()):
        inner: Any = child
        while hasattr(inner, "merge") and hasattr(inner, "base_layer"):
            inner.merge()
            inner = inner.base_layer
        if inner is not child:
            setattr(part, name, inner)
        _unwrap(inner)
