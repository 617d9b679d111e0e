import copy
import json
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream_app.core.config import CoreConfig
from stream_app.core.events import TOPICS
from stream_app.sections import INSECURE_KEY
from stream_app.settings import KEYS, Settings, SettingsError, find_config_file, load
from stream_app.sources import variable_of

# One value for every key that is not its default: as text in the environment, as TOML in a file.
GIVEN: dict[str, tuple[str, str]] = {
    "kafka.bootstrap_servers": ("a:1,b:2", '["a:1", "b:2"]'),
    "kafka.security_protocol": ("SASL_SSL", '"SASL_SSL"'),
    "kafka.ssl_cafile": ("ca.pem", '"ca.pem"'),
    "kafka.ssl_certfile": ("cert.pem", '"cert.pem"'),
    "kafka.ssl_keyfile": ("key.pem", '"key.pem"'),
    "kafka.sasl_mechanism": ("SCRAM-SHA-512", '"SCRAM-SHA-512"'),
    "kafka.sasl_username": ("worker", '"worker"'),
    "kafka.sasl_password": ("hunter2", '"hunter2"'),
    "kafka.allow_insecure_sasl": ("true", "true"),
    "kafka.replication_factor": ("3", "3"),
    "input.topic": ("shop.clicks", '"shop.clicks"'),
    "input.fields": ('{"user_id": "visitor"}', '{user_id = "visitor"}'),
    "input.format": ("msgpack", '"msgpack"'),
    "topics.prefix": ("shop-", '"shop-"'),
    "topics.predictions": ("next", '"next"'),
    "topics.anomalies": ("odd", '"odd"'),
    "topics.rejected": ("bad", '"bad"'),
    "topics.profiles": ("who", '"who"'),
    "topics.demand": ("sales", '"sales"'),
    "topics.items": ("catalogue", '"catalogue"'),
    "topics.control": ("orders", '"orders"'),
    "topics.explain_horizon_ms": ("172800000", "172800000"),
    "worker.app_id": ("shop", '"shop"'),
    "worker.delivery": ("at_least_once", '"at_least_once"'),
    "worker.model_dir": ("runs/a", '"runs/a"'),
    "worker.models": ("registry", '"registry"'),
    "worker.partitions": ("16", "16"),
    "worker.max_batch_events": ("256", "256"),
    "worker.batch_target_ms": ("25", "25.0"),
    "worker.session_timeout_ms": ("10000", "10_000"),
    "worker.instance_id": ("worker-1", '"worker-1"'),
    "worker.state_dir": ("state", '"state"'),
    "worker.metrics_host": ("0.0.0.0", '"0.0.0.0"'),  # noqa: S104 (a value, nothing is bound)
    "worker.metrics_port": ("0", "0"),
    "worker.log_level": ("DEBUG", '"DEBUG"'),
    "worker.log_format": ("json", '"json"'),
    "core.max_event_bytes": ("1024", "1024"),
    "core.max_key_bytes": ("64", "64"),
    "core.future_ms": ("0", "0"),
    "core.allowed_lateness_ms": ("1000", "1000"),
    "core.max_users_per_partition": ("1000", "1000"),
    "core.user_ttl_ms": ("86400000", "86_400_000"),
    "core.burst_ms": ("5000", "5000"),
    "core.max_transitions": ("100", "100"),
    "core.pseudonym_key": ("a key of sixteen bytes or more", '"a key of sixteen bytes or more"'),
    "alerts.rate": ("0.01", "0.01"),
    "alerts.close_after_events": ("3", "3"),
    "alerts.reservoir_size": ("1024", "1024"),
    "overload.lag_seconds": ("5.5", "5.5"),
    "overload.recover_seconds": ("1", "1"),
    "guard.enabled": ("false", "false"),
    "guard.recall_ratio": ("0.9", "0.9"),
    "guard.latency_ratio": ("2", "2"),
    "guard.latency_floor_ms": ("50", "50"),
    "guard.min_events": ("500", "500"),
    "guard.watched_events": ("5000", "5_000"),
    "guard.settle_events": ("0", "0"),
}
SECRET = st.text(
    st.characters(min_codepoint=33, exclude_categories=("Cs",)), min_size=16, max_size=16
)


