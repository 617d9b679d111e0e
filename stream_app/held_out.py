"""Click files for who makes a model from a model: what to learn from, what to measure on, and what
the anomaly scores are calibrated with."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from rich.console import Console

from model.config import TrainConfig, with_settings
from model.data import check_log
from model.engine import open_engine
from model.export import save_calibration
from model.holdout import hold_out, hold_out_last
from model.log import EventLog
from model.phase import Exam
from model.presets import AUTO, is_of_histories, preset_for, traits_of
from model.questions import Protocol, questions_of
from model.spec import ModelSpec
from stream_app.core.config import CoreConfig
from stream_app.files import FileEvent
from stream_app.invocation import UserError
from stream_app.reading import FileChoice, read_shown
from stream_app.sequences import build_log
from stream_app.training import held_out_scores


class Parted(NamedTuple):
    """A log without its held-out part, and the questions on that."""

    whole: EventLog
    log: EventLog
    exam: Exam
    # Reads what holds the held-out events, and when those begin; None: no time tells them apart.
    events: Callable[[], Iterable[FileEvent]]
    from_ms: int | None


def parted(
    choice: FileChoice,
    test: Sequence[Path],
    share: float,
    spec: ModelSpec,
    items: tuple[str, ...],
    core: CoreConfig,
    console: Console,
) -> Parted:
    """The files ``choice`` to learn from, and ``test`` to measure on; without those the newest
    ``share`` of the sessions is held out, or each user's last item of histories without repeats."""
    log = build_log(read_shown(choice, console, "reading"), spec, items, core)
    check_log(log, spec, items)
    histories = is_of_histories(traits_of(log, spec), spec)
    protocol: Protocol = "leave-one-out" if histories else "session"
    if test:
        other = choice._replace(files=test)
        asked = build_log(read_shown(other, console, "reading the test files"), spec, items, core)
        exam = Exam(asked, questions_of(asked, spec, protocol), histories)
        if len(exam.questions.event) == 0:
            raise UserError(
                f"{asked.events:,} events in {asked.sessions:,} sessions of the files given with"
                " --test hold no next item to measure on; give a longer log."
            )
        return Parted(log, log, exam, lambda: read_shown(other, console, "calibrating"), 0)
    held = hold_out_last(log, spec) if histories else hold_out(log, share)
    exam = Exam(log, questions_of(log, spec, protocol, held.late), histories)
    if len(exam.questions.event) == 0:
        raise UserError(
            f"{log.events:,} events in {log.sessions:,} sessions leave no next item to measure on "
            f"in the newest {share:.0%}; give a longer log, a larger --held-out, or --test FILE."
        )
    from_ms = None if histories else int(log.at_ms[held.late].min())
    return Parted(
        log, held.early, exam, lambda: read_shown(choice, console, "calibrating"), from_ms
    )


def gru_recipe(
    data: Parted, spec: ModelSpec, texts: dict[str, str], who: str, **recipe: float
) -> TrainConfig:
    """How ``who`` (a noun with its article) is trained on all of ``data``: the preset of its size,
    ``recipe`` over it, and over both the settings given as text."""
    preset = preset_for(AUTO, data.log, spec)
    whole = msgspec.structs.replace(preset, net="gru", held_out=0.0, leave_one_out=False, **recipe)
    config = with_settings(whole, texts)
    if config.net != "gru" or config.holds_out:
        raise UserError(
            f"{who} is a GRU, and what is held out is chosen with --held-out or --test; "
            "leave net, held_out and leave_one_out out of --set."
        )
    return config


def calibrate(folder: Path, data: Parted, core: CoreConfig) -> None:
    """Calibrate the anomaly scores of an exported model on what was held out, where that is late
    events of a log with times."""
    engine = open_engine(folder)
    if data.from_ms is None or not engine.spec.gap_edges_ms:
        save_calibration(folder, {})
        return
    scores = held_out_scores(data.events(), engine, core, data.from_ms)
    save_calibration(folder, {kind: np.asarray(found) for kind, found in scores.items()})
