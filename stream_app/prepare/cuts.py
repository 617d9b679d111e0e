"""Where a log is cut: the kind of split, and the times at which validation and test begin."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stream_app.prepare.config import (
    DAY_MS,
    MINUTE_MS,
    PrepareConfig,
    PrepareError,
    SplitKind,
)

REPEAT_SHARE = 0.02  # fewer repeats: histories of purchases or ratings
WHOLE_DAYS = 3

# Events of a stretch of time by interval: begin -> number.
CountsBetween = Callable[[int, int, int], Mapping[int, int]]


class Cuts(msgspec.Struct, frozen=True):
    """Times in epoch milliseconds, None where each user has times of their own."""

    kind: SplitKind
    validation_ms: int | None = None
    test_ms: int | None = None


def kind_for(asked: SplitKind, traits: Mapping[str, Any]) -> SplitKind:
    """The kind of split that suits a log: of user histories without repeats each user's last items,
    as published results are measured; of three days or more the last ones; else the last share."""
    if asked is not SplitKind.auto:
        return asked
    anonymous = traits["with_session_id"] == traits["clicks"] == traits["session_is_user"]
    repeats = 1 - traits["pairs"] / max(1, traits["item_events"])
    if not anonymous and repeats < REPEAT_SHARE and traits["item_events"] >= 3 * traits["users"]:
        return SplitKind.leave_one_out
    days = traits["last_ms"] // DAY_MS - traits["first_ms"] // DAY_MS + 1
    return SplitKind.last_day if days >= WHOLE_DAYS else SplitKind.last_share


def cuts_of(
    config: PrepareConfig, traits: Mapping[str, Any], counts_between: CountsBetween
) -> Cuts:
    """Where to cut a log. Raises PrepareError where a part would be empty."""
    kind = kind_for(config.split, traits)
    first_ms, last_ms, events = traits["first_ms"], traits["last_ms"], traits["clicks"]
    if kind is SplitKind.leave_one_out:
        return Cuts(kind)
    if kind is SplitKind.last_day:
        test_ms = last_ms // DAY_MS * DAY_MS
        validation_ms = test_ms - DAY_MS
    else:
        test = int(events * config.test_share)
        validation = int(events * (config.test_share + config.validation_share))
        test_ms, validation_ms = (
            nth_time(events - late, first_ms, last_ms, counts_between)
            for late in (max(1, test), max(2, validation))
        )
    if not first_ms < validation_ms < test_ms <= last_ms:
        raise PrepareError(
            f"the split {kind.value} leaves validation or what to learn from empty: the log has"
            f" {events:,} events over {(last_ms - first_ms) / DAY_MS:.2f} days. Choose another"
            " --split, larger shares, or give a longer log."
        )
    return Cuts(kind, validation_ms, test_ms)


def nth_time(nth: int, first_ms: int, last_ms: int, counts_between: CountsBetween) -> int:
    """The time of the event with ``nth`` others before it in the order of time.

    Counts days, then a day's minutes, then a minute's milliseconds: three passes over the log, and
    at most some ten thousand rows of each in memory.
    """
    from_ms, to_ms = first_ms, last_ms + 1
    for step_ms in (DAY_MS, MINUTE_MS, 1):
        for begins_ms, count in sorted(counts_between(step_ms, from_ms, to_ms).items()):
            if nth < count:
                from_ms, to_ms = max(begins_ms, from_ms), min(begins_ms + step_ms, to_ms)
                break
            nth -= count
    return from_ms
