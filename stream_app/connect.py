"""From the settings to a connection: the one place where the secret is unwrapped."""

from stream_app.kafka.connection import Connection
from stream_app.settings import Settings


def connection_of(settings: Settings) -> Connection:
    """How the Kafka of these settings is reached."""
    kafka = settings.kafka
    return Connection(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol=kafka.security_protocol,
        ssl_cafile=kafka.ssl_cafile,
        ssl_certfile=kafka.ssl_certfile,
        ssl_keyfile=kafka.ssl_keyfile,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=(
            None if kafka.sasl_password is None else kafka.sasl_password.get_secret_value()
        ),
        allow_insecure=kafka.allow_insecure_sasl,
    )
