"""Laws of the connection settings; tests/kafka/test_secure_connection.py tries them on a broker."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.kafka.connection import Connection, ConnectionInvalid

SERVERS = ("one:9092", "two:9093")
secrets = st.text(min_size=8).filter(
    lambda text: text not in "SCRAM-SHA-256 alice SASL_SSL one:9092"
)


@settings(deadline=None)  # the first example imports Faust
@given(secrets)
def test_a_password_is_in_no_repr_and_no_error(password: str) -> None:
    connection = Connection(
        SERVERS,
        "SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="alice",
        sasl_password=password,
    )
    assert password not in repr(connection)
    assert password not in str(connection)
    assert password not in repr(connection.faust_credentials())
    with pytest.raises(ConnectionInvalid) as refused:
        Connection(
            SERVERS,
            "SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-256",
            sasl_username="alice",
            sasl_password=password,
        )
    assert password not in str(refused.value)


def test_a_password_goes_without_tls_only_where_that_is_allowed() -> None:
    def plain(allow_insecure: bool) -> Connection:
        return Connection(
            SERVERS,
            "SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username="alice",
            sasl_password="secret",  # noqa: S106
            allow_insecure=allow_insecure,
        )

    with pytest.raises(ConnectionInvalid, match="without encryption"):
        plain(allow_insecure=False)
    arguments = plain(allow_insecure=True).client()
    assert arguments["security_protocol"] == "SASL_PLAINTEXT"
    assert "ssl_context" not in arguments


def test_half_a_credential_is_refused() -> None:
    with pytest.raises(ConnectionInvalid, match="needs a mechanism"):
        Connection(SERVERS, "SASL_SSL", sasl_mechanism="PLAIN", sasl_username="alice")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_credentials_that_nobody_would_use_are_refused(protocol: str) -> None:
    with pytest.raises(ConnectionInvalid, match="would not use them"):
        Connection(SERVERS, protocol, sasl_username="alice")  # type: ignore[arg-type]


def test_no_server_is_refused() -> None:
    with pytest.raises(ConnectionInvalid, match="at least one host:port"):
        Connection(())


def test_both_clients_get_every_server() -> None:
    connection = Connection(SERVERS)
    assert connection.client()["bootstrap_servers"] == list(SERVERS)
    assert connection.faust_broker == "kafka://one:9092;kafka://two:9093"
    assert connection.faust_credentials() is None


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    absent, no_pem = tmp_path / "absent.pem", tmp_path / "no.pem"
    no_pem.write_text("nothing of the kind")
    for path in (absent, no_pem):
        with pytest.raises(ConnectionInvalid, match=path.name):
            Connection(SERVERS, "SSL", ssl_cafile=path).client()


def test_an_encrypted_key_is_an_error_and_asks_nobody(
    tmp_path: Path, openssl: Callable[[str], None]
) -> None:
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    openssl(f"req -x509 -newkey rsa:2048 -passout pass:sesame -keyout {key} -out {certificate}")
    with pytest.raises(ConnectionInvalid, match="must not be encrypted"):
        Connection(SERVERS, "SSL", ssl_certfile=certificate, ssl_keyfile=key).client()
