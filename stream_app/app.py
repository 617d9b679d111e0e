"""The worker as a Faust app: one table, one input topic, one agent.

All that is Faust about ClickAhead is here; how its parts are hardened is `stream_app.kafka`.
"""

from typing import Any

from stream_app.kafka.application import Application, AsItIs
from stream_app.kafka.lane import Core
from stream_app.kafka.observer import Observer
from stream_app.kafka.shell_config import TABLE, ShellConfig


def create_application(shell: ShellConfig, core: Core, observer: Observer) -> Application:
    """A Faust app that plays ``shell.source`` through ``core``; it starts nothing yet."""
    app = Application(shell, core, observer)
    clicks = app.topic(shell.source, schema=AsItIs(), acks=False)
    app.Table(
        TABLE,
        partitions=shell.partitions,
        partitions_of=app.partitions,
        extra_topic_configs={"compression.type": "producer"},
    )

    @app.agent(clicks, name="click")
    async def click(chunks: Any) -> None:
        async for chunk in chunks:
            app.lanes.offer(chunk)

    return app
