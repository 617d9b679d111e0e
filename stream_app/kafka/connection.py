"""How Kafka is reached: one value, and the arguments that aiokafka and Faust make of it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class ConnectionInvalid(ValueError):
    """The settings contradict one another or name files that cannot be read."""

    exit_code: ClassVar[int] = 2


class KafkaUnreachable(RuntimeError):
    """No broker answers at the given addresses in the given way."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True)
class Connection:
    """Addresses and credentials of a Kafka cluster. The password is in no repr.

    Raises:
        ConnectionInvalid: a combination that would not work, or would send a password in the open.
    """

    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol = "PLAINTEXT"
    ssl_cafile: Path | None = None
    """PEM certificates that the brokers' are signed by; None: those the system trusts."""
    ssl_certfile: Path | None = None
    """PEM certificate of this client (mutual TLS), with the key in it or in ``ssl_keyfile``."""
    ssl_keyfile: Path | None = None
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    allow_insecure: bool = False
    """Lets SASL run without TLS."""

    def __post_init__(self) -> None:
        if not self.bootstrap_servers:
            raise ConnectionInvalid("No bootstrap server is given; name at least one host:port.")
        given = (self.sasl_mechanism, self.sasl_username, self.sasl_password)
        if self._is_sasl and None in given:
            raise ConnectionInvalid(
                f"{self.security_protocol} needs a mechanism, a user name and a password."
            )
        if not self._is_sasl and any(value is not None for value in given):
            raise ConnectionInvalid(
                f"SASL credentials are given, but {self.security_protocol} would not use them; "
                "choose SASL_SSL."
            )
        if self.security_protocol == "SASL_PLAINTEXT" and not self.allow_insecure:
            raise ConnectionInvalid(
                "SASL_PLAINTEXT sends the password without encryption; choose SASL_SSL, or allow "
                "it explicitly where the network itself is trusted."
            )

    @property
    def _is_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    def client(self) -> dict[str, Any]:
        """Keyword arguments for every aiokafka client. They hold the password: do not log them."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            arguments["ssl_context"] = self.ssl_context()
        if self._is_sasl:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password
        return arguments

    @property
    def faust_broker(self) -> str:
        """The ``broker`` of a Faust app."""
        return ";".join(f"kafka://{server}" for server in self.bootstrap_servers)

    def faust_credentials(self) -> "CredentialsT | None":
        """The ``broker_credentials`` of a Faust app."""
        import faust  # takes a second, and only the worker needs it

        if self._is_sasl:
            return faust.SASLCredentials(
                username=self.sasl_username,
                password=self.sasl_password,
                ssl_context=self.ssl_context() if self.security_protocol == "SASL_SSL" else None,
                mechanism=self.sasl_mechanism,
            )
        return faust.SSLCredentials(self.ssl_context()) if self.security_protocol == "SSL" else None

    def ssl_context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer; the broker's certificate and host name are always checked."""
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.ssl_certfile is not None:
                # Without a password argument an encrypted key would ask the terminal for one.
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, password="")
        except OSError as error:  # ssl.SSLError is one
            files = [self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile]
            named = ", ".join(str(file) for file in files if file is not None)
            raise ConnectionInvalid(
                f"The TLS files ({named}) cannot be used: {error}. They have to be readable PEM "
                "files; the key must not be encrypted and must belong to the certificate."
            ) from None
        return context


class Client(Protocol):
    """What all clients of aiokafka have in common, up to the name of their end."""

    async def start(self) -> None: ...


AnyClient = TypeVar("AnyClient", bound=Client)


@asynccontextmanager
async def opened(client: AnyClient, connection: Connection) -> AsyncIterator[AnyClient]:
    """Start an aiokafka client of this connection, and stop it in the end.

    Raises:
        KafkaUnreachable: no broker lets it in.
    """
    try:
        try:
            await client.start()
        except KafkaConnectionError as error:
            raise KafkaUnreachable(
                f"No Kafka answers {connection.security_protocol} at "
                f"{', '.join(connection.bootstrap_servers)}. Start one with `clickahead broker`, "
                "or see whether kafka.bootstrap_servers, its security_protocol and credentials are "
                "right."
            ) from error
        yield client
    finally:
        await (client.close() if hasattr(client, "close") else client.stop())  # type: ignore[attr-defined]
