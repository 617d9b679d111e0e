from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stream_app.sections import InputSection, KafkaSection, TopicsSection, WorkerSection


@pytest.mark.parametrize(
    ("written", "servers"),
    [
        ("a:1", ("a:1",)),
        ("a:1, b.example:65535", ("a:1", "b.example:65535")),
        (["[::1]:9092", "a:1"], ("[::1]:9092", "a:1")),
    ],
)
def test_servers_are_a_list_or_separated_by_commas(written: Any, servers: tuple[str, ...]) -> None:
    assert KafkaSection(bootstrap_servers=written).bootstrap_servers == servers


@pytest.mark.parametrize("written", ["", "a", "a:", ":1", "a:0", "a:65536", "a:1,", "a:-1", []])
def test_a_server_without_host_or_port_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        KafkaSection(bootstrap_servers=written)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ssl_cafile": "ca.pem"}, "would not use it"),
        ({"ssl_certfile": "a.pem", "ssl_keyfile": "b.pem"}, "would not use it"),
        ({"ssl_keyfile": "b.pem", "security_protocol": "SSL"}, "needs kafka.ssl_certfile"),
    ],
)
def test_tls_files_that_would_be_ignored_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        KafkaSection(**given)


def test_tls_files_go_with_tls() -> None:
    section = KafkaSection(
        security_protocol="SSL", ssl_certfile=Path("a.pem"), ssl_keyfile=Path("b.pem")
    )
    assert section.ssl_keyfile == Path("b.pem")


@pytest.mark.parametrize("written", ['{"user_id": "visitor"}', {"user_id": "visitor"}])
def test_fields_are_a_table_or_json(written: Any) -> None:
    assert InputSection(fields=written).fields == {"user_id": "visitor"}


@pytest.mark.parametrize("written", ["user_id=visitor", "[1]", {"user": "visitor"}, {"user_id": 1}])
def test_fields_that_no_click_has_are_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        InputSection(fields=written)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 250, "ä"])
def test_a_topic_name_that_kafka_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        InputSection(topic=name)
    with pytest.raises(ValidationError):
        TopicsSection(predictions=name)


def test_metrics_stay_on_this_machine_unless_told_otherwise() -> None:
    assert WorkerSection().metrics_host == "127.0.0.1"
