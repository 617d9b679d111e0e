"""Produce requests whose record batches are copied once on their way to the socket.

aiokafka joins the bytes of a request at every level of its encoding, then with its header, then
with its length: five copies of what may be megabytes, each into memory that the system hands out
page by page. Here the parts stay apart until the transport takes them. What a broker reads is the
same to the byte, and what becomes of its answer is aiokafka's own.
"""

from struct import Struct
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v3
from aiokafka.protocol.types import String
from aiokafka.util import wait_for

LAYOUT = ProduceRequest_v3.SCHEMA
"""Of versions 3 to 7, the newest that aiokafka knows."""

_text, _int, _two_ints = String().encode, Struct(">i").pack, Struct(">ii").pack
_header, _acks_timeout_topics = Struct(">hhi").pack, Struct(">hii").pack


def send_in_parts(client: AIOKafkaClient) -> None:
    """Let the client's connections write their produce requests part by part."""
    connect = client._get_conn

    async def connected(
        node_id: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> AIOKafkaConnection | None:
        connection = await connect(node_id, group=group, no_hint=no_hint)
        if type(connection) is AIOKafkaConnection:
            # A client cannot be told of which class its connections are.
            connection.__class__ = PartConnection
        return connection

    client._get_conn = connected


class PartConnection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that differs in how it writes produce requests of a layout that it knows."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """As aiokafka's, whose account of open requests it keeps."""
        known = self._known(request) if expect_response else None
        if known is None:
            return super().send(request, expect_response)
        correlation_id = self._next_correlation_id()
        try:
            self._writer.writelines(framed(known, correlation_id, self._client_id))
        except OSError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(
                f"Connection at {self.host}:{self.port} broken: {error}"
            ) from error
        answer = self._loop.create_future()
        self._requests.append((correlation_id, known, answer))
        return wait_for(answer, self._request_timeout)

    def _known(self, request: Any) -> Any:
        """The request as this broker takes it; None where that is left to aiokafka."""
        if self._writer is None or not isinstance(request, ProduceRequest):
            return None
        prepared = request.prepare(self._versions)
        return prepared if prepared.SCHEMA is LAYOUT else None


def framed(request: Any, correlation_id: int, client_id: str) -> list[Any]:
    """A produce request of `LAYOUT` behind its header, and its length in front."""
    header = _header(request.API_KEY, request.API_VERSION, correlation_id) + _text(client_id)
    message = [header, *parts(request)]
    return [_int(sum(map(len, message))), *message]


def parts(request: Any) -> list[Any]:
    """A produce request of `LAYOUT` in the order of its bytes; record batches are as they were."""
    found = []
    fixed = _acks_timeout_topics(request.required_acks, request.timeout, len(request.topics))
    before = _text(request.transactional_id) + fixed
    for topic, partitions in request.topics:
        before += _text(topic) + _int(len(partitions))
        for partition, batch in partitions:
            found += [before + _two_ints(partition, len(batch)), batch]
            before = b""
    return [*found, before]
