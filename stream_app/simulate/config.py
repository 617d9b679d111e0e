"""What the simulated shop is like."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Attack = Literal["crawler", "takeover", "ring", "burst", "replay"]
ATTACKS: tuple[Attack, ...] = Attack.__args__  # type: ignore[attr-defined]

START_MS = 1_767_571_200_000  # Monday, 2026-01-05

DAY_MS = 86_400_000
MEAN_THINK_SECONDS = 20  # between two events of a session, roughly; a test measures it


class SimulatorError(ValueError):
    """A shop that cannot be; the message says what is allowed."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """A shop and its traffic. Raises SimulatorError."""

    users: int = 5_000
    items: int = 500
    categories: int = 20
    brands: int = 6
    start_ms: int = START_MS
    events_per_second: float = 2.0
    """On average over a week, attacks aside; a user has one session at a time, which bounds it."""
    day_cycle: float = 0.6
    """0: traffic is even; 1: the quietest hour has none. The week has its cycle in proportion."""
    attacks: tuple[Attack, ...] = ATTACKS
    """Kinds of campaigns, one after the other; none: an honest shop."""
    attack_every_events: int = 5_000
    """Honest events between the beginnings of two campaigns, on average."""
    dirt: float = 0.0
    """Share of honest events that arrive twice, late, or with a field missing or broken."""

    def __post_init__(self) -> None:
        for name, lowest in (("users", 1), ("brands", 1), ("categories", 1), ("start_ms", DAY_MS)):
            if getattr(self, name) < lowest:
                raise SimulatorError(f"{name} is {getattr(self, name)}; at least {lowest} needed.")
        if self.items < 2 * self.categories:
            raise SimulatorError(
                f"{self.items} items in {self.categories} categories: give at least two to each."
            )
        # A quarter at once on average leaves, at the busiest hour, more than half to choose from.
        most = self.users / (4 * MEAN_THINK_SECONDS)
        if not 0 < self.events_per_second <= most:
            raise SimulatorError(
                f"{self.events_per_second:g} events a second: {self.users} users make more than 0"
                f" and at most {most:g}; take more users."
            )
        if not 0 <= self.day_cycle <= 1 or not 0 <= self.dirt <= 1:
            raise SimulatorError("day_cycle and dirt are shares from 0 to 1.")
        if self.attack_every_events < 1:
            raise SimulatorError("attack_every_events is at least 1.")
        for attack in self.attacks:
            if attack not in ATTACKS:
                raise SimulatorError(f"no attack {attack!r}; there are {', '.join(ATTACKS)}.")
