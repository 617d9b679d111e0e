from dataclasses import replace

import pytest

from stream_app.simulate.config import ATTACKS, SimulatorConfig, SimulatorError


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"users": 0}, "users is 0; at least 1"),
        ({"items": 30}, "30 items in 20 categories"),
        ({"events_per_second": 1000.0}, "5000 users make more than 0 and at most 62.5"),
        ({"events_per_second": 0.0}, "take more users"),
        ({"day_cycle": 1.5}, "shares from 0 to 1"),
        ({"dirt": -0.1}, "shares from 0 to 1"),
        ({"attacks": ("crawler", "flood")}, "no attack 'flood'; there are crawler, takeover"),
        ({"attack_every_events": 0}, "at least 1"),
    ],
)
def test_a_shop_that_cannot_be_says_what_is_allowed(
    changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SimulatorError, match=sentence):
        replace(SimulatorConfig(), **changes)  # type: ignore[arg-type]


def test_all_attacks_are_the_default() -> None:
    assert SimulatorConfig().attacks == ATTACKS
