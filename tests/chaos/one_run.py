"""One plan carried out: traffic, workers and brokers under it, and the verdict in the end."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError

from stream_app.commands.topics import ensured
from stream_app.files import FileEvent
from stream_app.kafka.connection import KafkaUnreachable, opened
from stream_app.kafka.embedded import EmbeddedKafka
from stream_app.pace import at_rate
from stream_app.produce import produce, producer_of
from stream_app.settings import Settings, load
from tests.chaos.orders import give, order_of, orders_of
from tests.chaos.report import Outcome, counted, kinds, recoveries
from tests.chaos.schedule import SESSION_TIMEOUT_MS, Act, Plan
from tests.chaos.topics import delete_topics, drained, held_in, keep, open_transactions
from tests.chaos.traffic import traffic
from tests.chaos.verifier import balance, compare, expected
from tests.chaos.workers import Done, Worker

DRAIN_SECONDS = 60.0
WORKERS = 3

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """What all runs of a campaign share."""

    cluster: EmbeddedKafka
    models: Mapping[str, Path]
    """Folders by version; the first is the workers' own, and all are in one folder."""
    folder: Path
    rate: float
    say: Say


def environ_of(stage: Stage, plan: Plan, delivery: str) -> dict[str, str]:
    """Settings of every worker, but for its name and port."""
    prefix = f"chaos-{plan.seed}-{delivery}."
    own_model = next(iter(stage.models.values()))
    own = {
        "KAFKA__BOOTSTRAP_SERVERS": stage.cluster.bootstrap_servers,
        "KAFKA__REPLICATION_FACTOR": "3",
        "INPUT__TOPIC": f"{prefix}events",
        "TOPICS__PREFIX": prefix,
        "WORKER__APP_ID": prefix.strip("."),
        "WORKER__DELIVERY": delivery,
        "WORKER__MODEL_DIR": str(own_model),
        "WORKER__MODELS": str(own_model.parent),
        "WORKER__SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
        "WORKER__MAX_BATCH_EVENTS": str(plan.max_batch_events),
        # Fewer than the shop has, so that users are evicted.
        "CORE__MAX_USERS_PER_PARTITION": "80",
        "ALERTS__RATE": "0.3",
        "ALERTS__RESERVOIR_SIZE": "512",
    }
    return {f"CLICKAHEAD_{name}": value for name, value in own.items()}