def as_environment(keys: dict[str, tuple[str, str]] = GIVEN) -> dict[str, str]:
    return {variable_of(key): text for key, (text, _) in keys.items()}


def as_file(folder: Path) -> Path:
    """Every key in its section, the sections apart by an empty line."""
    path, lines, section = folder / "clickahead.toml", list[str](), ""
    for key, (_, toml) in GIVEN.items():
        if not key.startswith(f"{section}."):
            section = key.partition(".")[0]
            lines += ["", f"[{section}]"]
        lines.append(f"{key.partition('.')[2]} = {toml}")
    path.write_text("\n".join(lines))
    return path


def test_every_key_can_be_given_in_the_environment_and_in_the_file(tmp_path: Path) -> None:
    assert GIVEN.keys() == KEYS.names, "give the new key a value in GIVEN"
    path = as_file(tmp_path)
    from_environment, from_file = load(None, as_environment()), load(path, {})
    assert from_environment.flat() == from_file.flat()
    defaults = load(None, {}).flat()
    assert [key for key, value in from_file.flat().items() if value == defaults[key]] == []
    assert from_environment.origins == {key: variable_of(key) for key in GIVEN}
    lines = path.read_text().splitlines()
    for key, origin in from_file.origins.items():
        file, _, line = origin.rpartition(":")
        assert file == str(path)
        assert lines[int(line) - 1].startswith(f"{key.partition('.')[2]} = ")


