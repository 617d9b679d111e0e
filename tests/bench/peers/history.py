"""What a peer keeps of a user's past, and what the model reads of it."""

from bisect import bisect_right
from typing import Any

WINDOW = 50
SESSION_GAP_MS = 1_800_000

State = dict[str, Any]


def is_over(spec: dict[str, Any], state: State, click: dict[str, Any]) -> bool:
    """Whether the model forgets the user before this click."""
    gap_ms = click["timestamp"] - state["window"][-1][1]
    return bool(spec["reset_at_session"]) and gap_ms >= SESSION_GAP_MS


def gap_code(spec: dict[str, Any], click: dict[str, Any], state: State) -> int:
    if not state["window"]:
        return 0
    return 1 + bisect_right(spec["gap_edges_ms"], click["timestamp"] - state["window"][-1][1])