class Run:
    """The state of one run while it goes on."""

    def __init__(self, stage: Stage, plan: Plan, delivery: str) -> None:
        self.stage, self.plan, self.delivery = stage, plan, delivery
        self.folder = stage.folder / f"{delivery}-{plan.seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environ = environ_of(stage, plan, delivery)
        self.settings: Settings = load(None, self.environ)
        self.done: list[Done] = []
        self.workers: dict[str, Worker] = {}
        self.broker_acts: asyncio.Queue[Act] = asyncio.Queue()
        self.orders: asyncio.Queue[Act] = asyncio.Queue()
        self.tending: list[asyncio.Task[None]] = []
        self.outcome = Outcome(plan.seed, delivery)

    def worker(self, name: str) -> Worker:
        """The worker of this name, tended from its first mention on."""
        if name not in self.workers:
            environ: dict[str, str] = {"PATH": os.environ["PATH"], **self.environ}
            if self.plan.static:
                environ["CLICKAHEAD_WORKER__INSTANCE_ID"] = name
            self.workers[name] = Worker(name, environ, self.folder, self.done)
            self.tending.append(asyncio.create_task(self.workers[name].tend()))
        return self.workers[name]

    async def carry_out(self) -> Outcome:
        """All of it; what was started is ended in any case."""
        began = time.monotonic()
        try:
            await ensured(self.settings, create=True)
            await self._disturbed()
            await self._settled()
            await self._judged()
        except Exception as error:
            self.outcome.faults.append(f"the run broke off: {type(error).__name__}: {error}")
        finally:
            for task in self.tending:
                task.cancel()
            for worker in self.workers.values():
                worker.end()
            self.outcome.seconds = time.monotonic() - began
        with suppress(KafkaError):
            if self.outcome.passed:
                await delete_topics(self.settings)
        return self.outcome

    async def _disturbed(self) -> None:
        """Traffic and acts side by side, until both are through."""
        events = traffic(self.plan, self.stage.rate)
        self.tending.append(asyncio.create_task(self._tend_brokers()))
        self.tending.append(asyncio.create_task(self._order(users_of(events))))
        for number in range(1, WORKERS + 1):
            self.worker(f"worker-{number}").start()
        self.stage.say(f"{len(events)} events, {len(self.plan.acts)} acts")
        sending = asyncio.create_task(self._send(events))
        started = time.monotonic()
        for act in self.plan.acts:
            await asyncio.sleep(max(0.0, started + act.at_ms / 1_000 - time.monotonic()))
            self._queue_of(act).put_nowait(act)
        self.outcome.events = await sending
        queues = [self.broker_acts, self.orders, *(w.acts for w in self.workers.values())]
        joined = asyncio.gather(*(queue.join() for queue in queues))
        finished, _ = await asyncio.wait(
            {joined, *self.tending}, return_when=asyncio.FIRST_COMPLETED
        )
        # Who tends something ends only by a failure, and then its queue is never empty.
        for task in finished:
            task.result()

    def _queue_of(self, act: Act) -> asyncio.Queue[Act]:
        """Acts on one process, and orders, are done one after the other."""
        kind = act.target.partition("-")[0]
        if kind == "worker":
            return self.worker(act.target).acts
        return self.broker_acts if kind == "broker" else self.orders

    async def _send(self, events: list[FileEvent]) -> int:
        """Every event acknowledged by two brokers; returns their number."""
        connection = self.settings.connection()
        async with opened(producer_of(connection.client()), connection) as producer:
            chunks = at_rate(events, self.stage.rate, time.monotonic)
            sent = await produce(chunks, producer, self.settings.topic("events"))
        return sent.total

    async def _tend_brokers(self) -> None:
        cluster = self.stage.cluster
        while True:
            act = await self.broker_acts.get()
            number = int(act.target.rpartition("-")[2])
            self.done.append(Done(int(time.time() * 1_000), act))
            deed = {"kill": cluster.kill_node, "stop": cluster.stop_node}
            try:
                await asyncio.to_thread(deed.get(act.deed, cluster.start_node), number)
            except Exception as error:
                self.outcome.faults.append(f"{act.target} could not {act.deed}: {error}")
            self.broker_acts.task_done()

    async def _order(self, users: list[str]) -> None:
        versions = list(self.stage.models)
        while True:
            act = await self.orders.get()
            order = order_of(act, versions, users, self.settings)
            while True:
                try:
                    await give(order, self.settings)
                    break
                except (KafkaError, KafkaUnreachable):
                    await asyncio.sleep(0.5)
            self.done.append(Done(int(time.time() * 1_000), act))
            self.orders.task_done()

    async def _settled(self) -> None:
        """The last records answered, every worker ended in order, no transaction open."""
        outcome = self.outcome
        for name, worker in self.workers.items():
            if int(name.rpartition("-")[2]) <= WORKERS:
                worker.start()
        self.stage.say("draining")
        lag = await drained(self.settings, DRAIN_SECONDS)
        if lag:
            outcome.faults.append(
                f"{lag} records had no answer, and it got no better for {DRAIN_SECONDS:.0f} s"
            )
        for task in self.tending:
            task.cancel()
        await asyncio.gather(*(worker.stop() for worker in self.workers.values()))
        said = [fault for worker in self.workers.values() for fault in worker.faults]
        # With its broker away a worker cannot end in order, and says so by its exit code.
        excused = any(done.act.target.startswith("broker") for done in self.done)
        outcome.endings += [fault for fault in said if excused and "exit code" in fault]
        outcome.faults += [fault for fault in said if not excused or "exit code" not in fault]
        if still := await open_transactions(self.settings):
            outcome.faults.append(f"a transaction stays open in {', '.join(still)}")

    async def _judged(self) -> None:
        self.stage.say("reading and replaying")
        held = await held_in(self.settings)
        orders = orders_of(held.control, held.changes, self.stage.models, self.settings)
        engine = orders.engines[next(iter(self.stage.models))]
        topic, config = self.settings.topic("events"), self.settings.core_config()
        wanted = await asyncio.to_thread(expected, held.inputs, topic, engine, config, orders)
        outcome = self.outcome
        recorded = sum(map(len, held.inputs.values()))
        if recorded < outcome.events:
            outcome.faults.append(f"{outcome.events} were acknowledged, {recorded} are in the log")
        outcome.events = recorded
        outcome.outputs = kinds(wanted)
        outcome.verdict = compare(held.topics, wanted, self.delivery)
        books = balance(held.inputs, held.topics)
        if books.lost or books.strangers or (books.doubled and self.delivery == "exactly_once"):
            outcome.faults.append(books.sentence())
        outcome.deeds = counted(self.done)
        last_ms = max(
            (record.timestamp_ms for records in held.inputs.values() for record in records),
            default=0,
        )
        outcome.recovery_ms = recoveries(self.done, held.changes, last_ms)
        self._keep_evidence()
        if not outcome.passed:
            keep(held, self.folder)

    def _keep_evidence(self) -> None:
        """What happened when, and what is different, beside the logs."""
        lines = [f"{at_ms} {act.deed} {act.target}" for at_ms, act in sorted(self.done)]
        (self.folder / "acts.txt").write_text("\n".join(lines) + "\n")
        told = [*self.outcome.faults, *self.outcome.endings, *self.outcome.verdict.differences]
        (self.folder / "differences.txt").write_text("\n".join(told) + "\n")


def users_of(events: list[FileEvent]) -> list[str]:
    """Who clicks, in a fixed order."""
    keys = {event.key for event in events if event.key is not None}
    return sorted(key.decode("ascii", "replace") for key in keys)
