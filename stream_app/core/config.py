"""Everything that the core can be told: equal configs and inputs give equal outputs."""

import msgspec


class ConfigError(ValueError):
    """A setting of the core is out of its range; the message names it and its range."""


class CoreConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits, windows and alert rules; times in milliseconds, sizes in bytes."""

    pseudonym_key: bytes
    fields: dict[str, str] = {}  # canonical field name -> name in the input records
    max_event_bytes: int = 65_536
    max_key_bytes: int = 128
    future_ms: int = 60_000
    allowed_lateness_ms: int = 600_000
    max_users_per_partition: int = 1_000_000
    user_ttl_ms: int = 30 * 86_400_000
    burst_ms: int = 10_000
    alert_rate: float = 0.001
    alert_close_after_events: int = 5
    reservoir_size: int = 16_384
    max_transitions: int = 20_000

    def __post_init__(self) -> None:
        _check("pseudonym_key", len(self.pseudonym_key), 16, 64, "bytes long")
        _check("max_event_bytes", self.max_event_bytes, 64, 1 << 20)
        _check("max_key_bytes", self.max_key_bytes, 16, 4096)
        _check("future_ms", self.future_ms, 0, 86_400_000)
        _check("allowed_lateness_ms", self.allowed_lateness_ms, 0, 86_400_000)
        _check("max_users_per_partition", self.max_users_per_partition, 1, 50_000_000)
        _check("user_ttl_ms", self.user_ttl_ms, 86_400_000, 10 * 365 * 86_400_000)
        _check("burst_ms", self.burst_ms, 1, 3_600_000)
        _check("alert_rate", self.alert_rate, 1e-6, 0.5)
        _check("alert_close_after_events", self.alert_close_after_events, 1, 100)
        _check("reservoir_size", self.reservoir_size, 256, 1 << 20)
        _check("max_transitions", self.max_transitions, 16, 1_000_000)


def _check(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be {low} to {high} {unit}".rstrip() + f", got {value}")
