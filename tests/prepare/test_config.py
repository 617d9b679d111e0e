"""Settings are checked once, in words."""

import pytest

from stream_app.prepare.config import PrepareConfig, PrepareError


@pytest.mark.parametrize(
    "settings",
    [
        {"user_core": 0},
        {"item_core": -1},
        {"test_share": 0.0},
        {"validation_share": 0.95},
        {"test_share": 0.5, "validation_share": 0.5},
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(PrepareError, match=r"user_core|item_core|share"):
        PrepareConfig(**settings)  # type: ignore[arg-type]
