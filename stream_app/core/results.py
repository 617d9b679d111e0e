"""What pass 2 found, by step, for pass 3 to judge and to publish."""

import msgspec
import numpy as np

from model.spec import Advance, Floats, Ints, ModelSpec, Places, Tokens
from stream_app.core.state import EXPECTED, NO_ACTION


class Results(msgspec.Struct, frozen=True):
    """Entries 0 .. N-1 are the steps. Behind them comes one per late step: the corrected prediction
    of the user's newest event, which describes the memory that the late one left behind."""

    left: dict[int, int]  # late step -> entry of its correction
    dense: Floats  # [N, F] features of the event
    score: Floats  # [N] largest surprise in the window, nats
    item_surprise: Floats  # [N]
    action_surprise: Floats  # [N]
    close_surprise: Floats  # [N] nats, should the session end after this step
    top_items: Ints  # [N, K]
    top_logp: Floats  # [N, K]
    action_logp: Floats  # [N, A]
    cart: Floats  # [N]
    purchase: Floats  # [N]
    gap_logp: Floats  # [N, G-1]
    expected_item: Ints  # [N, 3] what the step before expected, -1: nothing
    expected_item_logp: Floats  # [N, 3]
    expected_action: Ints  # [N, 3]
    expected_action_logp: Floats  # [N, 3]

    def left_by(self, step: int) -> int:
        """The entry that describes the memory which a step left."""
        return self.left.get(step, step)


def keep(
    results: Results, entries: Places, tokens: Tokens, step: Advance, users: Places | slice
) -> None:
    """Write what a step says of ``users`` [b] among its rows into ``entries`` [b]; scores and
    expectations are the caller's."""
    results.dense[entries] = tokens.dense[users]
    for name in ("item_surprise", "action_surprise", "top_items", "top_logp"):
        getattr(results, name)[entries] = getattr(step, name)[users]
    for name in ("action_logp", "cart", "purchase", "gap_logp"):
        getattr(results, name)[entries] = getattr(step, name)[users]
    results.close_surprise[entries] = -step.action_logp[users, 0]


def empty(steps: int, late: list[int], spec: ModelSpec) -> Results:
    """Results of so many steps, of which ``late`` get a correction, before anything is found."""
    n = steps + len(late)

    def floats(*width: int) -> Floats:
        return np.zeros((n, *width), np.float32)

    def codes(value: int) -> Ints:
        made = np.empty((n, EXPECTED), np.int32)
        made.fill(value)
        return made

    return Results(
        left={step: steps + number for number, step in enumerate(late)},
        dense=floats(len(spec.features)),
        score=floats(),
        item_surprise=floats(),
        action_surprise=floats(),
        close_surprise=floats(),
        top_items=np.zeros((n, spec.top_k), np.int32),
        top_logp=floats(spec.top_k),
        action_logp=floats(len(spec.actions)),
        cart=floats(),
        purchase=floats(),
        gap_logp=floats(spec.gap_count - 1),
        expected_item=codes(-1),
        expected_item_logp=floats(EXPECTED),
        expected_action=codes(NO_ACTION),
        expected_action_logp=floats(EXPECTED),
    )
