"""A model beside everything that it could be replaced by, on the same questions.

Neighbours, rules, item vectors and factors are fitted to the model's own training log; the blend's
weights to the newest part of it, by members that have not seen that part. The test log is looked at
once, at the end.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from rich.console import Console

from model import blend, checkpoint
from model.action_contest import NET, contest
from model.action_rivals import Rivals
from model.architectures import net_of
from model.blend import Blend, BlendConfig, examples_of, fit_blend, judge, judged_as
from model.candidates import Member, fame
from model.config import TrainConfig
from model.data import data_hash, stretch_of
from model.ensembles import FUSION, joint_ranks, unlearned
from model.evaluate import published
from model.lead import HeldOut, held_out, lead
from model.log import EventLog, Longs
from model.members import BLENDED, fit_members, tune_neighbours
from model.neighbours import NeighbourConfig
from model.probe import checked_hash, probe_leans, probe_of
from model.questions import Protocol, Questions, heads_asked, part_of, questions_of
from model.ranking import metrics_of
from model.scoring import NetRecommender
from model.spec import Floats, ModelSpec
from model.train import held_back

BLEND = "blend"


class Prepared(msgspec.Struct, frozen=True):
    """What was learned from the held-out part of the training log."""

    neighbours: NeighbourConfig
    fitted: blend.Fitted
    data_hash: str
    fingerprint: str
    held_out: HeldOut
    # Lean to rare actions of each contestant for the next one.
    leans: dict[str, float]


def compare_all(
    directory: Path,
    train_log: EventLog,
    test_log: EventLog,
    protocol: Protocol = "session",
    *,
    filter_seen: bool = False,
    among: npt.NDArray[np.bool_] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """``prepare`` and ``compare``.

    What was held out of ``train_log`` when the model was trained is kept from the others, too.
    Where just that is asked of the model (``_asks_held_out``) nothing is left to fit a blend on, so
    the ensembles that learn nothing stand in its place. ``among`` [N] are the events of
    ``test_log`` that are asked for.
    """
    saved = checkpoint.load(directory)
    settings = msgspec.convert(saved.manifest.config, TrainConfig)
    learned, prepared = train_log, None
    if settings.is_probe:
        learned, _ = held_back(train_log, saved.spec, settings)
    rivals = Rivals(learned, saved.spec)
    if not _asks_held_out(saved, test_log):
        known = rivals if settings.is_probe else None
        prepared = prepare(directory, train_log, rivals=known, console=console)
    return compare(
        directory,
        learned,
        test_log,
        prepared,
        protocol,
        filter_seen=filter_seen,
        among=among,
        rivals=rivals,
        console=console,
    )


def compare_actions(
    directory: Path,
    train_log: EventLog,
    test_log: EventLog,
    protocol: Protocol = "session",
    among: npt.NDArray[np.bool_] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """``contest`` of the model in ``directory``, with leans from what its training held out, or its
    sibling's (none where just that is asked): ``actions`` of ``compare_all`` without the rest."""
    saved = checkpoint.load(directory)
    spec = saved.spec
    checked_hash(train_log, saved)
    probe, settings = probe_of(directory, train_log, saved, console)
    early, exam = held_back(train_log, spec, settings)
    rivals, leans = Rivals(early, spec), dict[str, float]()
    if not _asks_held_out(saved, test_log):
        leans = probe_leans(probe, rivals, exam, spec, settings)
    if not msgspec.convert(saved.manifest.config, TrainConfig).is_probe:
        rivals = Rivals(train_log, spec)
    questions = questions_of(test_log, spec, protocol, among)
    asked = np.zeros(test_log.events, bool)
    asked[heads_asked(test_log, questions, protocol, among)] = True
    return contest(net_of(saved), rivals, test_log, spec, leans, asked)


def _asks_held_out(saved: checkpoint.Checkpoint, test_log: EventLog) -> bool:
    """Whether a model that was trained without each user's last item is asked for just these, in
    the log that it was trained on."""
    settings = msgspec.convert(saved.manifest.config, TrainConfig)
    return settings.leave_one_out and data_hash(test_log, saved.items) == saved.manifest.data_hash


