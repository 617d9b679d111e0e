from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.sources import (
    Given,
    Keys,
    SettingsError,
    from_arguments,
    from_environment,
    from_file,
    variable_of,
)

KEYS = Keys(
    names=frozenset({"kafka.bootstrap_servers", "kafka.sasl_password", "input.fields"}),
    secrets=frozenset({"kafka.sasl_password"}),
)
VARIABLE = st.from_regex(r"CLICKAHEAD_[A-Z][A-Z0-9_]{0,30}", fullmatch=True)


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def test_a_value_carries_its_file_and_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '# bootstrap_servers = "commented"\n[kafka]\n\nbootstrap_servers = "a:1"\n'
        '[input.fields]\nuser_id = "visitor"\n',
    )
    assert from_file(path, KEYS) == {
        "kafka.bootstrap_servers": Given("a:1", f"{path}:4"),
        "input.fields": Given({"user_id": "visitor"}, f"{path}:5"),
    }


def test_a_line_that_cannot_be_told_is_not_guessed(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "[kafka]\nsasl_password = '''\nbootstrap_servers = 1\n'''\nbootstrap_servers = 'a:1'\n",
    )
    assert from_file(path, KEYS)["kafka.bootstrap_servers"].origin == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[kafka]\nbootstrap_server = 'a:1'",
            "{path}:2: kafka.bootstrap_server is no setting; did you mean kafka.bootstrap_servers?",
        ),
        (
            "bootstrap_servers = 'a:1'",
            "{path}:1: bootstrap_servers is no setting; did you mean kafka.bootstrap_servers?",
        ),
        (
            "[wholly]\nelse_where = 1",
            "{path}:2: wholly.else_where is no setting; `clickahead config` lists all settings",
        ),
        ("kafka = 3", "{path}:1: kafka is no setting; `clickahead config` lists all settings"),
        ("[kafka", "{path} is not TOML: "),
    ],
)
def test_a_file_with_anything_unknown_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        from_file(path, KEYS)
    assert str(refused.value).startswith(message.format(path=path))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*absent\.toml: No such file"):
        from_file(tmp_path / "absent.toml", KEYS)
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# \xe9")
    with pytest.raises(SettingsError, match="not UTF-8"):
        from_file(path, KEYS)


def test_every_problem_of_a_source_is_named_at_once() -> None:
    environ = {"CLICKAHEAD_KAFKA__ONE": "1", "CLICKAHEAD_KAFKA__TWO": "2"}
    with pytest.raises(SettingsError) as refused:
        from_environment(environ, KEYS)
    assert [line.split()[0] for line in str(refused.value).splitlines()] == sorted(environ)


@given(st.dictionaries(VARIABLE, st.just("no address"), min_size=1))
def test_no_misspelt_variable_is_ignored(environ: dict[str, str]) -> None:
    environ.pop("CLICKAHEAD_CONFIG", None)
    environ.pop("CLICKAHEAD_CACHE", None)
    misspelt = environ.keys() - {variable_of(key) for key in KEYS.accepted()}
    if misspelt:
        with pytest.raises(SettingsError) as refused:
            from_environment(environ, KEYS)
        assert {line.split()[0] for line in str(refused.value).splitlines()} == misspelt


def test_other_programs_variables_are_left_alone() -> None:
    assert from_environment({"PATH": "/bin", "click": "1", "CLICKAHEADED": "1"}, KEYS) == {}


def test_kubernetes_service_links_are_no_misspelt_settings() -> None:
    links = {
        "CLICKAHEAD_SERVICE_HOST": "10.0.0.7",
        "CLICKAHEAD_SERVICE_PORT": "9464",
        "CLICKAHEAD_SERVICE_PORT_METRICS": "9464",
        "CLICKAHEAD_PORT": "tcp://10.0.0.7:9464",
        "CLICKAHEAD_WORKER_PORT_9464_TCP": "tcp://10.0.0.7:9464",
        "CLICKAHEAD_WORKER_PORT_9464_TCP_PROTO": "tcp",
        "CLICKAHEAD_WORKER_PORT_9464_TCP_PORT": "9464",
        "CLICKAHEAD_WORKER_PORT_9464_TCP_ADDR": "10.0.0.7",
    }
    assert from_environment(links, KEYS) == {}
    with pytest.raises(SettingsError, match="CLICKAHEAD_METRICS_PORT is no setting"):
        from_environment({"CLICKAHEAD_METRICS_PORT": "9464"}, KEYS)


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(" hunter 2 \r\n\n")
    variable = "CLICKAHEAD_KAFKA__SASL_PASSWORD_FILE"
    expected = {"kafka.sasl_password": Given(" hunter 2 ", f"{variable} ({secret})")}
    assert from_environment({variable: str(secret)}, KEYS) == expected
    path = written(tmp_path, f"[kafka]\nsasl_password_file = '{secret}'\n")
    assert from_file(path, KEYS)["kafka.sasl_password"].value == " hunter 2 "


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    variable = "CLICKAHEAD_KAFKA__SASL_PASSWORD"
    environ = {variable: "hunter2", f"{variable}_FILE": str(tmp_path / "password")}
    with pytest.raises(SettingsError, match=r"both give kafka\.sasl_password") as refused:
        from_environment(environ, KEYS)
    assert "hunter2" not in str(refused.value)


def test_only_secrets_may_lie_in_a_file() -> None:
    with pytest.raises(SettingsError, match="BOOTSTRAP_SERVERS_FILE is no setting"):
        from_environment({"CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS_FILE": "x"}, KEYS)


def test_options_are_checked_like_everything_else() -> None:
    given_options = from_arguments({"kafka.bootstrap_servers": "a:1"}, KEYS)
    assert given_options == {"kafka.bootstrap_servers": Given("a:1", "command line")}
    with pytest.raises(SettingsError, match=r"did you mean kafka\.bootstrap_servers"):
        from_arguments({"kafka.bootstrap": "a:1"}, KEYS)
