"""What a preparation can be told, checked once."""

import enum
from typing import ClassVar

import msgspec

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)


class PrepareError(ValueError):
    """A log cannot be prepared as asked; the message says what to change."""

    exit_code: ClassVar[int] = 2


class SplitKind(enum.StrEnum):
    """Where the later parts of a log begin. No kind puts anything earlier than what it follows."""

    auto = "auto"
    last_day = "last-day"
    last_share = "last-share"
    leave_one_out = "leave-one-out"


class PrepareConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which users and items stay, and where the log is cut.

    ``user_core`` and ``item_core`` are the fewest item events of a user, and of an item; 1 keeps
    all. Shares are of the events, in the order of time.
    """

    split: SplitKind = SplitKind.auto
    validation_share: float = 0.1
    test_share: float = 0.1
    user_core: int = 1
    item_core: int = 1

    def __post_init__(self) -> None:
        for name in ("user_core", "item_core"):
            if getattr(self, name) < 1:
                raise PrepareError(f"{name} has to be at least 1, got {getattr(self, name)}")
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 0.9:
                raise PrepareError(f"{name} has to lie in 0 to 0.9, got {getattr(self, name)}")
        if self.validation_share + self.test_share >= 0.95:
            raise PrepareError("the shares of validation and test leave nothing to learn from")
