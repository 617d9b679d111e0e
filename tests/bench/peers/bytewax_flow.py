"""Bytewax with keyed state and recovery, the graph called per event or per arrived batch."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from tests.bench.peers.arguments import Arguments, parse
from tests.bench.peers.graph_step import GraphStep

Keyed = tuple[str, KafkaSourceMessage[Any, Any]]
Answer = tuple[int | None, bytes, bytes]

BATCH = 256


def flow_each(given: Arguments) -> Dataflow:
    """One call of the graph per event."""
    step, flow, clicks = _source(given)

    def predict(state: Any, record: KafkaSourceMessage[Any, Any]) -> tuple[Any, Answer]:
        [(prediction, kept)] = step.advance([orjson.loads(record.value)], [state])
        return kept, (record.partition, prediction, record.key)

    return _sink(given, flow, op.stateful_map("predict", clicks, predict))


def flow_batched(given: Arguments) -> Dataflow:
    """Events are collected per partition; each of its users' next events go in one call."""
    step, flow, clicks = _source(given, by_partition=True)
    waiting = op.collect("collect", clicks, timedelta(milliseconds=10), BATCH)

    def predict(
        states: dict[bytes, Any] | None, records: list[KafkaSourceMessage[Any, Any]]
    ) -> tuple[dict[bytes, Any], list[Answer]]:
        states = {} if states is None else states
        answers: dict[int, Answer] = {}
        for rows in _rounds(records):
            keys = [records[row].key for row in rows]
            clicks = [orjson.loads(records[row].value) for row in rows]
            found = step.advance(clicks, [states.get(key) for key in keys])
            for row, key, (prediction, kept) in zip(rows, keys, found, strict=True):
                states[key] = kept
                answers[row] = (records[row].partition, prediction, key)
        return states, [answers[row] for row in range(len(records))]

    many = op.stateful_map("predict", waiting, predict)
    return _sink(
        given, flow, op.flat_map("each", many, lambda pair: [(pair[0], a) for a in pair[1]])
    )


def _apart(pair: tuple[str, list[Answer]]) -> list[tuple[str, Answer]]:
    return [(pair[0], answer) for answer in pair[1]]


def _rounds(records: Sequence[KafkaSourceMessage[Any, Any]]) -> list[list[int]]:
    rounds: list[list[int]] = []
    seen: dict[bytes, int] = {}
    for row, record in enumerate(records):
        number = seen[record.key] = seen.get(record.key, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(row)
    return rounds


def _source(given: Arguments, by_partition: bool = False) -> tuple[GraphStep, Dataflow, Any]:
    step = GraphStep(Path(given.model))
    flow = Dataflow("clicks")
    source = kop.input("clicks", flow, brokers=[given.kafka], topics=[given.source])
    keyed = op.map(
        "key",
        source.oks,
        lambda record: (str(record.partition) if by_partition else record.key.decode(), record),
    )
    return step, flow, keyed


def _sink(given: Arguments, flow: Dataflow, answers: Any) -> Dataflow:
    out = op.map(
        "message",
        answers,
        lambda pair: KafkaSinkMessage(key=pair[1][2], value=pair[1][1], partition=None),
    )
    kop.output("predictions", out, brokers=[given.kafka], topic=given.target)
    return flow


def serve(given: Arguments, batched: bool) -> None:
    folder = Path(given.scratch)
    init_db_dir(folder, 1)
    flow = flow_batched(given) if batched else flow_each(given)
    cluster_main(
        flow,
        [],
        0,
        epoch_interval=timedelta(seconds=1),
        recovery_config=RecoveryConfig(str(folder)),
    )


if __name__ == "__main__":
    serve(parse(sys.argv[2:]), sys.argv[1] == "batched")
