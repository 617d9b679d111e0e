"""What a smaller model keeps of a larger one's quality, and the bound that it has to pass."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import torch
from rich.table import Table

from model.checkpoint import MANIFEST_FILE, write_atomically
from model.data import DataError
from model.log import EventLog, Longs
from model.nets import SequenceNet, TokenBatch
from model.questions import Questions
from model.ranking import metrics_of
from model.served import GRAPH_FILES, INDEX_FILE
from model.spec import ModelSpec, Tokens
from model.stand_in import random_tokens

MIN_KEPT = 0.98
BATCH_SIZES = (1, 64, 256)
SECONDS_PER_SIZE = 0.1
REPORT_FILE = "bound.json"


class BoundError(ValueError):
    """A model lost more than is allowed; it is not exported."""

    exit_code: ClassVar[int] = 1


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its quality on the same held-out questions, its size and what it costs."""

    name: str
    recall_at_20: float
    mrr_at_20: float
    bytes: int
    # Microseconds an event by batch size: of the step, and of the step with its top list.
    step_us: dict[str, float] = {}
    answer_us: dict[str, float] = {}


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """A smaller model against a larger one; ``notes`` say what else was found."""

    before: Measured
    after: tuple[Measured, ...]  # the last one is what would be served
    questions: int
    bound: float
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> float:
        """Share of the Recall@20 that is left."""
        return self.after[-1].recall_at_20 / max(self.before.recall_at_20, 1e-12)

    @property
    def passes(self) -> bool:
        return self.kept >= self.bound


def check_bound(parity: Parity) -> None:
    """Raise BoundError where too much was lost."""
    if not parity.passes:
        raise BoundError(
            f"{parity.after[-1].name} keeps {parity.kept:.2%} of the Recall@20 of "
            f"{parity.before.name} ({parity.after[-1].recall_at_20:.4f} of "
            f"{parity.before.recall_at_20:.4f} on {parity.questions:,} held-out questions), at "
            f"least {parity.bound:.2%} is asked; nothing was exported. If {parity.before.name} was "
            "trained on these questions it knows the answers: ask others with --test. Otherwise "
            "train longer (--set epochs=N), make it less small, or lower --bound"
        )


def measured(
    name: str,
    ranks: Longs,
    size: int,
    step_us: dict[str, float] | None = None,
    answer_us: dict[str, float] | None = None,
) -> Measured:
    """The figures of one model; raises DataError without a question."""
    if len(ranks) == 0:
        raise DataError(
            "what is held out has no next item to measure on; give a longer log, or --held-out"
        )
    metrics = metrics_of(ranks)
    return Measured(
        name=name,
        recall_at_20=metrics["recall@20"],
        mrr_at_20=metrics["mrr@20"],
        bytes=size,
        step_us=step_us or {},
        answer_us=answer_us or {},
    )


def sum_of(costs: Sequence[dict[str, float]]) -> dict[str, float]:
    """What several models cost together, by batch size."""
    return {size: round(sum(cost[size] for cost in costs), 2) for size in costs[0]}


