"""One click through the torch model, eagerly, as a tutorial would call it."""

import base64
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from model.checkpoint import load
from model.nets import GruNet, TokenBatch
from tests.bench.peers.history import WINDOW, State, gap_code, is_over


class TorchStep:
    """A checkpoint without dense features."""

    def __init__(self, folder: Path) -> None:
        checkpoint = load(folder)
        self.spec, self.items = checkpoint.spec, checkpoint.items
        self.named = msgspec.to_builtins(self.spec)
        self.version = f"{self.spec.name}-{checkpoint.manifest.fingerprint}"
        self.codes = {item: code for code, item in enumerate(self.items)}
        self.net = GruNet(self.spec)
        self.net.set_weights(checkpoint.weights)
        self.net.eval()
        self.dtype = np.dtype(self.spec.memory_dtype)
        with torch.inference_mode():
            # [H, V]: a copy that one product per event can use.
            self.directions = self.net.item_directions().T.contiguous()

    @torch.inference_mode()
    def advance(self, click: dict[str, Any], state: State | None) -> tuple[dict[str, Any], State]:
        """The prediction for a click, and the user's new state as JSON can hold it."""
        if state is not None and is_over(self.named, state, click):
            state = None
        window = [] if state is None else state["window"]
        gap = gap_code(self.named, click, {"window": window})
        memory = self._memory(state)
        actions = self.spec.actions
        code = actions.index(click["event_type"]) if click["event_type"] in actions else 1
        tokens = TokenBatch(
            torch.tensor([self.codes[click["item_id"]]]),
            torch.tensor([code]),
            torch.tensor([gap]),
            torch.zeros(1, 0),
        )
        surprise = -torch.log_softmax(self.net.queries(memory) @ self.directions, -1)[
            0, tokens.item
        ]
        hidden = self.net.step(tokens, memory)  # [1, H]
        kept = hidden.numpy().astype(self.dtype)
        hidden = torch.from_numpy(kept.astype(np.float32))
        logp = torch.log_softmax(self.net.queries(hidden) @ self.directions, -1)[0]  # [V]
        top = logp.topk(self.spec.top_k)
        action_p = torch.softmax(self.net.action_logits(hidden)[0], -1)
        items = zip(top.indices.tolist(), top.values.exp().tolist(), strict=True)
        prediction = {
            "event_id": click["event_id"],
            "user": click["user_id"],
            "at_ms": click["timestamp"],
            "model": self.version,
            "items": [
                {"item_id": self.items[item], "probability": round(share, 6)}
                for item, share in items
            ],
            "actions": dict(zip(actions, action_p.tolist(), strict=True)),
            "surprise": float(surprise),
        }
        window = [*window, [click["item_id"], click["timestamp"]]][-WINDOW:]
        return prediction, {"hidden": base64.b64encode(kept.tobytes()).decode(), "window": window}

    def _memory(self, state: State | None) -> torch.Tensor:
        if state is None:
            return self.net.initial(1)
        kept = np.frombuffer(base64.b64decode(state["hidden"]), self.dtype)
        return torch.from_numpy(kept.astype(np.float32))[None]  # [1, H]
