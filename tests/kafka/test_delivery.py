"""All of a micro-batch or nothing of it; or all of it at least once, in an order that is safe."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.protocol.struct import Struct

from stream_app.kafka.delivery import (
    Acknowledged,
    AtLeastOnce,
    ExactlyOnce,
    Results,
    StateTooLarge,
    Transactional,
)
from stream_app.kafka.packing import OVERSIZED
from stream_app.kafka.produce_requests import LAYOUT
from stream_app.kafka.producers import is_fenced
from stream_app.kafka.sending import send
from stream_app.kafka.shell_config import BATCH_BYTES, ShellConfig
from tests.kafka.counting import config
from tests.kafka.ledger import make_topics, read_all

pytestmark = pytest.mark.kafka

Scenario = Callable[[ShellConfig], Awaitable[None]]


def run(kafka: str, app_id: str, scenario: Scenario, **shell: object) -> None:
    async def main() -> None:
        given = config(kafka, app_id, partitions=1, **shell)
        await make_topics(kafka, app_id, partitions=1)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(given.changelog, 2, 1)])
        await admin.close()
        await scenario(given)

    asyncio.run(main())


def results(shell: ShellConfig, end: int, changes: int = 2, size: int = 10) -> Results:
    topic = shell.outputs["predictions"]
    return Results(
        outputs={topic: [(b"k", b"%d" % end)], shell.outputs["anomalies"]: []},
        headers={topic: [("latency", b"{}")]},
        changes=[(b"%d" % number, bytes(size)) for number in range(changes)],
        timestamp_ms=123,
    )


async def until_visible(kafka: str, topic: str, expected: list[bytes]) -> None:
    """A commit is acknowledged before its markers are in every partition."""
    async with asyncio.timeout(10):
        while [row.value for row in (await read_all(kafka, topic, 1))[0]] != expected:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.02)


def test_outputs_and_changes_become_visible_together_or_not_at_all(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario(shell: ShellConfig) -> None:
        delivery = ExactlyOnce(shell)
        first = await delivery.open(0)
        changelog_end = await first.commit(first.pack(results(shell, 5)))
        # Behind the marker of the take-over.
        assert changelog_end == 3
        # The second is cut off before its end, as a killed process would be.
        assert isinstance(first, Transactional)
        await first.producer.begin_transaction()
        await send(first.producer, first.pack(results(shell, 9)), first.partition)
        second = await delivery.open(0)
        (prediction,) = (await read_all(kafka, shell.outputs["predictions"], 1))[0]
        assert (prediction.key, prediction.value) == (b"k", b"5")
        assert (prediction.timestamp, prediction.headers) == (123, (("latency", b"{}"),))
        assert len((await read_all(kafka, shell.changelog, 1))[0]) == 2
        await second.commit(second.pack(results(shell, 9)))
        await until_visible(kafka, shell.outputs["predictions"], [b"5", b"9"])
        assert len((await read_all(kafka, shell.changelog, 1))[0]) == 4
        await asyncio.gather(first.close(), second.close(), delivery.close())

    run(kafka, topic_prefix + "a", scenario)


def test_a_transaction_that_began_before_its_results_needs_none_of_what_it_expected(
    kafka: str, topic_prefix: str
) -> None:
    async def scenario(shell: ShellConfig) -> None:
        delivery = ExactlyOnce(shell)
        committer = await delivery.open(0)
        committer.begin()
        await committer.commit(committer.pack(results(shell, 5)))
        committer.begin()
        without = results(shell, 6)._replace(outputs={})
        assert await committer.commit(committer.pack(without)) == 6
        committer.begin()
        # It begins, and its owner dies: nothing of it is left to wait for.
        successor = await delivery.open(0)
        successor.begin()
        await successor.commit(successor.pack(results(shell, 7)))
        await until_visible(kafka, shell.outputs["predictions"], [b"5", b"7"])
        assert len((await read_all(kafka, shell.changelog, 1))[0]) == 6
        with pytest.raises(KafkaError):
            await committer.commit(committer.pack(results(shell, 8)))
        await asyncio.gather(committer.close(), successor.close(), delivery.close())

    run(kafka, topic_prefix + "a", scenario)


def test_changes_beyond_one_record_batch_are_still_atomic_at_least_once(
    kafka: str, topic_prefix: str
) -> None:
    """Half of a micro-batch's state would apply the other half's events twice after a crash."""

    async def scenario(shell: ShellConfig) -> None:
        delivery = AtLeastOnce(shell)
        committer, other = await asyncio.gather(delivery.open(0), delivery.open(1))
        assert isinstance(committer, Acknowledged)
        assert isinstance(other, Acknowledged)
        small = committer.pack(results(shell, 1))
        large = committer.pack(results(shell, 2, changes=30, size=BATCH_BYTES // 10))
        assert len(small[-1].batches) == 1
        assert len(large[-1].batches) > 1
        # Behind the marker that fences earlier owners.
        assert await committer.commit(small) == 3
        assert await committer.commit(large) == 33
        rows = (await read_all(kafka, shell.changelog, 1))[0]
        assert [row.offset for row in rows] == list(range(1, 33))
        await asyncio.gather(committer.close(), other.close(), delivery.close())

    run(kafka, topic_prefix + "a", scenario)


@pytest.mark.parametrize("written", [0, 2])
@pytest.mark.parametrize("changes", [2, 30])
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_worker_that_slept_lays_no_old_state_over_its_successors(
    kafka: str, topic_prefix: str, delivery: str, changes: int, written: int
) -> None:
    """It wakes with a micro-batch in hand. At least once its outputs may come again, but state
    that it wrote now would be what the next restart begins with."""

    async def scenario(shell: ShellConfig) -> None:
        made = ExactlyOnce(shell) if delivery == "exactly_once" else AtLeastOnce(shell)
        sleeper = await made.open(0)
        await sleeper.commit(sleeper.pack(results(shell, 1)))
        # In one record batch or in several.
        in_hand = sleeper.pack(results(shell, 2, changes, size=BATCH_BYTES // 10))
        successor = await made.open(0)
        for end in range(2, 2 + written):
            await successor.commit(successor.pack(results(shell, end, size=20)))
        with pytest.raises(KafkaError) as caught:
            await sleeper.commit(in_hand)
        assert is_fenced(caught.value)
        rows = (await read_all(kafka, shell.changelog, 1))[0]
        assert [len(row.value) for row in rows] == [10, 10, *[20, 20] * written]
        await asyncio.gather(sleeper.close(), successor.close(), made.close())

    run(kafka, topic_prefix + "a", scenario)


def test_at_least_once_acknowledges_outputs_before_state(kafka: str, topic_prefix: str) -> None:
    """Faust commits offsets while outputs are still on their way, and after they failed."""

    async def scenario(shell: ShellConfig) -> None:
        delivery = AtLeastOnce(shell)
        committer = await delivery.open(0)
        await committer.commit(committer.pack(results(shell, 1)))
        assert len((await read_all(kafka, shell.outputs["predictions"], 1))[0]) == 1
        assert len((await read_all(kafka, shell.changelog, 1))[0]) == 2
        # An output that the broker refuses keeps the state, and the offset in it, where it is.
        refused = committer.pack(results(shell, 2))
        refused[0] = refused[0]._replace(topic=topic_prefix + "never-created")
        sending = asyncio.create_task(committer.commit(refused))
        await asyncio.sleep(1)
        assert not sending.done()
        sending.cancel()
        assert len((await read_all(kafka, shell.changelog, 1))[0]) == 2
        await asyncio.gather(sending, committer.close(), delivery.close(), return_exceptions=True)

    run(kafka, topic_prefix + "a", scenario)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_no_record_batch_goes_through_aiokafkas_encoding(
    kafka: str, topic_prefix: str, delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, encoded = Struct.encode, list[object]()

    def watched(struct: Struct) -> bytes:
        encoded.append(struct.SCHEMA)
        return encode(struct)

    monkeypatch.setattr(Struct, "encode", watched)

    async def scenario(shell: ShellConfig) -> None:
        made = ExactlyOnce(shell) if delivery == "exactly_once" else AtLeastOnce(shell)
        committer = await made.open(0)
        for size in (10, BATCH_BYTES // 10):
            await committer.commit(committer.pack(results(shell, 1, changes=30, size=size)))
        await asyncio.gather(committer.close(), made.close())
        assert len((await read_all(kafka, shell.changelog, 1))[0]) == 60

    run(kafka, topic_prefix + "a", scenario)
    assert encoded
    assert LAYOUT not in encoded


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_an_output_too_large_for_its_topic_leaves_a_stub_and_does_not_stop_the_rest(
    kafka: str, topic_prefix: str, delivery: str
) -> None:
    async def scenario(shell: ShellConfig) -> None:
        made = ExactlyOnce(shell) if delivery == "exactly_once" else AtLeastOnce(shell)
        committer = await made.open(0)
        topic = shell.outputs["predictions"]
        records = [(b"a", b"small"), (b"b", bytes(2_000_000)), (b"c", b"small")]
        given = results(shell, 3)._replace(outputs={topic: records})
        packed = committer.pack(given)
        assert [one.oversized for one in packed] == [1, 0]
        await committer.commit(packed)
        async with asyncio.timeout(30):
            # A commit is acknowledged before its markers are in every partition.
            while not (rows := (await read_all(kafka, topic, 1))[0]):  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.05)
        assert [(row.key, row.value) for row in rows] == [
            (b"a", b"small"),
            (b"b", None),
            (b"c", b"small"),
        ]
        assert OVERSIZED in dict(rows[1].headers)
        await asyncio.gather(committer.close(), made.close())

    run(kafka, topic_prefix + "a", scenario)


def test_a_topic_that_takes_less_than_usual_is_respected(kafka: str, topic_prefix: str) -> None:
    async def scenario(shell: ShellConfig) -> None:
        delivery = ExactlyOnce(shell)
        committer = await delivery.open(0)
        with pytest.raises(StateTooLarge, match=r"max\.message\.bytes"):
            committer.pack(results(shell, 1, size=3_000))
        await committer.close()

    app_id = topic_prefix + "a"
    limits = {config(kafka, app_id).changelog: 2_000}
    run(kafka, app_id, scenario, max_record_bytes=limits)
