"""Quix Streams with its own state store and changelog, the graph called once per event."""

import base64
import sys
from pathlib import Path
from typing import Any

from quixstreams import Application, State

from tests.bench.peers.arguments import Arguments, parse
from tests.bench.peers.graph_step import GraphStep


def serve(given: Arguments) -> None:
    step = GraphStep(Path(given.model))
    app = Application(
        broker_address=given.kafka,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        state_dir=given.scratch,
        loglevel="WARNING",
    )
    clicks = app.topic(given.source, key_deserializer="str", value_deserializer="json")
    predictions = app.topic(given.target, key_serializer="str", value_serializer="bytes")

    def predict(click: dict[str, Any], state: State) -> bytes:
        [(prediction, kept)] = step.advance([click], [_read(state.get("user"))])
        state.set("user", kept | {"hidden": base64.b64encode(kept["hidden"]).decode()})
        return prediction

    app.dataframe(clicks).apply(predict, stateful=True).to_topic(predictions)
    app.run()


def _read(kept: dict[str, Any] | None) -> dict[str, Any] | None:
    """Its store holds JSON, which holds no bytes."""
    return kept and kept | {"hidden": base64.b64decode(kept["hidden"])}


if __name__ == "__main__":
    serve(parse(sys.argv[1:]))
