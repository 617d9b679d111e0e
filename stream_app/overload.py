"""How much of its work a partition leaves out while it is behind its input.

The level follows the lag in steps, with hysteresis, so that it neither flaps nor stays. It is
recorded before it takes effect like everything else that an output depends on.
"""

from dataclasses import dataclass
from typing import NamedTuple

FULL, MAX_LEVEL = 0, 3


@dataclass(frozen=True)
class OverloadConfig:
    """When to degrade. Level n is entered at a lag of ``lag_ms`` doubled n-1 times, and left, one
    level at a time, after ``recover_ms`` below half of that. Without ``lag_ms`` nothing degrades.
    """

    lag_ms: int | None = 30_000
    recover_ms: int = 10_000

    def entered_at_ms(self, level: int) -> float:
        """Lag that a level begins at."""
        return float("inf") if self.lag_ms is None else self.lag_ms * 2.0 ** (level - 1)


class Load(NamedTuple):
    """The level in force, and since when the lag has been small enough to lower it."""

    level: int = FULL
    calm_since_ms: int | None = None


def weighed(load: Load, lag_ms: int, now_ms: int, config: OverloadConfig) -> Load:
    """The load after one more look at the lag."""
    reached = [n for n in range(load.level + 1, MAX_LEVEL + 1) if lag_ms >= config.entered_at_ms(n)]
    if reached:
        return Load(reached[-1])
    if load.level == FULL or lag_ms >= config.entered_at_ms(load.level) / 2:
        return Load(load.level)
    since_ms = now_ms if load.calm_since_ms is None else load.calm_since_ms
    if now_ms - since_ms < config.recover_ms:
        return Load(load.level, since_ms)
    return Load(load.level - 1, now_ms)


def effective_lag_ms(appended_ms: int | None, serving_since_ms: int, now_ms: int) -> int:
    """Age of the oldest event that waits, but no more than the time that the partition has been
    served: what piled up while nobody was there is no sign of overload yet; that it is still there
    half a minute later is one. Without a known append time there is no lag.
    """
    if appended_ms is None or appended_ms < 0:
        return 0
    return max(0, min(now_ms - appended_ms, now_ms - serving_since_ms))
