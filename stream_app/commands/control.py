"""``clickahead control``: orders to every worker, and what became of them."""

import asyncio
import json
from typing import Annotated, Literal, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from stream_app.core.control import key_of
from stream_app.core.events import Control
from stream_app.core.partition_record import PartitionRecord
from stream_app.core.privacy import PSEUDONYM_BYTES, pseudonymiser
from stream_app.invocation import ExitCode, UserError, settings_of
from stream_app.kafka.control_topic import applied, reports, write_order
from stream_app.kafka.shell_config import changelog_of
from stream_app.models_folder import VERSION
from stream_app.settings import Settings

WAIT_SECONDS = 60.0

group = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Order workers to change model, erase a user or block an item; show what is in force.",
)

WaitOption = Annotated[
    bool,
    typer.Option("--wait", help="Return when every partition has it; 1 where it has no effect."),
]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="Name and fingerprint, as `models list` shows it.")
]


class Outcome(NamedTuple):
    """Where an order was written, and the partitions' records behind it where they were awaited."""

    offset: int
    records: dict[int, PartitionRecord] | None
    applied: bool


@group.command()
def promote(context: typer.Context, version: Version, wait: WaitOption = False) -> int:
    """Let another model answer, from the next micro-batch on. Users keep their history.

    clickahead control promote gru-0123456789abcdef --wait
    """
    settings = settings_of(context)
    order = Control(order="promote", model=_checked(version))
    outcome = _ordered(settings, order, wait)
    return _told(settings, outcome, f"promote {version}", _answering(outcome, version))


@group.command()
def rollback(
    context: typer.Context,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="The model to return to; else the one before."),
    ] = None,
    wait: WaitOption = False,
) -> int:
    """Return to the model before the one that answers now.

    clickahead control rollback --wait
    """
    settings = settings_of(context)
    named = None if version is None else _checked(version)
    outcome = _ordered(settings, Control(order="roll_back", model=named), wait)
    what = "roll back" if version is None else f"roll back to {version}"
    return _told(settings, outcome, what, _answering(outcome, version))


@group.command()
def shadow(
    context: typer.Context,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="The model to watch.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Watch none.")] = False,
    wait: WaitOption = False,
) -> int:
    """Watch a model beside the one that answers: metrics alone tell what it would have said.

    clickahead control shadow gru-0123456789abcdef
    clickahead control shadow --off
    """
    if off == (version is not None):
        raise UserError("Name the model to watch, or give --off to watch none.")
    settings = settings_of(context)
    named = None if version is None else _checked(version)
    outcome = _ordered(settings, Control(order="shadow", model=named), wait)
    effect = None
    if outcome.records is not None:
        without = [p for p, record in outcome.records.items() if record.shadow != named]
        effect = _refusal("do not watch it", without)
    return _told(settings, outcome, "shadow off" if off else f"shadow {version}", effect)


@group.command("erase-user")
def erase_user(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    is_pseudonym: Annotated[
        bool, typer.Option("--pseudonym", help="USER is the pseudonym, as predictions show it.")
    ] = False,
    wait: WaitOption = False,
) -> int:
    """Remove a user from the state. The order names the pseudonym alone, made with
    core.pseudonym_key, which has to be the workers' own.

    What the user sent stays in the input and dead-letter topics for their retention.

    clickahead control erase-user u4711 --wait
    """
    settings = settings_of(context)
    for sentence in settings.warnings():
        typer.echo(f"warning: {sentence}", err=True)
    name = _pseudonym(settings, user, is_pseudonym)
    outcome = _ordered(settings, Control(order="erase_user", user=name), wait)
    return _told(settings, outcome, f"erase user {name}", None)


@group.command()
def block(
    context: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")],
    wait: WaitOption = False,
) -> int:
    """Name an item in no prediction any more.

    clickahead control block i4711
    """
    return _about_item(context, "block_item", item, wait)


@group.command()
def unblock(
    context: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")],
    wait: WaitOption = False,
) -> int:
    """Take back what `block` ordered. What the catalogue itself blocks stays blocked.

    clickahead control unblock i4711
    """
    return _about_item(context, "unblock_item", item, wait)


