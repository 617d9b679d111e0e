"""One step of the model in plain numpy and float64: what every faster form must agree with."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from model.checkpoint import NORM_FLOOR
from model.spec import Advance, Floats, Hidden, Memory, ModelSpec, Tokens

Doubles = npt.NDArray[np.float64]


def advance(
    spec: ModelSpec, weights: Mapping[str, Floats], tokens: Tokens, memory: Memory
) -> Advance:
    """What ``Engine.advance`` promises. The memory keeps the type it came in: a float32 memory
    stays unrounded whatever the spec says."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    rows = np.arange(len(tokens.item))
    hidden = memory.hidden.astype(np.float64)  # [B, H]
    known = tokens.item < spec.item_count
    item_logits = logits(spec, w, hidden)[rows, np.minimum(tokens.item, spec.item_count - 1)]
    action_before = _log_softmax(hidden @ w["action_head.weight"].T + w["action_head.bias"])

    new_hidden = _rounded(step(w, tokens, hidden), memory.hidden)  # [B, H]
    after = new_hidden.astype(np.float64)
    scores = logits(spec, w, after)  # [B, V]
    log_z = _log_sum_exp(scores)  # [B]
    top = np.argsort(-scores, axis=1, kind="stable")[:, : spec.top_k]  # [B, K]
    intent = _sigmoid(after @ w["intent_head.weight"].T + w["intent_head.bias"])  # [B, 2]
    return Advance(
        memory=Memory(new_hidden, log_z.astype(np.float32)),
        item_surprise=_single(np.where(known, memory.log_z - item_logits, 0.0)),
        action_surprise=_single(-action_before[rows, tokens.action]),
        top_items=top.astype(np.int32),
        top_logp=_single(np.take_along_axis(scores, top, axis=1) - log_z[:, None]),
        action_logp=_single(
            _log_softmax(after @ w["action_head.weight"].T + w["action_head.bias"])
        ),
        cart=_single(intent[:, 0]),
        purchase=_single(intent[:, 1]),
        gap_logp=_single(_log_softmax(after @ w["gap_head.weight"].T + w["gap_head.bias"])),
    )


def initial(spec: ModelSpec, weights: Mapping[str, Floats], rows: int) -> Memory:
    """Memory of users who have done nothing, rounded as the spec says, with its exact log Z."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    hidden = np.tile(weights["initial_hidden"].astype(spec.memory_dtype), (rows, 1))
    log_z = _log_sum_exp(logits(spec, w, hidden[:1].astype(np.float64)))
    return Memory(hidden, np.repeat(log_z, rows).astype(np.float32))


def logits(spec: ModelSpec, weights: Mapping[str, Doubles], hidden: Doubles) -> Doubles:
    """Scores of the known items, [B, H] -> [B, V]."""
    items = weights["item_embedding"][: spec.item_count]
    return weights["logit_scale"] * (_unit(hidden) @ _unit(items).T)


def step(weights: Mapping[str, Doubles], tokens: Tokens, hidden: Doubles) -> Doubles:
    """The GRU by the formulas of torch.nn.GRU, [B, H] -> [B, H]."""
    inputs = (
        weights["item_embedding"][tokens.item]
        + weights["action_embedding"][tokens.action]
        + weights["gap_embedding"][tokens.gap]
        + tokens.dense @ weights["dense_weight"]
    )
    from_input = inputs @ weights["gru.weight_ih"].T + weights["gru.bias_ih"]  # [B, 3H]
    from_memory = hidden @ weights["gru.weight_hh"].T + weights["gru.bias_hh"]  # [B, 3H]
    reset_in, update_in, new_in = np.split(from_input, 3, axis=1)
    reset_memory, update_memory, new_memory = np.split(from_memory, 3, axis=1)
    reset = _sigmoid(reset_in + reset_memory)
    update = _sigmoid(update_in + update_memory)
    new = np.tanh(new_in + reset * new_memory)
    return (1 - update) * new + update * hidden


def _unit(vectors: Doubles) -> Doubles:
    lengths: Doubles = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Doubles = vectors / np.maximum(lengths, NORM_FLOOR)
    return unit


def _log_sum_exp(values: Doubles) -> Doubles:
    largest: Doubles = values.max(axis=1)
    total: Doubles = largest + np.log(np.exp(values - largest[:, None]).sum(axis=1))
    return total


def _log_softmax(values: Doubles) -> Doubles:
    return values - _log_sum_exp(values)[:, None]


def _sigmoid(values: Doubles) -> Doubles:
    return np.exp(-np.logaddexp(0.0, -values))


def _single(values: Doubles) -> Floats:
    return values.astype(np.float32)


def _rounded(values: Doubles, like: Hidden) -> Hidden:
    if like.dtype == np.float16:
        return values.astype(np.float16)
    return values.astype(np.float32)
