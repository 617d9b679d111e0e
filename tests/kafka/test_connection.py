"""Laws of the connection settings, and every way in tried on a real Kafka."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

import faust
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.kafka.broker_config import BrokerConfig
from stream_app.kafka.connection import (
    Connection,
    ConnectionInvalid,
    KafkaUnreachable,
    SaslMechanism,
    opened,
)
from stream_app.kafka.dump_topic import dump_topic
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.kafka.topic_admin import create_missing
from stream_app.kafka.topics import TopicSpec

PASSWORD = "sesame-open-7"  # noqa: S105
SERVERS = ("one:9092", "two:9093")


def what_is_shown(password: str) -> list[str]:
    """All that could end in a log."""
    connection = Connection(
        SERVERS,
        "SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="alice",
        sasl_password=password,
        allow_insecure=True,
    )
    with pytest.raises(ConnectionInvalid) as refused:
        replace(connection, allow_insecure=False)
    return [
        repr(connection),
        str(connection),
        repr(connection.faust_credentials()),
        str(refused.value),
    ]


@settings(deadline=None)  # the first example imports Faust
@given(st.text())
def test_what_is_shown_does_not_depend_on_the_password(password: str) -> None:
    assert what_is_shown(password) == what_is_shown(PASSWORD)


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


class SecureKafka(NamedTuple):
    """A Kafka with a listener that wants client certificates and one that wants passwords."""

    tls: str
    sasl: str
    folder: Path  # ca.pem, client.pem, client.key, stranger.pem


@pytest.fixture(scope="module")
def secure_kafka(
    kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory, openssl: Callable[[str], None]
) -> Iterator[SecureKafka]:
    folder = tmp_path_factory.mktemp("secure")
    make_certificates(folder, openssl)
    with EmbeddedKafka(folder / "kafka", kafka_jars, secured(folder)) as cluster:
        yield SecureKafka(cluster.bootstrap("TLS"), cluster.bootstrap("SASL"), folder)


def make_certificates(folder: Path, openssl: Callable[[str], None]) -> None:
    """An authority, certificates of it for broker and client, and a stranger's authority."""
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for name in ("ca", "stranger"):
        openssl(f"{new} -keyout {folder}/{name}.key -out {folder}/{name}.pem")
    signed = f"{new} -CA {folder}/ca.pem -CAkey {folder}/ca.key -addext basicConstraints=CA:FALSE"
    address = "-addext subjectAltName=IP:127.0.0.1"  # and no host name
    openssl(f"{signed} {address} -keyout {folder}/broker.key -out {folder}/broker.pem")
    openssl(f"{signed} -keyout {folder}/client.key -out {folder}/client.pem")
    parts = [(folder / name).read_text() for name in ("broker.key", "broker.pem")]
    (folder / "store.pem").write_text("".join(parts))


def secured(folder: Path) -> BrokerConfig:
    login, module = "listener.name.sasl", "org.apache.kafka.common.security"
    scram = {
        f"{login}.scram-sha-{bits}.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;"
        for bits in (256, 512)
    }
    return BrokerConfig(
        listeners={"PLAINTEXT": "PLAINTEXT", "TLS": "SSL", "SASL": "SASL_SSL"},
        format_arguments=tuple(
            f"--add-scram=SCRAM-SHA-{bits}=[name=alice,password={PASSWORD}]" for bits in (256, 512)
        ),
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "store.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
            "listener.name.tls.ssl.client.auth": "required",
            f"{login}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            f"{login}.plain.sasl.jaas.config": (
                f'{module}.plain.PlainLoginModule required user_alice="{PASSWORD}";'
            ),
            **scram,
        },
    )


def with_certificate(secure: SecureKafka, ca: str = "ca.pem") -> Connection:
    return Connection(
        (secure.tls,),
        "SSL",
        ssl_cafile=secure.folder / ca,
        ssl_certfile=secure.folder / "client.pem",
        ssl_keyfile=secure.folder / "client.key",
    )


def with_password(
    secure: SecureKafka, mechanism: SaslMechanism, password: str = PASSWORD
) -> Connection:
    return Connection(
        (secure.sasl,),
        "SASL_SSL",
        ssl_cafile=secure.folder / "ca.pem",
        sasl_mechanism=mechanism,
        sasl_username="alice",
        sasl_password=password,
    )


async def there_and_back(connection: Connection, topic: str) -> list[bytes | None]:
    """Write a record by aiokafka and one by Faust; read them back."""
    app = faust.App(
        topic, broker=connection.faust_broker, broker_credentials=connection.faust_credentials()
    )
    async with opened(AIOKafkaAdminClient(**connection.client()), connection) as admin:
        await create_missing(admin, [TopicSpec("", topic, 1, {})], 1)
    async with opened(AIOKafkaProducer(**connection.client()), connection) as producer:
        await producer.send_and_wait(topic, b"by aiokafka")
    async with app.producer:
        await app.producer.send_and_wait(topic, None, b"by Faust", 0, None, {})
    found: list[bytes | None] = []
    await dump_topic(connection, topic, lambda record: found.append(record.value), lambda *_: None)
    return found


@pytest.mark.kafka
def test_a_broker_that_wants_certificates(secure_kafka: SecureKafka, topic_prefix: str) -> None:
    connection = with_certificate(secure_kafka)
    found = asyncio.run(there_and_back(connection, f"{topic_prefix}topic"))
    assert found == [b"by aiokafka", b"by Faust"]


@pytest.mark.kafka
@pytest.mark.parametrize("mechanism", get_args(SaslMechanism))
def test_a_broker_that_wants_a_password(
    secure_kafka: SecureKafka, topic_prefix: str, mechanism: SaslMechanism
) -> None:
    connection = with_password(secure_kafka, mechanism)
    found = asyncio.run(there_and_back(connection, f"{topic_prefix}topic"))
    assert found == [b"by aiokafka", b"by Faust"]


@pytest.mark.kafka
@pytest.mark.parametrize(
    "what", ["stranger's broker", "other host", "no certificate", "wrong password"]
)
def test_a_broker_and_a_client_that_do_not_trust_each_other(
    secure_kafka: SecureKafka, what: str
) -> None:
    good = with_certificate(secure_kafka)
    connection = {
        "stranger's broker": with_certificate(secure_kafka, ca="stranger.pem"),
        "other host": replace(
            good, bootstrap_servers=(secure_kafka.tls.replace("127.0.0.1", "localhost"),)
        ),
        "no certificate": replace(good, ssl_certfile=None, ssl_keyfile=None),
        "wrong password": with_password(secure_kafka, "SCRAM-SHA-256", "wrong-password"),
    }[what]

    async def scenario() -> None:
        async with opened(AIOKafkaAdminClient(**connection.client()), connection):
            pass

    with pytest.raises(KafkaUnreachable, match="credentials are right") as caught:
        asyncio.run(scenario())
    assert "wrong-password" not in str(caught.value)
