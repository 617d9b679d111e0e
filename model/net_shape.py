"""Which net a model is, and the names and shapes of its weights. No torch, so that whoever serves
can read a checkpoint."""

from typing import Literal

import msgspec

from model.spec import ModelSpec, SpecError

NetName = Literal["gru", "lstm", "transformer", "encoder_decoder"]
# Those that a graph is built for; the others teach, and are measured.
SERVED_NETS: tuple[NetName, ...] = ("gru",)
Shapes = dict[str, tuple[int, ...]]
# Heads that a model has when asked for; the worker's graph does without.
Task = Literal["churn", "promotion"]

# Of the hidden layer of a Transformer block's second branch, against H.
WIDENING = 2


class NetShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A net's name; blocks and heads of attention are a Transformer's alone, the number of actions
    that are foretold an encoder-decoder's. A Transformer's window is the spec's ``ring_length``:
    what a worker keeps of a user. ``tasks`` are heads beside those that every net has; a user who
    does nothing for ``churn_ms`` has churned."""

    name: NetName = "gru"
    layers: int = 2
    heads: int = 2
    horizon: int = 5
    tasks: tuple[Task, ...] = ()
    churn_ms: int = 0

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "horizon"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name} must be at least 1, got {getattr(self, name)}")


def weight_shapes(spec: ModelSpec, net: NetShape = NetShape()) -> Shapes:  # noqa: B008
    """Every weight of a model by name, with its shape.

    ``x = item_embedding[item] + action_embedding[action] + gap_embedding[gap] + dense @
    dense_weight`` enters the net; a GRU has the gate order (reset, update, new) and the formulas
    of ``torch.nn.GRU``. Item logits are ``logit_scale * cosine(hidden, item_embedding)``, known
    items alone. ``intent_head`` row 0 is the logit of a cart event, row 1 of a purchase; row g of
    ``gap_head`` is the logit of gap code g + 1. A user who has done nothing has the hidden state
    ``initial_hidden``.
    """
    width, actions, gaps = spec.hidden_width, len(spec.actions), spec.gap_count
    tasks = len(net.tasks)
    return {
        "item_embedding": (spec.input_count, width),
        "action_embedding": (actions, width),
        "gap_embedding": (gaps, width),
        "dense_weight": (len(spec.features), width),
        **_INSIDE[net.name](width, net),
        **(_decoder(width, actions) if net.name == "encoder_decoder" else {}),
        "initial_hidden": (width,),
        "action_head.weight": (actions, width),
        "action_head.bias": (actions,),
        "intent_head.weight": (2, width),
        "intent_head.bias": (2,),
        "gap_head.weight": (gaps - 1, width),
        "gap_head.bias": (gaps - 1,),
        **({"task_head.weight": (tasks, width), "task_head.bias": (tasks,)} if tasks else {}),
        "logit_scale": (),
    }


def _gru(width: int, net: NetShape) -> Shapes:
    return {
        "gru.weight_ih": (3 * width, width),
        "gru.weight_hh": (3 * width, width),
        "gru.bias_ih": (3 * width,),
        "gru.bias_hh": (3 * width,),
    }


def _lstm(width: int, net: NetShape) -> Shapes:
    return {
        "lstm.weight_ih": (4 * width, width),
        "lstm.weight_hh": (4 * width, width),
        "lstm.bias_ih": (4 * width,),
        "lstm.bias_hh": (4 * width,),
    }


def _transformer(width: int, net: NetShape) -> Shapes:
    shapes: Shapes = {}
    for layer in range(net.layers):
        block: Shapes = {
            "attention_norm.weight": (width,),
            "mixing_norm.weight": (width,),
            "to_attention.weight": (3 * width, width),
            "from_attention.weight": (width, width),
            "attention_gate.weight": (width, width),
            "attention_gate.bias": (width,),
            "to_mixing.weight": (2 * WIDENING * width, width),
            "to_mixing.bias": (2 * WIDENING * width,),
            "from_mixing.weight": (width, WIDENING * width),
            "from_mixing.bias": (width,),
            "mixing_gate.weight": (width, width),
            "mixing_gate.bias": (width,),
        }
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    return shapes | {"final_norm.weight": (width,)}


def _decoder(width: int, actions: int) -> Shapes:
    return {
        "decoder_embedding": (actions, width),
        "decoder_start.weight": (width, width),
        "decoder_start.bias": (width,),
        "decoder_context.weight": (width, width),
        "decoder.weight_ih": (3 * width, width),
        "decoder.weight_hh": (3 * width, width),
        "decoder.bias_ih": (3 * width,),
        "decoder.bias_hh": (3 * width,),
        "decoder_head.weight": (actions, width),
        "decoder_head.bias": (actions,),
    }


_INSIDE = {
    "gru": _gru,
    "lstm": _lstm,
    "transformer": _transformer,
    "encoder_decoder": _gru,
}
