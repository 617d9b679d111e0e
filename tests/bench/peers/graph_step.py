"""One click through the exported graph, as a team would write it around ONNX Runtime.

Every peer that runs ONNX Runtime shares this: decode, step, encode. What differs between peers is
the engine around it. State is what ClickAhead keeps too: the model's memory, its log-normaliser and
the last 50 events of the user.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson

from tests.bench.peers.history import WINDOW, State, gap_code, is_over


class GraphStep:
    """The graph of an exported model without dense features."""

    def __init__(self, folder: Path) -> None:
        manifest = orjson.loads((folder / "manifest.json").read_bytes())
        self.spec = manifest["spec"]
        self.version = f"{self.spec['name']}-{manifest['fingerprint']}"
        self.items: list[str] = orjson.loads((folder / manifest["items_file"]).read_bytes())
        self.codes = {item: code for code, item in enumerate(self.items)}
        self.initial_log_z = orjson.loads((folder / "step.json").read_bytes())["initial_log_z"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            str(folder / "step.onnx"), options, providers=["CPUExecutionProvider"]
        )
        dtype = np.float16 if self.spec["memory_dtype"] == "float16" else np.float32
        self.initial = initial_hidden(folder).astype(dtype)
        self.dtype = dtype

    def fresh(self) -> State:
        return {"hidden": self.initial.tobytes(), "log_z": self.initial_log_z, "window": []}

    def advance(
        self, clicks: Sequence[dict[str, Any]], states: Sequence[State | None]
    ) -> list[tuple[bytes, State]]:
        """Predictions and new states of B clicks of B users."""
        met = [self._met(click, state) for click, state in zip(clicks, states, strict=True)]
        actions = self.spec["actions"]
        known = len(actions)
        item = np.array([self.codes[click["item_id"]] for click in clicks], np.int32)
        action = np.array([_code(actions, click["event_type"]) for click in clicks], np.int32)
        gaps = [gap_code(self.spec, *pair) for pair in zip(clicks, met, strict=True)]
        hidden = np.frombuffer(b"".join(state["hidden"] for state in met), self.dtype)
        log_z = np.array([[state["log_z"]] for state in met], np.float32)
        new_hidden, top_items, scores = self.session.run(
            ["new_hidden", "top_items", "scores"],
            {
                "item": item,
                "action": action,
                "gap": np.array(gaps, np.int32),
                "chosen_action": action[:, None],
                "hidden": hidden.reshape(len(met), -1),
                "log_z": log_z,
            },
        )
        k = self.spec["top_k"]
        found = []
        for row, (click, state) in enumerate(zip(clicks, met, strict=True)):
            score = scores[row]
            shares = np.exp(score[3 : 3 + k + known])
            window = [*state["window"], [click["item_id"], click["timestamp"]]][-WINDOW:]
            kept = {
                "hidden": new_hidden[row].tobytes(),
                "log_z": float(score[2]),
                "window": window,
            }
            found.append((self._prediction(click, score, top_items[row], shares), kept))
        return found

    def _met(self, click: dict[str, Any], state: State | None) -> State:
        """The state that a click meets: a fresh one for a new user or a new session."""
        if state is None or is_over(self.spec, state, click):
            return self.fresh()
        return state

    def _prediction(self, click: dict[str, Any], score: Any, top: Any, shares: Any) -> bytes:
        k = self.spec["top_k"]
        items = zip(top.tolist(), shares[:k].tolist(), strict=True)
        return orjson.dumps(
            {
                "event_id": click["event_id"],
                "user": click["user_id"],
                "at_ms": click["timestamp"],
                "model": self.version,
                "items": [
                    {"item_id": self.items[code], "probability": round(share, 6)}
                    for code, share in items
                ],
                "actions": dict(zip(self.spec["actions"], shares[k:].tolist(), strict=True)),
                "surprise": float(score[0] + score[1]),
            }
        )


def _code(actions: list[str], name: str) -> int:
    return actions.index(name) if name in actions else 1


def initial_hidden(folder: Path) -> Any:
    """The memory of a user who has done nothing, [H] float32."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")["initial_hidden"]
