"""All settings: one frozen object from a TOML file and the environment, validated once."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stream_app.core.config import ConfigError, CoreConfig
from stream_app.sections import (
    INSECURE_KEY,
    AlertsSection,
    CoreSection,
    GuardSection,
    InputSection,
    KafkaSection,
    OverloadSection,
    TopicsSection,
    WorkerSection,
)
from stream_app.sources import (
    CONFIG_VARIABLE,
    Given,
    Keys,
    SettingsError,
    from_arguments,
    from_environment,
    from_file,
    variable_of,
)

if TYPE_CHECKING:
    from stream_app.kafka.connection import Connection

__all__ = ["Settings", "SettingsError", "find_config_file", "load"]

CONFIG_FILE = "clickahead.toml"
# Names in CoreConfig of what stands in the section `alerts`.
ALERT_FIELDS = {
    "alert_rate": "rate",
    "alert_close_after_events": "close_after_events",
    "reservoir_size": "reservoir_size",
}


class Settings(BaseSettings):
    """Everything ClickAhead can be told. Build it with ``load``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    kafka: KafkaSection = KafkaSection()
    input: InputSection = InputSection()
    topics: TopicsSection = TopicsSection()
    worker: WorkerSection = WorkerSection()
    core: CoreSection = CoreSection()
    alerts: AlertsSection = AlertsSection()
    overload: OverloadSection = OverloadSection()
    guard: GuardSection = GuardSection()

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: Any, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` merges file and environment itself: it knows the origin of each value, and the
        # process environment is an argument there.
        return (named["init_settings"],)

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each value that is not a default comes from, by key."""
        return self._origins

    def topic(self, name: str) -> str:
        """The Kafka topic behind one of the names in ``stream_app.core.events.TOPICS``."""
        if name == "events":
            return self.input.topic
        return self.topics.prefix + str(getattr(self.topics, name))

    def core_config(self) -> CoreConfig:
        """What the core is told. Raises ConfigError for a value out of its range."""
        return CoreConfig(
            **self.core.model_dump(exclude={"pseudonym_key"}),
            **{field: getattr(self.alerts, name) for field, name in ALERT_FIELDS.items()},
            pseudonym_key=self.core.pseudonym_key.get_secret_value().encode(),
            fields=dict(self.input.fields),
        )

    def connection(self) -> "Connection":
        """How Kafka is reached, the password included. Raises ConnectionInvalid."""
        from stream_app.kafka.connection import Connection  # brings aiokafka in

        kafka = self.kafka
        password = kafka.sasl_password
        return Connection(
            bootstrap_servers=kafka.bootstrap_servers,
            security_protocol=kafka.security_protocol,
            ssl_cafile=kafka.ssl_cafile,
            ssl_certfile=kafka.ssl_certfile,
            ssl_keyfile=kafka.ssl_keyfile,
            sasl_mechanism=kafka.sasl_mechanism,
            sasl_username=kafka.sasl_username,
            sasl_password=None if password is None else password.get_secret_value(),
            allow_insecure=kafka.allow_insecure_sasl,
        )

    def warnings(self) -> list[str]:
        """What is allowed but should not stay so in production, as sentences."""
        found = []
        if self.core.pseudonym_key.get_secret_value() == INSECURE_KEY:
            found.append(
                "core.pseudonym_key is the public default: anybody can tell whether a pseudonym"
                f" belongs to a user id; set {variable_of('core.pseudonym_key')}_FILE"
            )
        if self.kafka.security_protocol == "SASL_PLAINTEXT":
            found.append("kafka.security_protocol SASL_PLAINTEXT sends the password unencrypted")
        return found

    def flat(self) -> dict[str, object]:
        """All values by key; secrets stay wrapped."""
        return {f"{section}.{name}": value for section, content in self for name, value in content}


def _known_keys() -> Keys:
    sections = {
        section: field.annotation.model_fields
        for section, field in Settings.model_fields.items()
        if field.annotation is not None
    }
    names = {
        f"{section}.{name}": field
        for section, fields in sections.items()
        for name, field in fields.items()
    }
    return Keys(
        names=frozenset(names),
        secrets=frozenset(
            name for name, field in names.items() if "SecretStr" in str(field.annotation)
        ),
    )


KEYS = _known_keys()


def find_config_file(named: Path | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    """The settings file to read: the named one, else CLICKAHEAD_CONFIG, else ``clickahead.toml``
    in ``folder`` where there is one."""
    if named is not None:
        return named
    if CONFIG_VARIABLE in environ:
        return Path(environ[CONFIG_VARIABLE])
    beside = folder / CONFIG_FILE
    return beside if beside.is_file() else None


def load(
    config_file: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] = MappingProxyType({}),
) -> Settings:
    """Settings from a file, the environment and a command's options (by key, as in
    ``kafka.bootstrap_servers``; None means not given), the later before the earlier.

    Raises SettingsError, whose message has a line for each thing that is wrong.
    """
    options = {key: value for key, value in overrides.items() if value is not None}
    given = {
        **(from_file(config_file, KEYS) if config_file is not None else {}),
        **from_environment(environ, KEYS),
        **from_arguments(options, KEYS),
    }
    tree: dict[str, dict[str, object]] = {}
    for key, value in given.items():
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value.value
    try:
        settings = Settings(**tree)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(error, given))) from None
    _check_uses(settings, given)
    settings._origins = {key: value.origin for key, value in given.items()}
    return settings


def _sentences(error: ValidationError, given: Mapping[str, Given]) -> list[str]:
    """One line for each finding: where the value was given, the key, the value, what is allowed."""
    lines = []
    for finding in error.errors(include_url=False):
        key = ".".join(str(part) for part in finding["loc"][:2])
        message = finding["msg"].removeprefix("Value error, ")
        said = given.get(key)
        if said is None:
            lines.append(f"{key}: {message}")
        elif key in KEYS.secrets:
            lines.append(f"{said.origin}: {key}: {message}")
        else:
            lines.append(f"{said.origin}: {key} = {said.value!r}: {message}")
    return lines


def _check_uses(settings: Settings, given: Mapping[str, Given]) -> None:
    """Refuse at once what the core or the connection would refuse later."""
    from stream_app.kafka.connection import ConnectionInvalid

    try:
        settings.core_config()
        settings.connection()
    except ConnectionInvalid as error:
        raise SettingsError(f"kafka: {error}") from None
    except ConfigError as error:
        field, _, rule = str(error).partition(" ")
        key = f"alerts.{ALERT_FIELDS[field]}" if field in ALERT_FIELDS else f"core.{field}"
        origin = f"{given[key].origin}: " if key in given else ""
        raise SettingsError(f"{origin}{key} {rule}") from None
