"""What ``clickahead evaluate`` measures, and the tables that it prints of that.

What only some calls need costs seconds to import, so they import it themselves.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from model.cold_items import cold_metrics
from model.cold_items import table as cold_table
from model.content import Content
from model.evaluate import Unseen, evaluate, heads_table, table
from model.foretelling import table as foretold_table
from model.lead import HeldOut, against_table, held_out_table
from model.log import EventLog
from model.presets import is_of_histories, traits_of
from model.questions import Protocol
from model.spec import ModelSpec
from model.together import table as joint_table
from model.together import together
from stream_app.invocation import UserError
from stream_app.prepare.config import SPLITS, TRAIN, VALIDATION
from stream_app.prepared import PreparedFolder
from stream_app.reading import FileChoice

Read = Callable[[FileChoice, str], EventLog]
"""The log of some files as the model codes it; the text says what is read."""


class Asked(NamedTuple):
    """What is asked of a model: of the events ``among`` [N] of a log (None: all)."""

    log: EventLog
    protocol: Protocol
    filter_seen: bool
    among: npt.NDArray[np.bool_] | None


def read_asked(
    choice: FileChoice,
    folder: PreparedFolder | None,
    spec: ModelSpec,
    protocol: Protocol | None,
    filter_seen: bool | None,
    read: Read,
) -> Asked:
    """The log of the files, or of the whole folder; None lets the folder or the log decide."""
    if folder is not None:
        choice, protocol = folder.choice(*SPLITS), protocol or folder.protocol
    log = read(choice, "reading")
    if protocol is None:
        histories = is_of_histories(traits_of(log, spec), spec)
        protocol = "leave-one-out" if histories else "session"
    among = None if folder is None else folder.test_events(log, spec)
    seen_out = protocol == "leave-one-out" if filter_seen is None else filter_seen
    return Asked(log, protocol, seen_out, among)


def learned_log(
    asked: Asked,
    folder: PreparedFolder | None,
    training: FileChoice | None,
    unseen: Unseen,
    read: Read,
) -> EventLog:
    """What the model was trained on: the folder's own parts, the files that are named for it, or,
    where the model was kept from what is asked, the very log; else UserError."""
    if folder is not None:
        choice = folder.choice(TRAIN, VALIDATION)
        return folder.without_cut_sessions(read(choice, "reading what was learned"))
    if training is not None:
        return read(training, "reading the training files")
    if unseen.knows_rest:
        return asked.log
    raise UserError("--against needs the model's training files too: --train FILE")


def measure(
    model: Path,
    asked: Asked,
    console: Console,
    *,
    others: Sequence[Path] = (),
    content: Content | None = None,
    learned: EventLog | None = None,
    only_actions: bool = False,
) -> dict[str, Any]:
    """What ``evaluate`` says of the model; beside it, under ``against``, the rivals that can be
    fitted to what it ``learned``, under ``together`` the model joined with ``others``, and under
    ``new_items`` the ranks of items that the catalogue alone knows."""
    log, protocol, filter_seen, among = asked
    against: dict[str, Any] = {}
    if learned is not None:
        from model.against import compare_actions, compare_all

        if only_actions:
            against = {"actions": compare_actions(model, learned, log, protocol, among, console)}
        else:
            against = compare_all(
                model, learned, log, protocol, filter_seen=filter_seen, among=among, console=console
            )
    metrics = evaluate(model, log, protocol, filter_seen=filter_seen, among=among, console=console)
    if against:
        metrics["against"] = against
    if others:
        metrics["together"] = together(
            [model, *others], log, protocol, filter_seen=filter_seen, among=among
        )
    if content is not None:
        metrics["new_items"] = cold_metrics(model, log, content, protocol, among)
    return metrics


def tables(metrics: Mapping[str, Any]) -> Iterator[Table]:
    """``measure`` for a terminal: what there is something to see in."""
    yield table(dict(metrics))
    heads = heads_table(dict(metrics))
    if heads.row_count:
        yield heads
    if "foretold" in metrics:
        yield foretold_table(metrics["foretold"])
    if "together" in metrics:
        yield joint_table(metrics["together"])
    if metrics.get("new_items", {"n": 0})["n"]:
        yield cold_table(metrics["new_items"])
    against = metrics.get("against", {})
    if "members" in against:
        yield against_table(against)
    if against.get("held_out") is not None:
        yield held_out_table(msgspec.convert(against["held_out"], HeldOut))
    if against.get("actions") and metrics["action"]["n"]:
        from model.action_contest import action_table
        from model.action_leads import leads_table

        yield action_table(against["actions"], metrics["actions"])
        for name, row in against["actions"].items():
            if "leads" in row:
                yield leads_table(name, row["leads"], metrics["actions"])
