"""The sections of the settings: every key with its type, its default and the ranges we know."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from stream_app.core.events import RawClick

# Public, so whoever knows the repository can confirm a guess of a user id. For trials only.
INSECURE_KEY = "clickahead-insecure-default-key"

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Port = Annotated[int, Field(ge=0, le=65_535)]


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _parse(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('a mapping is written as JSON, as in {"user_id": "visitor"}') from None


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class KafkaSection(Section):
    """How Kafka is reached."""

    bootstrap_servers: Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)] = (
        "127.0.0.1:9092",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: Annotated[str, Field(min_length=1)] | None = None
    sasl_password: Annotated[SecretStr, Field(min_length=1)] | None = None
    allow_insecure_sasl: bool = False
    replication_factor: Annotated[int, Field(ge=1, le=32_767)] = 1

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ValueError(f"{server!r} is no address; write host:port, several with commas")
        return servers

    @model_validator(mode="after")
    def _tls_files_are_used(self) -> Self:
        # What concerns SASL is checked by the connection that is made of these values.
        tls = self.security_protocol.endswith("SSL")
        if not tls and any((self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)):
            raise ValueError(
                f"an ssl_ file is given, but security_protocol {self.security_protocol}"
                " would not use it; choose SSL or SASL_SSL"
            )
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("kafka.ssl_keyfile needs kafka.ssl_certfile, its certificate")
        return self


class InputSection(Section):
    """The click stream that is read; ``fields`` maps canonical names to the names it uses."""

    topic: Topic = "clickahead.events"
    fields: Annotated[Mapping[str, str], BeforeValidator(_parse)] = {}
    format: Literal["auto", "json", "msgpack"] = "auto"

    @field_validator("fields")
    @classmethod
    def _canonical(cls, fields: Mapping[str, str]) -> Mapping[str, str]:
        known = RawClick.__struct_fields__
        for name in fields:
            if name not in known:
                raise ValueError(f"{name!r} is no field of a click; the fields: {', '.join(known)}")
        return fields


class TopicsSection(Section):
    """Names of our own topics, each after ``prefix``; ``explain_horizon_ms`` is how long new ones
    keep all that it takes to make an output again, a day at least."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,200}$")] = "clickahead."
    predictions: Topic = "predictions"
    anomalies: Topic = "anomalies"
    rejected: Topic = "rejected"
    profiles: Topic = "profiles"
    demand: Topic = "demand"
    items: Topic = "items"
    control: Topic = "control"
    explain_horizon_ms: Annotated[int, Field(ge=86_400_000, le=366 * 86_400_000)] = 86_400_000


class WorkerSection(Section):
    """One worker process. ``app_id`` is the consumer group and the root of transactional ids;
    ``model_dir`` absent means the bundled model; ``models`` is a registry of models that may be
    promoted while it runs; ``batch_target_ms`` is how long playing a micro-batch may take, which
    bounds it behind a backlog; ``metrics_port`` 0 means any free port;
    ``state_dir`` is a folder of this worker's own, from which a restart begins."""

    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "clickahead"
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    model_dir: Path | None = None
    models: Path | None = None
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    max_batch_events: Annotated[int, Field(ge=1, le=100_000)] = 2_048
    batch_target_ms: Annotated[float, Field(gt=0, le=60_000)] = 100.0
    session_timeout_ms: Annotated[int, Field(ge=6_000, le=1_800_000)] = 45_000
    instance_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] | None = None
    state_dir: Path | None = None
    metrics_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    metrics_port: Port = 9464
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"


class CoreSection(Section):
    """Limits of the core; stream_app/core/config.py knows their ranges."""

    max_event_bytes: int = 65_536
    max_key_bytes: int = 128
    future_ms: int = 60_000
    allowed_lateness_ms: int = 600_000
    max_users_per_partition: int = 1_000_000
    user_ttl_ms: int = 30 * 86_400_000
    burst_ms: int = 10_000
    max_transitions: int = 20_000
    pseudonym_key: SecretStr = SecretStr(INSECURE_KEY)


class AlertsSection(Section):
    """When an anomaly is an alert: ``rate`` is the share of normal events that may be flagged."""

    rate: float = 0.001
    close_after_events: int = 5
    reservoir_size: int = 16_384


class OverloadSection(Section):
    """When a partition that is behind its input does less for each event. Level 1 begins at
    ``lag_seconds``, 2 at twice and 3 at four times that; 0 never degrades, as a back-fill wants."""

    lag_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    recover_seconds: Annotated[float, Field(ge=0, le=3_600)] = 10.0


class GuardSection(Section):
    """When a promoted model is taken back: bounds relative to the model before it."""

    enabled: bool = True
    recall_ratio: Annotated[float, Field(gt=0, le=1)] = 0.8
    latency_ratio: Annotated[float, Field(ge=1, le=1_000)] = 3.0
    latency_floor_ms: Annotated[float, Field(ge=0, le=60_000)] = 100.0
    min_events: Annotated[int, Field(ge=100, le=10_000_000)] = 2_000
    watched_events: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 50_000
    settle_events: Annotated[int, Field(ge=0, le=10_000_000)] = 500
