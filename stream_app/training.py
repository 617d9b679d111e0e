"""From click files to a served model: profile, spec, tokens, weights, calibration, graph.

The number of epochs and the calibration come from held-out newest sessions, by a model that has
not seen them; the model that serves is then trained on everything. Of user histories each user's
last item is held out instead, and the model that has not seen it is what `evaluate` measures on the
same file.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from model.checkpoint import CHOSEN, Manifest
from model.config import TrainConfig
from model.engine import open_engine
from model.export import export, save_calibration
from model.guide import NO_GUIDE, Guide
from model.holdout import hold_out
from model.log import EventLog
from model.net_shape import SERVED_NETS
from model.phase import best_epoch
from model.resume import EpochRecord
from model.spec import Engine, Floats, ModelSpec, Tokens
from model.team import ALONE, Team
from model.train import train
from stream_app.core.admit import Admission
from stream_app.core.config import CoreConfig
from stream_app.core.entries import SessionEnd
from stream_app.core.rounds import advance
from stream_app.core.store import PartitionStore
from stream_app.files import FileEvent
from stream_app.sequences import batches, cleaned

Events = Callable[[], Iterable[FileEvent]]


def train_served(
    events: Events,
    log: EventLog,
    spec: ModelSpec,
    items: tuple[str, ...],
    config: TrainConfig,
    core: CoreConfig,
    out: Path,
    created_at: str,
    console: Console | None = None,
    guide: Guide = NO_GUIDE,
    team: Team = ALONE,
) -> Manifest:
    """Train, calibrate and export into ``out``; ``events`` reads the log's files once more.

    ``guide`` is what the training has besides the log. A net that no graph is built for is trained
    alone. With ``refit=false`` what is held out is never trained on: the model of the best epoch is
    the one that serves. Takes up a killed run where it stopped. Of a ``team`` the leading process
    calibrates and exports. Raises what ``model.train.train`` raises.
    """
    scores: Mapping[str, Floats] = {}
    is_served = config.net in SERVED_NETS
    if config.holds_out:
        chosen = out / CHOSEN if config.refit else out
        probe = msgspec.structs.replace(config, refit=False)
        manifest = train(
            log, spec, items, probe, chosen,
            guide=guide, created_at=created_at, console=console, team=team,
        )  # fmt: skip
        if is_served and team.leads and config.held_out > 0:
            export(chosen, newest_tokens(log))
            from_ms = first_held_out_ms(log, config.held_out)
            scores = held_out_scores(events(), open_engine(chosen), core, from_ms)
        if not config.refit:
            if is_served and team.leads:
                export(out, newest_tokens(log))
                save_calibration(out, scores)
            return manifest
        epochs = _best_epoch(manifest)
        config = msgspec.structs.replace(config, held_out=0, leave_one_out=False, epochs=epochs)
    manifest = train(
        log, spec, items, config, out,
        guide=guide, created_at=created_at, console=console, team=team,
    )  # fmt: skip
    if is_served and team.leads:
        export(out, newest_tokens(log))
        save_calibration(out, scores)
    return manifest


def _best_epoch(manifest: Manifest) -> int:
    return best_epoch(msgspec.convert(manifest.metrics["history"], tuple[EpochRecord, ...]))


def first_held_out_ms(log: EventLog, share: float) -> int:
    """When the sessions begin that a training leaves out of so large a share of the log."""
    late = hold_out(log, share).late
    return int(log.at_ms[late].min())


def newest_tokens(log: EventLog, users: int = 256, length: int = 8) -> list[Tokens]:
    """First events of the log's last users, for the export to measure with: element t holds the
    t-th event of each user who has that many, those with most events first."""
    starts = log.session_start[log.user_start]
    events = np.diff(starts)[-users:]
    order = np.argsort(-events, kind="stable")
    events, starts = events[order], starts[:-1][-users:][order]
    places = [starts[events > t] + t for t in range(min(length, int(events[0])))]
    return [
        Tokens(log.item[place], log.action[place], log.gap[place], log.dense[place])
        for place in places
    ]


def held_out_scores(
    events: Iterable[FileEvent], engine: Engine, config: CoreConfig, from_ms: int
) -> dict[str, Floats]:
    """Anomaly scores of the events and session closes from a time on, by alert kind.

    The whole log is played, since a held-out event's window and memory reach back.
    """
    surprise: list[Floats] = []
    close: list[float] = []
    store = PartitionStore(0, engine, config)
    for batch, part in batches(cleaned(events, config)):
        done = 0
        while done < len(part):
            admission = Admission(batch, part, store, engine)
            done = admission.run(done)
            results = advance(admission.steps, store, engine)
            is_late = admission.steps.columns["at_ms"] >= from_ms
            surprise.append(results.score[: len(is_late)][is_late])
            close += [
                float(results.close_surprise[results.left_by(end.previous)])
                if end.previous >= 0
                else end.surprise
                for _, end in admission.others
                if isinstance(end, SessionEnd) and end.at_ms >= from_ms
            ]
        store.take_changes()
    return {
        "surprise": np.concatenate([np.zeros(0, np.float32), *surprise]),
        "session_close": np.array(close, np.float32),
    }