@given(st.sets(st.sampled_from(["file", "environment", "option"])))
def test_the_option_wins_over_the_environment_and_that_over_the_file(layers: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clickahead.toml"
        path.write_text("[worker]\npartitions = 11\n" if "file" in layers else "")
        environ = {"CLICKAHEAD_WORKER__PARTITIONS": "12"} if "environment" in layers else {}
        settings = load(path, environ, {"worker.partitions": 13 if "option" in layers else None})
    winner = next((x for x in ("option", "environment", "file") if x in layers), "default")
    expected = {"option": 13, "environment": 12, "file": 11, "default": 4}
    assert settings.worker.partitions == expected[winner]
    assert (
        settings.origins.get("worker.partitions", "default")
        == {
            "option": "command line",
            "environment": "CLICKAHEAD_WORKER__PARTITIONS",
            "file": f"{path}:2",
            "default": "default",
        }[winner]
    )


def test_defaults_are_those_of_the_core() -> None:
    assert load(None, {}).core_config() == CoreConfig(pseudonym_key=INSECURE_KEY.encode())


def test_every_setting_of_the_core_reaches_it() -> None:
    default, changed = load(None, {}).core_config(), load(None, as_environment()).core_config()
    fields = CoreConfig.__struct_fields__
    assert [name for name in fields if getattr(default, name) == getattr(changed, name)] == []


def test_the_connection_carries_every_setting() -> None:
    connection = load(None, as_environment()).connection()
    assert connection.bootstrap_servers == ("a:1", "b:2")
    assert connection.security_protocol == "SASL_SSL"
    assert connection.ssl_cafile == Path("ca.pem")
    assert connection.ssl_certfile == Path("cert.pem")
    assert connection.ssl_keyfile == Path("key.pem")
    assert connection.sasl_mechanism == "SCRAM-SHA-512"
    assert connection.sasl_username == "worker"
    assert connection.sasl_password == "hunter2"  # noqa: S105
    assert connection.allow_insecure is True


def test_every_topic_has_a_name() -> None:
    default = load(None, {})
    assert {default.topic(name) for name in TOPICS} == {f"clickahead.{name}" for name in TOPICS}
    changed = load(None, as_environment())
    assert changed.topic("events") == "shop.clicks"
    assert changed.topic("predictions") == "shop-next"


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("worker.partitions", "four", "'four': Input should be a valid integer"),
        ("worker.delivery", "twice", "should be 'exactly_once' or 'at_least_once'"),
        ("worker.session_timeout_ms", "5999", "greater than or equal to 6000"),
        ("kafka.bootstrap_servers", "somewhere", "write host:port"),
        ("input.fields", "{", "written as JSON"),
        ("input.fields", '{"user": "visitor"}', "the fields: user_id"),
        ("core.max_key_bytes", "1", "must be 16 to 4096, got 1"),
        ("core.pseudonym_key", "short", "must be 16 to 64 bytes long, got 5"),
        ("alerts.rate", "0.9", "must be 1e-06 to 0.5, got 0.9"),
    ],
)
def test_a_bad_value_is_refused_with_its_origin_key_and_rule(
    key: str, text: str, message: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(None, {variable_of(key): text})
    said = str(refused.value)
    assert said.startswith(f"{variable_of(key)}: {key} ")
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_default_that_contradicts_a_given_value_is_named_by_its_key() -> None:
    with pytest.raises(SettingsError, match="kafka: SASL_SSL needs"):
        load(None, {"CLICKAHEAD_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"})
    with pytest.raises(SettingsError, match="kafka: an ssl_ file is given"):
        load(None, {"CLICKAHEAD_KAFKA__SSL_CAFILE": "ca.pem"})


def test_a_password_is_not_sent_in_the_open_unless_allowed() -> None:
    environ = {
        **as_environment({k: v for k, v in GIVEN.items() if k.startswith("kafka.sasl_")}),
        "CLICKAHEAD_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    }
    with pytest.raises(SettingsError, match="SASL_PLAINTEXT sends the password"):
        load(None, environ)
    allowed = load(None, {**environ, "CLICKAHEAD_KAFKA__ALLOW_INSECURE_SASL": "true"})
    assert any("unencrypted" in warning for warning in allowed.warnings())


def test_the_public_pseudonym_key_is_warned_about() -> None:
    assert [w for w in load(None, {}).warnings() if "core.pseudonym_key" in w]
    key = {"CLICKAHEAD_CORE__PSEUDONYM_KEY": "a key of sixteen bytes or more"}
    assert load(None, key).warnings() == []


@given(SECRET)
def test_secrets_are_in_no_text(secret: str) -> None:
    # The name of a setting is in every text, and no secret.
    assume(secret not in repr(load(None, {}).flat()))
    environ = {
        "CLICKAHEAD_CORE__PSEUDONYM_KEY": secret,
        "CLICKAHEAD_KAFKA__SASL_PASSWORD": secret,
        "CLICKAHEAD_KAFKA__SASL_USERNAME": "worker",
        "CLICKAHEAD_KAFKA__SASL_MECHANISM": "PLAIN",
        "CLICKAHEAD_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    }
    try:
        settings = load(None, environ)
    except SettingsError as error:
        assert secret not in str(error)
        return
    dumped = json.dumps(settings.model_dump(mode="json"), ensure_ascii=False)
    for text in (repr(settings), str(settings), repr(settings.flat()), dumped):
        assert secret not in text
    assert settings.core_config().pseudonym_key == secret.encode()


def test_a_refused_secret_is_not_in_the_message() -> None:
    with pytest.raises(SettingsError) as refused:
        load(None, {"CLICKAHEAD_KAFKA__SASL_PASSWORD": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_settings_are_frozen_and_can_be_copied() -> None:
    settings = load(None, as_environment())
    with pytest.raises(ValidationError):
        settings.worker = settings.worker  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.worker.partitions = 1  # type: ignore[misc]
    assert copy.deepcopy(settings) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKAHEAD_WORKER__PARTITIONS", "9")
    monkeypatch.setenv("WORKER", '{"partitions": 9}')
    assert load(None, {}).worker.partitions == 4
    assert Settings().worker.partitions == 4


def test_the_named_file_comes_before_the_variable_and_that_before_the_folder(
    tmp_path: Path,
) -> None:
    named, variable = Path("named.toml"), {"CLICKAHEAD_CONFIG": "variable.toml"}
    assert find_config_file(None, {}, tmp_path) is None
    beside = tmp_path / "clickahead.toml"
    beside.touch()
    assert find_config_file(None, {}, tmp_path) == beside
    assert find_config_file(None, variable, tmp_path) == Path("variable.toml")
    assert find_config_file(named, variable, tmp_path) == named


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load(tmp_path / "absent.toml", {})


def test_settings_load_without_anything_heavy() -> None:
    heavy = ["aiokafka", "duckdb", "faust", "numpy", "onnxruntime", "rich", "torch", "typer"]
    code = f"import sys, stream_app.settings; print([m for m in {heavy!r} if m in sys.modules])"
    result: Any = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
