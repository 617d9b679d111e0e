"""A broker reads what aiokafka would have written, and the answer finds its request."""

import asyncio
import socket
import struct
from typing import Any

import numpy as np
import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.kafka.produce_requests import LAYOUT, PartConnection

VERSIONS = [request.API_VERSION for request in ProduceRequest._CLASSES]
IN_PARTS = [cls.API_VERSION for cls in ProduceRequest._CLASSES if cls.SCHEMA is LAYOUT]
INT32 = st.integers(-(2**31), 2**31 - 1)
CONTENTS = st.binary(max_size=40) | st.integers(0, 300_000).map(bytes)
BATCHES = st.one_of(
    CONTENTS,
    CONTENTS.map(bytearray),
    CONTENTS.map(lambda content: np.frombuffer(content, np.uint8).data),
)
REQUESTS = st.builds(
    ProduceRequest,
    transactional_id=st.none() | st.text(max_size=30),
    required_acks=st.sampled_from([-1, 1]),
    timeout=INT32,
    topics=st.lists(
        st.tuples(st.text(max_size=30), st.lists(st.tuples(INT32, BATCHES), max_size=3).map(list)),
        max_size=4,
    ),
)


async def written_by(kind: type[AIOKafkaConnection], request: Any, version: int) -> Any:
    """What a connection writes into a socket, and which requests it waits for."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    connection = kind("a", 1, client_id="client", request_timeout_ms=20)
    reader, writer = await asyncio.open_connection(sock=ours)
    connection._reader, connection._writer = reader, writer
    connection._versions = {0: (version, version), 3: (5, 5)}
    connection._correlation_id = 2**31 - 2
    loop = asyncio.get_running_loop()
    try:
        answer = asyncio.ensure_future(connection.send(request))
        (size,) = struct.unpack(">i", await loop.sock_recv(theirs, 4))
        frame = b""
        while len(frame) < size:
            frame += await loop.sock_recv(theirs, size - len(frame))
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        waits = [(number, known, repr(known)) for number, known, _ in connection._requests]
        assert not answer.done()
        connection._requests[0][2].set_result("answered")
        assert await answer == "answered"
        return frame, waits
    finally:
        connection._reader = None
        writer.close()
        theirs.close()


@settings(deadline=None, max_examples=60)
@given(request=REQUESTS, version=st.sampled_from(IN_PARTS))
def test_a_broker_reads_what_aiokafka_would_have_written(
    request: ProduceRequest, version: int
) -> None:
    async def scenario() -> None:
        ours = await written_by(PartConnection, request, version)
        assert ours == await written_by(AIOKafkaConnection, request, version)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        *((ProduceRequest(None, 1, 7, [("t", [(0, b"old")])]), version) for version in VERSIONS),
        (MetadataRequest([]), 7),
    ],
)
def test_what_has_another_layout_is_written_by_aiokafka(request_: Any, version: int) -> None:
    async def scenario() -> None:
        ours = await written_by(PartConnection, request_, version)
        assert ours == await written_by(AIOKafkaConnection, request_, version)

    asyncio.run(scenario())
    assert IN_PARTS == [3, 4, 5, 6, 7]


def test_without_a_connection_it_says_so_as_aiokafka_does() -> None:
    async def scenario() -> None:
        connection = PartConnection("a", 1)
        with pytest.raises(KafkaConnectionError, match="No connection to broker at a:1"):
            connection.send(ProduceRequest(None, 1, 7, []))

    asyncio.run(scenario())


def test_who_waits_too_long_hears_it() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        connection = PartConnection("a", 1, request_timeout_ms=20)
        connection._reader, connection._writer = await asyncio.open_connection(sock=ours)
        connection._versions = {0: (7, 7)}
        with pytest.raises(TimeoutError):
            await connection.send(ProduceRequest(None, 1, 7, [("t", [(0, b"batch")])]))
        writer, connection._reader = connection._writer, None
        writer.close()
        theirs.close()

    asyncio.run(scenario())