def _about_item(
    context: typer.Context, order: Literal["block_item", "unblock_item"], item: str, wait: bool
) -> int:
    settings = settings_of(context)
    outcome = _ordered(settings, Control(order=order, item_id=_item(item)), wait)
    return _told(settings, outcome, f"{order.removesuffix('_item')} {item}", None)


@group.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what each partition has in force, from the state's changelog."""
    settings = settings_of(context)
    records = asyncio.run(_newest(settings))
    if as_json:
        shown = {str(partition): _shown(record) for partition, record in sorted(records.items())}
        typer.echo(json.dumps(shown))
        return
    rows = Table(box=None)
    for heading in ("partition", "next offset", "live", "shadow", "control", "items", "degraded"):
        rows.add_column(heading, overflow="fold")
    for partition, record in sorted(records.items()):
        rows.add_row(str(partition), *(str(cell or "-") for cell in _shown(record).values()))
    Console().print(rows)


def _shown(record: PartitionRecord) -> dict[str, object]:
    return {
        "next_offset": record.next_offset,
        "live": record.live,
        "shadow": record.shadow,
        "as_of": record.as_of,
        "items_as_of": record.items_as_of,
        "degraded": record.degraded,
    }


def _checked(version: str) -> str:
    if VERSION.fullmatch(version) is None:
        raise UserError(
            f"{version!r} is no model version. It is written NAME-FINGERPRINT, as the logs of"
            " the workers and every prediction show it."
        )
    return version


def _item(item: str) -> str:
    if not item:
        raise UserError("The item's id is empty.")
    return item


def _pseudonym(settings: Settings, user: str, is_pseudonym: bool) -> str:
    if not is_pseudonym:
        return pseudonymiser(settings.core_config().pseudonym_key)(user).hex()
    try:
        size = len(bytes.fromhex(user))
    except ValueError:
        size = 0
    if size != PSEUDONYM_BYTES:
        raise UserError(
            f"{user!r} is no pseudonym, which has {2 * PSEUDONYM_BYTES} hexadecimal digits."
        )
    return user


def _ordered(settings: Settings, order: Control, wait: bool) -> Outcome:
    return asyncio.run(_order(settings, order, wait))


async def _order(settings: Settings, order: Control, wait: bool) -> Outcome:
    connection, topic = settings.connection(), settings.topic("control")
    key = key_of(order, pseudonymiser(settings.core_config().pseudonym_key))
    value = msgspec.json.encode(order)
    if not wait:
        return Outcome(await write_order(connection, topic, key, value), None, False)
    async with reports(connection, changelog_of(settings.worker.app_id)) as found:
        offset = await write_order(connection, topic, key, value)
        everywhere = await applied(found, offset, WAIT_SECONDS)
        return Outcome(offset, dict(found.newest), everywhere)


async def _newest(settings: Settings) -> dict[int, PartitionRecord]:
    async with reports(settings.connection(), changelog_of(settings.worker.app_id)) as found:
        return found.newest


def _answering(outcome: Outcome, version: str | None) -> str | None:
    if outcome.records is None or version is None:
        return None
    others = [p for p, record in outcome.records.items() if record.live != version]
    return _refusal("let another model answer", others)


def _refusal(what: str, partitions: list[int]) -> str | None:
    if not partitions:
        return None
    named = ", ".join(map(str, sorted(partitions)))
    return (
        f"Partitions {named} {what}: their workers do not have the model. See their logs, and add"
        " it to the folder worker.models of every worker."
    )


def _told(settings: Settings, outcome: Outcome, what: str, refusal: str | None) -> int:
    typer.echo(f"{what}: order {outcome.offset} of {settings.topic('control')}")
    if outcome.records is None:
        return ExitCode.OK
    if not outcome.applied:
        late = [p for p, record in outcome.records.items() if record.as_of <= outcome.offset]
        named = f"partitions {', '.join(map(str, sorted(late)))}" if late else "some partitions"
        typer.echo(
            f"After {WAIT_SECONDS:.0f} s {named} have not taken it in. The order stands; see"
            " whether a worker serves them.",
            err=True,
        )
        return ExitCode.FAILED
    if refusal is not None:
        typer.echo(refusal, err=True)
        return ExitCode.FAILED
    typer.echo(f"in force on {len(outcome.records)} partitions")
    return ExitCode.OK
