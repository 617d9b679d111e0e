"""Orders to the workers while they are being killed, and the same orders for the replay."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from model.engine import open_engine
from model.spec import Engine
from stream_app.core.control import key_of
from stream_app.core.events import Control
from stream_app.core.privacy import pseudonymiser
from stream_app.kafka.control_topic import write_order
from stream_app.kafka.dump import DumpRecord
from stream_app.kafka.side_inputs import SideRecord
from stream_app.orders import CONTROL, Ledger
from stream_app.schedule import Kept, schedule_of
from stream_app.settings import Settings
from tests.chaos.schedule import Act
from tests.chaos.verifier import Orders


def order_of(
    act: Act, versions: Sequence[str], users: Sequence[str], settings: Settings
) -> Control:
    """The record of the control topic for an act.

    Args:
        versions: of the models, ``model-0`` first.
        users: who may be erased; an act names one by its place.
    """
    kind, _, name = act.target.partition("-")
    if kind == "item":
        return Control(order="block_item" if act.deed == "block" else "unblock_item", item_id=name)
    if kind == "user":
        pseudonym = pseudonymiser(settings.core_config().pseudonym_key)
        return Control(order="erase_user", user=pseudonym(users[int(name) % len(users)]).hex())
    version = versions[int(name)]
    if act.deed == "roll_back":
        return Control(order="roll_back", model=None)
    return Control(order="promote" if act.deed == "promote" else "shadow", model=version)


async def give(order: Control, settings: Settings) -> None:
    """Write an order durably, as ``clickahead control`` does."""
    pseudonym = pseudonymiser(settings.core_config().pseudonym_key)
    key, value = key_of(order, pseudonym), msgspec.json.encode(order)
    await write_order(settings.connection(), settings.topic("control"), key, value)


def orders_of(
    control: Sequence[DumpRecord],
    changes: Mapping[int, Sequence[DumpRecord]],
    models: Mapping[str, Path],
    settings: Settings,
) -> Orders:
    """What a replay has to follow: the schedule in the changelog, the orders, the models."""
    ledger = Ledger(pseudonymiser(settings.core_config().pseudonym_key))
    ledger.take(CONTROL, [SideRecord(r.offset, r.key, r.value) for r in control])
    kept = (Kept(r.partition, r.key, r.value) for rows in changes.values() for r in rows)
    engines: dict[str, Engine] = {version: open_engine(at) for version, at in models.items()}
    return Orders(schedule_of(kept), ledger, engines)