def prepare(
    directory: Path,
    train_log: EventLog,
    *,
    config: BlendConfig | None = None,
    rivals: Rivals | None = None,
    console: Console | None = None,
) -> Prepared:
    """Fit the blend of the model in ``directory``, or take the one that lies there. ``rivals`` for
    the next action may be given where the model itself has not seen what is held out.

    Where training held nothing out, the same net is trained once more without the newest tenth of
    the sessions; that run can be killed and taken up. Raises EvaluationError when ``train_log`` is
    not what the model was trained on.
    """
    config = BlendConfig() if config is None else config
    saved = checkpoint.load(directory)
    hashed = checked_hash(train_log, saved)
    path = directory / "blend" / "prepared.json"
    found = _kept(path)
    if found and (found.data_hash, found.fingerprint) == (hashed, saved.manifest.fingerprint):
        return found
    tell = _teller(console)
    probe, probe_config = probe_of(directory, train_log, saved, console)
    early, exam = held_back(train_log, saved.spec, probe_config)
    order = np.argsort(train_log.at_ms[exam.questions.event], kind="stable")
    asked = part_of(exam.questions, order[-config.questions :])
    tuned = tune_neighbours(
        early,
        train_log,
        saved.spec,
        part_of(asked, np.arange(len(order[-config.questions :]) // 2)),
        filter_seen=exam.filter_seen,
        told=tell,
    )
    members = (Member(NET, probe, "logits"), *fit_members(early, saved.spec, tuned, BLENDED, tell))
    tell("the blend")
    examples = examples_of(
        members, fame(early, saved.spec), train_log, saved.spec, asked, config.per_member
    )
    judged = judge(members, examples, config)
    fitted = fit_blend(members, examples, config, judged)
    newer = asked.event[len(asked.event) // 2 :]
    session = stretch_of(train_log.session_start, train_log.events)[newer]
    beside = held_out(judged, judged_as("both"), session)
    tell("the next action's rivals")
    rivals = Rivals(early, saved.spec) if rivals is None else rivals
    leans = probe_leans(probe, rivals, exam, saved.spec, probe_config)
    prepared = Prepared(tuned, fitted, hashed, saved.manifest.fingerprint, beside, leans)
    checkpoint.write_atomically(path, msgspec.json.encode(prepared))
    return prepared


def _kept(path: Path) -> Prepared | None:
    """What an earlier ``prepare`` kept; nothing where another version of it did."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Prepared)
    except (FileNotFoundError, msgspec.ValidationError):
        return None


def compare(
    directory: Path,
    train_log: EventLog,
    test_log: EventLog,
    prepared: Prepared | None,
    protocol: Protocol = "session",
    *,
    filter_seen: bool = False,
    among: npt.NDArray[np.bool_] | None = None,
    rivals: Rivals | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Metrics of all members, of their ensembles and of the blend on ``test_log``.

    Keys: ``members``, metrics by name; ``differences``, the blend's lead over each of them in
    Recall@20 and MRR@20 with the interval of a paired bootstrap over sessions; ``held_out``, the
    same on the newest training sessions; ``published`` where the data set is known by its counts;
    ``actions``, the contest for the next action. Without ``prepared`` there is no blend, and rank
    fusion is what leads.
    """
    saved = checkpoint.load(directory)
    spec, tell = saved.spec, _teller(console)
    questions = questions_of(test_log, spec, protocol, among)
    net = Member(NET, NetRecommender(net_of(saved), spec), "logits")
    neighbours = NeighbourConfig() if prepared is None else prepared.neighbours
    members = (net, *fit_members(train_log, spec, neighbours, told=tell))
    leader = FUSION if prepared is None else BLEND
    ranks = _all_ranks(members, prepared, train_log, test_log, spec, questions, filter_seen, tell)
    session = stretch_of(test_log.session_start, test_log.events)[questions.event]
    leans = {} if prepared is None else prepared.leans
    rivals = Rivals(train_log, spec) if rivals is None else rivals
    return {
        "n": len(questions.event),
        "protocol": protocol,
        "filter_seen": filter_seen,
        "members": {name: metrics_of(found) for name, found in ranks.items()},
        "differences": {
            name: lead(ranks[leader], found, session)
            for name, found in ranks.items()
            if name != leader
        },
        "leader": leader,
        "held_out": None if prepared is None else msgspec.to_builtins(prepared.held_out),
        "blend": None if prepared is None else prepared.fitted.method,
        "neighbours": msgspec.to_builtins(neighbours),
        "published": published(saved, questions),
        "actions": contest(net_of(saved), rivals, test_log, spec, leans, among)
        if protocol == "session"
        else {},
    }


def _all_ranks(
    members: Sequence[Member],
    prepared: Prepared | None,
    train_log: EventLog,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    filter_seen: bool,
    tell: Any,
) -> dict[str, Longs]:
    """Ranks [M] by name, of the members and of their ensembles."""
    blended = [member for member in members if member.name in BLENDED]
    learned = (
        None if prepared is None else Blend(blended, prepared.fitted, fame(train_log, spec), spec)
    )

    def join(said: Mapping[str, Floats], part: Questions) -> dict[str, Floats]:
        heard = [said[member.name] for member in blended]
        joint = unlearned(heard)
        return joint if learned is None else joint | {BLEND: learned.blended(heard, log, part)}

    return joint_ranks(
        members,
        join,
        log,
        spec,
        questions,
        filter_seen=filter_seen,
        on_progress=lambda done: tell(f"{done:,} of {len(questions.event):,} questions"),
    )


def _teller(console: Console | None) -> Any:
    return lambda what: None if console is None else console.print(f"  {what}", highlight=False)
