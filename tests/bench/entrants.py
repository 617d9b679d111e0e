"""Who races: ClickAhead in both deliveries, and its peers."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.bench.course import Course
from tests.bench.race import Entrant, Place, options_of, peer


def _plain(place: Place, course: Course) -> dict[str, str]:
    return {}


def worker_command(place: Place, course: Course) -> list[str]:
    return [sys.executable, "-m", "stream_app", "worker"]


def worker_environ(place: Place, course: Course, delivery: str) -> dict[str, str]:
    return {
        "CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS": place.kafka,
        "CLICKAHEAD_INPUT__TOPIC": place.topic("events"),
        "CLICKAHEAD_TOPICS__PREFIX": f"{place.name}.",
        "CLICKAHEAD_WORKER__APP_ID": place.name,
        "CLICKAHEAD_WORKER__DELIVERY": delivery,
        "CLICKAHEAD_WORKER__MODEL_DIR": str(course.model),
        "CLICKAHEAD_WORKER__METRICS_PORT": "0",
    }


def clickahead(delivery: str) -> Entrant:
    environ = partial(worker_environ, delivery=delivery)
    return Entrant(f"clickahead, {delivery}", 40_000, worker_command, environ, ready_says="Ready:")


EXACTLY_ONCE, AT_LEAST_ONCE = clickahead("exactly_once"), clickahead("at_least_once")
NAIVE_FAUST = Entrant("naive faust, torch", 1_500, peer("naive_faust"), _plain)
PLAIN_AIOKAFKA = Entrant("plain aiokafka, torch", 1_500, peer("plain_aiokafka"), _plain)
COPY_LOOP = Entrant("copy loop", 100_000, peer("copy_loop"), _plain)


def with_packages_of(python: Path) -> dict[str, Entrant]:
    """Peers that need packages which ClickAhead does not: their own virtual environment."""
    flow = partial(peer, "bytewax_flow", python=str(python))
    return {
        "quix": Entrant("quix, onnx", 6_000, peer("quix", python=str(python)), _plain),
        "bytewax": Entrant("bytewax, onnx", 10_000, flow("each"), _plain),
        "bytewax_batched": Entrant("bytewax batched, onnx", 30_000, flow("batched"), _plain),
    }


def kafka_streams(java: Sequence[str]) -> Entrant:
    """The Java peer; its compiler to machine code is done with it after some thousand events."""
    return Entrant(
        "kafka streams, onnx (java)", 10_000,
        lambda place, course: [*java, *options_of(place, course)], _plain, warm_up=10_000,
    )  # fmt: skip