@torch.no_grad()
def net_costs_us(
    net: SequenceNet, spec: ModelSpec, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds an event in torch, by batch size, with memories as long as the window: of the
    step, and of the step with the scores of all items and the top list."""
    steps, answers = {}, {}
    table = net.item_directions().T.contiguous()  # [H, V]
    top = min(spec.top_k, spec.item_count)
    for rows in BATCH_SIZES:
        events = random_tokens(spec, rows=rows, length=spec.ring_length, seed=rows)
        inputs = torch.stack([net.embed(_tensors(tokens)) for tokens in events], 1)  # [B, T, H]
        memory = net.run(inputs, net.initial(rows))[1]  # [B, M]
        tokens = _tensors(events[-1])

        def step(tokens: TokenBatch = tokens, memory: torch.Tensor = memory) -> torch.Tensor:
            return net.step(tokens, memory)

        def ranked(step: Callable[[], torch.Tensor] = step) -> torch.Tensor:
            scores = net.queries(net.hidden_of(step())) @ table  # [B, V]
            best: torch.Tensor = scores.topk(top).indices
            return best

        steps[str(rows)] = best_us(step, rows, clock)
        answers[str(rows)] = best_us(ranked, rows, clock)
    return steps, answers


def best_us(work: Callable[[], object], rows: int, clock: Callable[[], float]) -> float:
    """Microseconds a row: the best of as many calls as fit SECONDS_PER_SIZE, at least two."""
    best, deadline, calls = float("inf"), clock() + SECONDS_PER_SIZE, 0
    while calls < 2 or clock() < deadline:
        start = clock()
        work()
        best = min(best, clock() - start)
        calls += 1
    return round(best / rows * 1e6, 2)


def parity_table(parity: Parity) -> Table:
    """The report for a terminal."""
    shown = Table(
        title=f"Recall@20 kept: {parity.kept:.2%}, at least {parity.bound:.2%} is asked",
        caption=f"{parity.questions:,} held-out questions; microseconds an event by batch size",
    )
    models = (parity.before, *parity.after)
    for heading in ("", *(model.name for model in models)):
        shown.add_column(heading, justify="right")
    shown.add_row("recall@20", *(f"{model.recall_at_20:.4f}" for model in models))
    shown.add_row("mrr@20", *(f"{model.mrr_at_20:.4f}" for model in models))
    shown.add_row("MB", *(f"{model.bytes / 1e6:.2f}" for model in models))
    for name, costs in (
        ("step", [model.step_us for model in models]),
        ("answer", [model.answer_us for model in models]),
    ):
        for size in map(str, BATCH_SIZES if any(costs) else ()):
            shown.add_row(f"{name} B={size}", *(_cost(cost, size) for cost in costs))
    return shown


def _cost(cost: dict[str, float], size: str) -> str:
    return f"{cost[size]:.2f}" if size in cost else "-"


def save_parity(folder: Path, parity: Parity) -> None:
    """Write the report beside the model, whether the bound was passed or not."""
    content = {**msgspec.to_builtins(parity), "kept": parity.kept, "passes": parity.passes}
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    write_atomically(folder / REPORT_FILE, text + b"\n")


def publish(source: Path, out: Path) -> None:
    """Copy a model's files to where they are served from, the manifest last."""
    names = sorted(path.name for path in source.iterdir() if path.is_file())
    for name in [name for name in names if name != MANIFEST_FILE] + [MANIFEST_FILE]:
        write_atomically(out / name, (source / name).read_bytes())


def steps_of(
    log: EventLog, questions: Questions, users: int = 256, length: int = 8
) -> list[Tokens]:
    """Successive events of held-out memories, as ``export`` takes them to measure with."""
    after = questions.after[questions.after >= 0]
    session = np.unique(np.searchsorted(log.session_start, after, side="right") - 1)[-users:]
    starts, events = log.session_start[session], np.diff(log.session_start)[session]
    order = np.argsort(-events, kind="stable")
    starts, events = starts[order], events[order]
    places = [starts[events > t] + t for t in range(min(length, int(events[0])))]
    return [Tokens(log.item[p], log.action[p], log.gap[p], log.dense[p]) for p in places]


def engine_bytes(folder: Path) -> int:
    """Bytes of what a worker loads of a model's folder beside its weights."""
    names = (*GRAPH_FILES, INDEX_FILE)
    return sum((folder / name).stat().st_size for name in names if (folder / name).exists())


def weight_bytes(net: SequenceNet) -> int:
    return sum(weight.nbytes for weight in net.weights().values())


def _tensors(tokens: Tokens) -> TokenBatch:
    return TokenBatch(
        *(torch.from_numpy(part) for part in (tokens.item, tokens.action, tokens.gap, tokens.dense))
    )
